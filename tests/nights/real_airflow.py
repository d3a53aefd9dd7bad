"""The real Airflow for one night, whose processes a test kills: started, held in the middle of a case, looked at."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import attrs
import psutil
import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import parse_dsn

from gtr_batch.config import Config
from gtr_batch.simulation.servers.airflow_stack import AirflowStack
from tests.dags.conftest import REPOSITORY
from tests.settings import as_environment

PATIENCE_S = 600.0


def with_patience(config: Config, shard_size: int) -> Config:
    """Settings of a night whose tasks wait for a test, and are tried again at once."""
    return attrs.evolve(
        config,
        files=attrs.evolve(config.files, min_free_gb=0.001),
        database=attrs.evolve(config.database, statement_timeout_s=600),  # who waits for our lock is not to give up
        night=attrs.evolve(config.night, shard_size=shard_size, task_memory_gb=0, retries=3, retry_delay_s=1),
    )


def uri_of(dsn: str) -> str:
    """A DSN as SQLAlchemy's URI."""
    to = parse_dsn(dsn)
    return f"postgresql://{to['user']}:{to['password']}@{to['host']}:{to['port']}/{to['dbname']}"


@contextlib.contextmanager
def airflow_for_a_night(
    folder: Path,
    config: Config,
    uri: str,
    settings: Mapping[str, str],
    more: Callable[[AirflowStack], None] = lambda stack: None,
) -> Iterator[AirflowStack]:
    """Airflow with an API server, a scheduler, a DAG processor and what `more` starts; one DAG file, the night's."""
    found = AirflowStack(folder / "airflow", REPOSITORY, uri, as_environment(config))
    dags = folder / "dags"
    dags.mkdir()
    shutil.copy(REPOSITORY / "dags" / "nightly_staging.py", dags)
    found.environ |= {
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "plugins"), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        **settings,
    }
    try:
        found.airflow("db", "migrate")
        found.airflow("pools", "import", str(REPOSITORY / "plugins" / "gtr_airflow" / "pools.json"))
        found.start_component("api-server", "api-server")
        start_scheduler(found)
        found.start_component("dag-processor", "dag-processor")
        more(found)
        found.wait_until_ready({"nightly_staging"}, PATIENCE_S)
        yield found
    finally:
        for process in found.processes.values():
            kill(processes_of(process))
            process.wait()


def start_scheduler(stack: AirflowStack) -> None:
    """Start the scheduler, or another one after its death."""
    stack.start_component("scheduler", "scheduler", "--skip-serve-logs")


def fill(pacs, dicom: Path, names, admit, enter_in_ehr) -> None:
    """Let these patients be in the PACS and in the EHR."""
    for name in names:
        admit(name)
        enter_in_ehr(name)
    pacs.preload(dicom)
    shutil.rmtree(dicom)


def assert_whole(dsn: str, site, cases: int) -> None:
    """Every case is committed, each of its states was reached once, and the PACS holds its objects once."""
    assert rows_of(dsn, "select state, count(*) from staging_case group by 1") == [("committed", cases)]
    once = rows_of(dsn, "select case_id, state, count(*) from case_event group by 1, 2 having count(*) > 1")
    assert once == []
    for (study,) in rows_of(dsn, "select study_uid from staging_case"):
        held = Counter()
        for series in site.archive.find_series(study):
            held[series.modality] += len(site.archive.find_instances(study, series.series_uid))
        assert held == {"CT": 22, "SR": 1, "OT": 2, "KO": 1}


def until(what: str, ready: Callable[[], object], every_s: float = 0.1) -> object:
    """Wait until `ready` returns something true, and return it."""
    end = time.monotonic() + PATIENCE_S
    while not (found := ready()):
        assert time.monotonic() < end, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(every_s)
    return found


def processes_of(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The worker, and all that it has started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        whole = psutil.Process(worker.pid)
        return [whole, *whole.children(recursive=True)]
    return []


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def hold_a_case(book: Connection, state: str) -> None:
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

    until(f"a case is {state}", locked)


def sessions_waiting(book: Connection) -> int:
    """How many sessions wait for our lock; of `pg_stat_activity` a transaction sees only what was there at first."""
    with book.cursor() as cursor:
        cursor.execute(
            "with waiting as (select distinct pid, pg_blocking_pids(pid) as others from pg_locks where not granted),"
            " first as (select pid from waiting where pg_backend_pid() = any (others))"
            " select count(*) from waiting"
            " where pg_backend_pid() = any (others) or others && array(select pid from first)"
        )
        return int(cursor.fetchone()[0])


def rows_of(dsn: str, query: str) -> list[tuple]:
    with contextlib.closing(psycopg2.connect(dsn)) as book, book.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def state_at_end(stack: AirflowStack, run: str) -> str:
    state = stack.run_state("nightly_staging", run)
    return state if state in ("success", "failed") else ""
