"""A night on two machines: CeleryExecutor, Redis, a worker for the queue `cpu` and one for `gpu`, a shared store.

Each worker is killed once in the middle of a shard and a new one is started, as systemd or Kubernetes would.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest

from gtr_batch.config import Config
from gtr_batch.loopback import free_port, listens
from gtr_batch.simulation.servers.airflow_stack import AirflowStack
from tests.dags.conftest import REPOSITORY
from tests.nights.conftest import NIGHT
from tests.nights.real_airflow import (
    PATIENCE_S,
    airflow_for_a_night,
    assert_whole,
    fill,
    hold_a_case,
    kill,
    processes_of,
    sessions_waiting,
    state_at_end,
    until,
    uri_of,
    with_patience,
)

CASES = int(os.environ.get("GTR_TEST_NIGHT_CASES", "6"))  # 24 of them: docs/scaling.md
QUEUES = ("cpu", "gpu")


@pytest.fixture
def config(config: Config) -> Config:
    return with_patience(config, shard_size=max(CASES // 3, 3))


@pytest.fixture
def broker(need_program, tmp_path: Path) -> Iterator[str]:
    """URL of a Redis on loopback; its one user has the rights that docker/prepare.sh gives, and nothing is on disk."""
    program, port, password = need_program("redis-server", "redis-server"), free_port(), secrets.token_hex(16)
    [rights] = re.findall(r"user airflow on #%s (.*?)\\n", (REPOSITORY / "docker" / "prepare.sh").read_text())
    users, settings = tmp_path / "redis.acl", tmp_path / "redis.conf"  # the password is not in the process list
    users.write_text(f"user default off\nuser airflow on >{password} {rights}\n")
    settings.write_text(f'bind 127.0.0.1\nport {port}\naclfile {users}\nsave ""\nappendonly no\ndir {tmp_path}\n')
    with (tmp_path / "redis.log").open("wb") as log:
        server = subprocess.Popen([program, str(settings)], stdout=log, stderr=log)
    try:
        until("Redis listens", lambda: listens(port))
        yield f"redis://airflow:{password}@127.0.0.1:{port}/0"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def stack(config: Config, broker: str, empty_dsn: str, tmp_path: Path) -> Iterator[AirflowStack]:
    """Airflow with a worker for each queue."""
    uri = uri_of(empty_dsn)
    settings = {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__OPERATORS__DEFAULT_QUEUE": "cpu",
        "AIRFLOW__CELERY__BROKER_URL": broker,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{uri}",
        # A task sends a heartbeat every 5 s. Six are missing, and it is dead: quicker than in airflow.cfg.template.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    }
    with airflow_for_a_night(tmp_path, config, uri, settings, _start_workers) as found:
        yield found


def _start_workers(stack: AirflowStack) -> None:
    for queue in QUEUES:
        _start_worker(stack, queue)


def _start_worker(stack: AirflowStack, queue: str) -> None:
    options = ("--queues", queue, "--concurrency", "1", "--celery-hostname", f"{queue}@%h", "--skip-serve-logs")
    stack.start_component(queue, "celery", "worker", *options)


def _kill_in_the_middle(
    stack: AirflowStack, dsn: str, queue: str, state: str, orphans: list[psutil.Process] | None = None
) -> None:
    """Kill the queue's worker, with all its processes, while it moves on a case of this state; start a new one.

    With `orphans`, only the worker's own process group is killed. The task is in another one: it goes on, unseen by
    Airflow, and is still at this case when its next try is, too.
    """
    with contextlib.closing(psycopg2.connect(dsn)) as book:
        hold_a_case(book, state)
        until(f"a worker moves on a case that is {state}", lambda: sessions_waiting(book) == 1)
        worker = stack.processes.pop(queue)
        if orphans is None:
            kill(processes_of(worker))
        else:
            orphans += processes_of(worker)
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        _start_worker(stack, queue)
        if orphans is not None:
            until("the next try is at the same case", lambda: sessions_waiting(book) > 1)


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S * 2)
def test_a_night_of_two_workers_ends_whole_though_each_is_killed(
    stack, orphans, site, admit, enter_in_ehr, pacs, tmp_path, dsn
):
    """`preprocess` dies with its worker; `deliver` outlives it and is done twice at once, after the PACS took all."""
    fill(pacs, tmp_path / "dicom", [f"n{k:02}" for k in range(CASES)], admit, enter_in_ehr)
    began = time.monotonic()

    run = stack.trigger("nightly_staging", {"night": str(NIGHT)})
    _kill_in_the_middle(stack, dsn, "gpu", "validated")
    _kill_in_the_middle(stack, dsn, "cpu", "reported", orphans)
    ended = until("the night ends", lambda: state_at_end(stack, run), 1.0)

    tasks = stack.task_instances("nightly_staging", run)
    killed = {task["task_id"]: task["try_number"] for task in tasks if task["try_number"] > 1}
    print(f"{CASES} cases, {len(tasks)} tasks, {time.monotonic() - began:.0f} s; tried again: {killed}")
    assert ended == "success"
    assert {"preprocess", "deliver"} <= {name.rpartition(".")[2] for name in killed}
    assert {task["task_id"] for task in tasks if task["queue"] == "gpu"} == {"canary", "preprocess", "stage", "shadow"}
    assert {task["queue"] for task in tasks} == set(QUEUES)
    assert_whole(dsn, site, CASES)
