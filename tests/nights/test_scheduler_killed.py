"""A night on one machine, LocalExecutor, whose scheduler is killed in the middle of a mapped task and started again.

SIGKILL of the scheduler alone, as where the kernel needs its memory: the executor's processes and the task live on,
unseen by Airflow, and the new scheduler starts the task once more. It is killed in the middle of a transaction, with
the lock that lets one scheduler at a time queue tasks: the executor's processes have its connection too, and the
database takes the transaction for one that goes on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from gtr_batch.config import Config
from gtr_batch.simulation.servers.airflow_stack import AirflowStack
from tests.nights.conftest import NIGHT
from tests.nights.real_airflow import (
    PATIENCE_S,
    airflow_for_a_night,
    assert_whole,
    fill,
    hold_a_case,
    processes_of,
    sessions_waiting,
    start_scheduler,
    state_at_end,
    until,
    uri_of,
    with_patience,
)

CASES = 2


@pytest.fixture
def config(config: Config) -> Config:
    return with_patience(config, shard_size=1)


@pytest.fixture
def stack(config: Config, empty_dsn: str, tmp_path: Path) -> Iterator[AirflowStack]:
    settings = {
        "AIRFLOW__CORE__PARALLELISM": "2",
        # A dead scheduler is noticed, and its tasks are looked for, sooner than in airflow.cfg.template.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": "tests.nights.connect_args.QUICK",
    }
    with airflow_for_a_night(tmp_path, config, uri_of(empty_dsn), settings) as found:
        yield found


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S * 2)
def test_a_night_ends_whole_though_the_scheduler_is_killed_in_the_middle_of_a_shard(
    stack, orphans, site, admit, enter_in_ehr, pacs, tmp_path, dsn, empty_dsn
):
    fill(pacs, tmp_path / "dicom", [f"s{k}" for k in range(CASES)], admit, enter_in_ehr)
    began = time.monotonic()

    run = stack.trigger("nightly_staging", {"night": str(NIGHT)})
    with contextlib.closing(psycopg2.connect(dsn)) as book:
        hold_a_case(book, "validated")
        until("preprocess moves on the case", lambda: sessions_waiting(book) == 1)
        scheduler = stack.processes.pop("scheduler")
        orphans += processes_of(scheduler)[1:]
        with held_in_its_transaction(empty_dsn):
            scheduler.kill()
            scheduler.wait()
        killed = time.monotonic()
        start_scheduler(stack)
        until("the new scheduler starts the task once more", lambda: _tried_again(stack, run, "preprocess"))
        noticed = time.monotonic() - killed
    ended = until("the night ends", lambda: state_at_end(stack, run), 1.0)

    tasks = stack.task_instances("nightly_staging", run)
    again = {task["task_id"]: task["try_number"] for task in tasks if task["try_number"] > 1}
    whole = time.monotonic() - began
    print(f"{CASES} cases, {len(tasks)} tasks, {whole:.0f} s, of them {noticed:.0f} until tried again: {again}")
    assert ended == "success"
    assert "preprocess" in {name.rpartition(".")[2] for name in again}
    assert {task["state"] for task in tasks} <= {"success", "skipped"}
    assert_whole(dsn, site, CASES)


@contextlib.contextmanager
def held_in_its_transaction(dsn: str) -> Iterator[None]:
    """Airflow's scheduler waits for us in the transaction in which it queues tasks, with its lock."""
    with contextlib.closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        cursor.execute("lock table slot_pool in access exclusive mode")
        until("the scheduler queues tasks", lambda: _schedulers_locks(cursor))
        yield
        session.rollback()


def _schedulers_locks(cursor) -> int:
    """How many sessions that wait for us have an advisory lock: in Airflow the scheduler alone takes one."""
    cursor.execute(
        "select count(*) from pg_locks waiting join pg_locks held using (pid) where not waiting.granted"
        " and waiting.relation = 'slot_pool'::regclass and held.locktype = 'advisory' and held.granted"
    )
    return int(cursor.fetchone()[0])


def _tried_again(stack: AirflowStack, run: str, name: str) -> bool:
    """Whether a second try of this task runs."""
    tasks = [task for task in stack.task_instances("nightly_staging", run) if task["task_id"].endswith(name)]
    return any(task["try_number"] > 1 and task["state"] == "running" for task in tasks)
