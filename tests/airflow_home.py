"""A home for Airflow, which writes a file there as soon as it is imported: one for each process of a test run."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

_MADE_FOR = "TESTS_AIRFLOW_HOME_OF"


def own_airflow_home() -> None:
    """Set AIRFLOW_HOME, where nobody did, or where the process that started this one made one for itself."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "none")
    if "AIRFLOW_HOME" in os.environ and os.environ.get(_MADE_FOR, worker) == worker:
        return
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="gtr-airflow-")
    os.environ[_MADE_FOR] = worker
    atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)
