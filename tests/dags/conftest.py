"""Airflow in a home of its own; what needs its database or an untouched import runs in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.airflow_home import own_airflow_home

own_airflow_home()

REPOSITORY = Path(__file__).resolve().parents[2]
DAG_FILES = sorted((REPOSITORY / "dags").glob("*.py"))


@pytest.fixture(scope="session")
def airflow_environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that uses Airflow: our DAGs and plugins, an empty home, no settings from outside."""
    home = tmp_path_factory.mktemp("airflow")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "GTR_"))}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "plugins")]),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "GTR_NIGHT__RETRIES": "1",
        "GTR_NIGHT__RETRY_DELAY_S": "0",
    }


@pytest.fixture(scope="session")
def in_airflow(airflow_environ: dict[str, str]):
    """A function that runs a script of this folder in a fresh process and returns the JSON of its last line.

    What the process writes to standard error, the tasks' logs with it, is kept in the file `log_to`.
    """

    def run(script: str, *arguments: str, log_to: Path | None = None, **environ: str) -> Any:
        log_to = log_to or Path(airflow_environ["AIRFLOW_HOME"]) / f"{script}.log"
        with log_to.open("wb") as log:
            done = subprocess.run(
                [sys.executable, str(Path(__file__).parent / script), *arguments],
                env={**airflow_environ, **environ},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                check=False,
            )
        assert done.returncode == 0, log_to.read_text(errors="replace")[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def described(in_airflow, once_a_run) -> dict[str, Any]:
    """What Airflow made of each DAG file, by the file's name; see describe.py."""
    return once_a_run("described", lambda: {path.stem: in_airflow("describe.py", str(path)) for path in DAG_FILES})


@pytest.fixture(scope="session")
def nights(in_airflow, once_a_run) -> dict[str, Any]:
    """How some whole nights (and days) ended, by what was special about them; see run_nights.py."""
    return once_a_run("nights", lambda: in_airflow("run_nights.py"))
