"""Run the DAGs of the stop switch with `dag.test()` on our real tables: stop, resume, and resume what runs."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys


def main() -> None:
    from airflow.models import DagRun
    from airflow.utils import db

    from gtr_batch.wiring import open_site

    sys.path.insert(0, os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    states = []
    with contextlib.redirect_stdout(sys.stderr):
        db.initdb()
        module = importlib.import_module("service_switch")
        for dag, why in (
            (module.stop_service, "a fire"),
            (module.resume_service, "put out"),
            (module.resume_service, "?"),
        ):
            ended: DagRun = dag().test(logical_date=None, run_conf={"why": why})
            states.append(str(ended.state))
        with open_site() as site:
            history = [[str(e.action), e.by_whom, e.why] for e in site.switch.history()]
    print(json.dumps({"states": states, "history": history}))


if __name__ == "__main__":
    main()
