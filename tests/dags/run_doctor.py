"""What `gtr doctor` finds of an Airflow without pools, with them, and with the DAGs read and let go."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

POOLS = Path(__file__).resolve().parents[2] / "plugins" / "gtr_airflow" / "pools.json"


def main() -> None:
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    from airflow.models import DagModel, Pool
    from airflow.utils import db
    from airflow.utils.session import create_session
    from sqlalchemy import update

    from gtr_batch.cli.doctor_site import airflow

    found = {}
    with contextlib.redirect_stdout(sys.stderr):
        db.initdb()
        found["bare"] = airflow(None)
        for name, pool in json.loads(POOLS.read_text()).items():
            Pool.create_or_update_pool(name, pool["slots"], "", include_deferred=False)
        folder = os.environ["AIRFLOW__CORE__DAGS_FOLDER"]
        with create_session() as session:
            DagBundlesManager().sync_bundles_to_db(session=session)
        sync_bag_to_db(BundleDagBag(folder, bundle_path=Path(folder), bundle_name="dags-folder"), "dags-folder", None)
        with create_session() as session:
            session.execute(update(DagModel).values(is_paused=DagModel.dag_id == "housekeeping"))
        found["paused"] = airflow(None)
        with create_session() as session:
            session.execute(update(DagModel).values(is_paused=False))
        found["ready"] = airflow(None)
    print(json.dumps({name: [one.state, one.found] for name, one in found.items()}))


if __name__ == "__main__":
    main()
