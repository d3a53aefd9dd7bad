"""A night on one machine, LocalExecutor, whose scheduler is killed in the middle of a mapped task and started again.

SIGKILL of the scheduler alone, as where the kernel needs its memory: the executor's processes and the task live on,
unseen by Airflow, and the new scheduler starts the task once more.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs
import psutil
import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from gtr_batch.config import Config
from gtr_batch.simulation.servers.airflow_stack import AirflowStack
from tests.dags.conftest import REPOSITORY
from tests.nights.conftest import NIGHT
from tests.nights.test_two_workers import (
    PATIENCE_S,
    _ended,
    _hold_a_case,
    _kill,
    _processes,
    _rows,
    _until,
    _waiting,
)
from tests.settings import as_environment

CASES = 2
SCHEDULER = ("scheduler", "--skip-serve-logs")


@pytest.fixture
def config(config: Config) -> Config:
    return attrs.evolve(
        config,
        files=attrs.evolve(config.files, min_free_gb=0.001),
        database=attrs.evolve(config.database, statement_timeout_s=600),  # who waits for our lock is not to give up
        night=attrs.evolve(config.night, shard_size=1, task_memory_gb=0, retries=3, retry_delay_s=1),
    )


@pytest.fixture
def stack(config: Config, empty_dsn: str, tmp_path: Path) -> Iterator[AirflowStack]:
    """Airflow with an API server, a scheduler and a DAG processor; one DAG file, the night's."""
    to = parse_dsn(empty_dsn)
    uri = f"postgresql://{to['user']}:{to['password']}@{to['host']}:{to['port']}/{to['dbname']}"
    found = AirflowStack(tmp_path / "airflow", REPOSITORY, uri, as_environment(config))
    dags = tmp_path / "dags"
    dags.mkdir()
    shutil.copy(REPOSITORY / "dags" / "nightly_staging.py", dags)
    found.environ |= {
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "plugins"), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__PARALLELISM": "2",
        # A dead scheduler's tasks are looked for so often: quicker than in airflow.cfg.template.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    }
    try:
        found.airflow("db", "migrate")
        found.airflow("pools", "import", str(REPOSITORY / "plugins" / "gtr_airflow" / "pools.json"))
        found.start_component("api-server", "api-server")
        found.start_component("scheduler", *SCHEDULER)
        found.start_component("dag-processor", "dag-processor")
        found.wait_until_ready({"nightly_staging"}, PATIENCE_S)
        yield found
    finally:
        for process in found.processes.values():
            _kill(_processes(process))
            process.wait()


@pytest.fixture
def orphans() -> Iterator[list[psutil.Process]]:
    """Processes whose scheduler was killed, without them."""
    found: list[psutil.Process] = []
    yield found
    _kill(found)


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S * 2)
def test_a_night_ends_whole_though_the_scheduler_is_killed_in_the_middle_of_a_shard(
    stack, orphans, site, admit, enter_in_ehr, pacs, tmp_path, dsn
):
    for k in range(CASES):
        admit(f"s{k}")
        enter_in_ehr(f"s{k}")
    pacs.stop()
    pacs.preload(tmp_path / "dicom")
    shutil.rmtree(tmp_path / "dicom")
    pacs.start()
    began = time.monotonic()

    run = stack.trigger("nightly_staging", {"night": str(NIGHT)})
    with contextlib.closing(psycopg2.connect(dsn)) as book:
        _hold_a_case(book, "validated")
        _until("preprocess moves on the case", lambda: _waiting(book) == 1)
        scheduler = stack.processes.pop("scheduler")
        orphans += _processes(scheduler)[1:]
        scheduler.kill()
        scheduler.wait()
        killed = time.monotonic()
        stack.start_component("scheduler", *SCHEDULER)
        _until("the new scheduler starts the task once more", lambda: _tried_again(stack, run, "preprocess"))
        noticed = time.monotonic() - killed
    ended = _until("the night ends", lambda: _ended(stack, run), 1.0)

    tasks = stack.task_instances("nightly_staging", run)
    again = {task["task_id"]: task["try_number"] for task in tasks if task["try_number"] > 1}
    whole = time.monotonic() - began
    print(f"{CASES} cases, {len(tasks)} tasks, {whole:.0f} s, of them {noticed:.0f} until tried again: {again}")
    assert ended == "success"
    assert "preprocess" in {name.rpartition(".")[2] for name in again}
    assert {task["state"] for task in tasks} <= {"success", "skipped"}
    assert _rows(dsn, "select state, count(*) from staging_case group by 1") == [("committed", CASES)]
    assert _rows(dsn, "select case_id, state, count(*) from case_event group by 1, 2 having count(*) > 1") == []
    for (study,) in _rows(dsn, "select study_uid from staging_case"):
        held = Counter()
        for series in site.archive.find_series(study):
            held[series.modality] += len(site.archive.find_instances(study, series.series_uid))
        assert held == {"CT": 22, "SR": 1, "OT": 2, "KO": 1}


def _tried_again(stack: AirflowStack, run: str, name: str) -> bool:
    """Whether a second try of this task runs."""
    tasks = [task for task in stack.task_instances("nightly_staging", run) if task["task_id"].endswith(name)]
    return any(task["try_number"] > 1 and task["state"] == "running" for task in tasks)
