"""Airflow's own API server, with the plugin as Airflow loads it; prints its port, and serves until it is ended.

The one DAG that the console starts runs of is in its database; nothing works on them.
"""

import json
import socket
import sys
from pathlib import Path

import uvicorn
from airflow.utils.db import initdb

initdb()

from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db  # noqa: E402
from airflow.models.dagbundle import DagBundleModel  # noqa: E402
from airflow.utils.session import create_session  # noqa: E402

with create_session() as session:
    session.merge(DagBundleModel(name="gtr"))
sync_bag_to_db(DagBag(str(Path(__file__).parents[2] / "dags" / "stage_now.py"), bundle_name="gtr"), "gtr", None)

from airflow.api_fastapi.app import create_app  # noqa: E402 - reads the database that was just made

application = create_app(apps="core")
listening = socket.create_server(("127.0.0.1", 0))  # who connects from now on waits until it is served
sys.stdout.write(json.dumps({"port": listening.getsockname()[1]}) + "\n")
sys.stdout.flush()
uvicorn.Server(uvicorn.Config(application, log_level="warning")).run([listening])
