"""Airflow's own API server, with the plugin as Airflow loads it; prints its port, and serves until it is ended."""

import json
import socket
import sys

import uvicorn
from airflow.utils.db import initdb

initdb()

from airflow.api_fastapi.app import create_app  # noqa: E402 - reads the database that was just made

application = create_app(apps="core")
listening = socket.create_server(("127.0.0.1", 0))  # who connects from now on waits until it is served
sys.stdout.write(json.dumps({"port": listening.getsockname()[1]}) + "\n")
sys.stdout.flush()
uvicorn.Server(uvicorn.Config(application, log_level="warning")).run([listening])
