"""A night on two machines: CeleryExecutor, Redis, a worker for the queue `cpu` and one for `gpu`, a shared store.

Each worker is killed once in the middle of a shard and a new one is started, as systemd or Kubernetes would.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import psutil
import psycopg2
import pytest
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import parse_dsn

from gtr_batch.config import Config
from gtr_batch.loopback import free_port, listens
from gtr_batch.simulation.servers.airflow_stack import AirflowStack
from tests.dags.conftest import REPOSITORY
from tests.nights.conftest import NIGHT
from tests.settings import as_environment

CASES = int(os.environ.get("GTR_TEST_NIGHT_CASES", "6"))  # 24 of them: docs/scaling.md
QUEUES = ("cpu", "gpu")
PATIENCE_S = 1200.0


def _until(what: str, ready: Callable[[], object], every_s: float = 0.1) -> object:
    """Wait until `ready` returns something true, and return it."""
    end = time.monotonic() + PATIENCE_S
    while not (found := ready()):
        assert time.monotonic() < end, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(every_s)
    return found


@pytest.fixture
def config(config: Config) -> Config:
    return attrs.evolve(
        config,
        files=attrs.evolve(config.files, min_free_gb=0.001),
        database=attrs.evolve(config.database, statement_timeout_s=600),  # who waits for our lock is not to give up
        night=attrs.evolve(config.night, shard_size=max(CASES // 3, 3), task_memory_gb=0, retries=3, retry_delay_s=1),
    )


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
        _until("Redis listens", lambda: listens(port))
        yield f"redis://airflow:{password}@127.0.0.1:{port}/0"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def stack(config: Config, broker: str, empty_dsn: str, tmp_path: Path) -> Iterator[AirflowStack]:
    """Airflow with an API server, a scheduler, a DAG processor and two workers; one DAG file, the night's."""
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
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__OPERATORS__DEFAULT_QUEUE": "cpu",
        "AIRFLOW__CELERY__BROKER_URL": broker,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{uri}",
        # A task sends a heartbeat every 5 s. Six are missing, and it is dead: quicker than in airflow.cfg.template.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    }
    try:
        found.airflow("db", "migrate")
        found.airflow("pools", "import", str(REPOSITORY / "plugins" / "gtr_airflow" / "pools.json"))
        for name, *options in (["api-server"], ["scheduler", "--skip-serve-logs"], ["dag-processor"]):
            found.start_component(name, name, *options)
        for queue in QUEUES:
            _start_worker(found, queue)
        found.wait_until_ready({"nightly_staging"}, PATIENCE_S)
        yield found
    finally:
        for process in found.processes.values():
            _kill(_processes(process))
            process.wait()


@pytest.fixture
def orphans() -> Iterator[list[psutil.Process]]:
    """Processes whose worker was killed, without them."""
    found: list[psutil.Process] = []
    yield found
    _kill(found)


def _start_worker(stack: AirflowStack, queue: str) -> None:
    options = ("--queues", queue, "--concurrency", "1", "--celery-hostname", f"{queue}@%h", "--skip-serve-logs")
    stack.start_component(queue, "celery", "worker", *options)


def _processes(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The worker, and all that it has started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        whole = psutil.Process(worker.pid)
        return [whole, *whole.children(recursive=True)]
    return []


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _hold_a_case(book: Connection, state: str) -> None:
    """Lock the row of a case in this state: whoever wants to move it on waits for us, in the middle of its work."""

    def locked() -> bool:
        with book.cursor() as cursor:
            cursor.execute(
                "select case_id from staging_case where state = %s order by case_id desc limit 1 for no key update",
                [state],
            )
            if cursor.fetchone():
                return True
        book.rollback()
        return False

    _until(f"a case is {state}", locked)


def _waiting(book: Connection) -> int:
    """How many sessions wait for our lock; of `pg_stat_activity` a transaction sees only what was there at first."""
    with book.cursor() as cursor:
        cursor.execute(
            "with waiting as (select distinct pid, pg_blocking_pids(pid) as others from pg_locks where not granted),"
            " first as (select pid from waiting where pg_backend_pid() = any (others))"
            " select count(*) from waiting"
            " where pg_backend_pid() = any (others) or others && array(select pid from first)"
        )
        return int(cursor.fetchone()[0])


def _kill_in_the_middle(
    stack: AirflowStack, dsn: str, queue: str, state: str, orphans: list[psutil.Process] | None = None
) -> None:
    """Kill the queue's worker, with all its processes, while it moves on a case of this state; start a new one.

    With `orphans`, only the worker's own process group is killed. The task is in another one: it goes on, unseen by
    Airflow, and is still at this case when its next try is, too.
    """
    with contextlib.closing(psycopg2.connect(dsn)) as book:
        _hold_a_case(book, state)
        _until(f"a worker moves on a case that is {state}", lambda: _waiting(book) == 1)
        worker = stack.processes.pop(queue)
        if orphans is None:
            _kill(_processes(worker))
        else:
            orphans += _processes(worker)
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        _start_worker(stack, queue)
        if orphans is not None:
            _until("the next try is at the same case", lambda: _waiting(book) > 1)


def _rows(dsn: str, query: str) -> list[tuple]:
    with contextlib.closing(psycopg2.connect(dsn)) as book, book.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S * 2)
def test_a_night_of_two_workers_ends_whole_though_each_is_killed(
    stack, orphans, site, admit, enter_in_ehr, pacs, tmp_path, dsn
):
    """`preprocess` dies with its worker; `deliver` outlives it and is done twice at once, after the PACS took all."""
    names = [f"n{k:02}" for k in range(CASES)]
    for name in names:
        admit(name)
        enter_in_ehr(name)
    pacs.stop()
    pacs.preload(tmp_path / "dicom")
    shutil.rmtree(tmp_path / "dicom")
    pacs.start()
    began = time.monotonic()

    run = stack.trigger("nightly_staging", {"night": str(NIGHT)})
    _kill_in_the_middle(stack, dsn, "gpu", "validated")
    _kill_in_the_middle(stack, dsn, "cpu", "reported", orphans)
    ended = _until("the night ends", lambda: _ended(stack, run), 1.0)

    tasks = stack.task_instances("nightly_staging", run)
    killed = {task["task_id"]: task["try_number"] for task in tasks if task["try_number"] > 1}
    print(f"{CASES} cases, {len(tasks)} tasks, {time.monotonic() - began:.0f} s; tried again: {killed}")
    assert ended == "success"
    assert {"preprocess", "deliver"} <= {name.rpartition(".")[2] for name in killed}
    assert {task["task_id"] for task in tasks if task["queue"] == "gpu"} == {"canary", "preprocess", "stage", "shadow"}
    assert {task["queue"] for task in tasks} == set(QUEUES)
    assert _rows(dsn, "select state, count(*) from staging_case group by 1") == [("committed", CASES)]
    once = _rows(dsn, "select case_id, state, count(*) from case_event group by 1, 2 having count(*) > 1")
    assert once == []
    for (study,) in _rows(dsn, "select study_uid from staging_case"):
        held = Counter()
        for series in site.archive.find_series(study):
            held[series.modality] += len(site.archive.find_instances(study, series.series_uid))
        assert held == {"CT": 22, "SR": 1, "OT": 2, "KO": 1}


def _ended(stack: AirflowStack, run: str) -> str:
    state = stack.run_state("nightly_staging", run)
    return state if state in ("success", "failed") else ""
