"""The night of `bench_night` through the real Airflow: LocalExecutor, its pools, a task a step and shard."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

from psycopg2.extensions import make_dsn, parse_dsn

from gtr_batch.config import Config
from gtr_batch.simulation.servers.airflow_stack import AirflowStack
from tests.bench.bench_night import Night, UsefulMoments, warm
from tests.fixtures_db import create_database
from tests.nights.real_airflow import airflow_for_a_night, rows_of, state_at_end, uri_of

DAG = "nightly_staging"


@contextmanager
def running(scratch: Path, config: Config) -> Iterator[AirflowStack]:
    """Airflow with a database of its own in the same PostgreSQL, ready for a night."""
    airflow_dsn = create_database(_superusers(config.database.dsn), "airflow")
    settings = {"OMP_NUM_THREADS": str(os.cpu_count())}
    folder = scratch / "airflow"
    folder.mkdir()
    warm(config)  # the page cache
    with airflow_for_a_night(folder, config, uri_of(airflow_dsn), settings) as stack:
        yield stack


def night_in_airflow(stack: AirflowStack, config: Config, night: date, cases: int) -> Night:
    """Trigger the night and wait for its end; seconds of the steps are those of their tasks, summed."""
    watch = UsefulMoments(None)
    cpu, began = watch.processor_s(), time.perf_counter()
    with watch:
        run = stack.trigger(DAG, {"night": str(night)})
        while not (ended := state_at_end(stack, run)):
            time.sleep(0.5)
    wall, cpu = time.perf_counter() - began, watch.processor_s() - cpu
    if ended != "success":
        raise RuntimeError(f"the night's run ended {ended}; logs: {stack.home}")
    seconds: defaultdict[str, float] = defaultdict(float)
    tasks = [task for task in stack.task_instances(DAG, run) if task["start_date"]]  # not those that were skipped
    _say_when(tasks)
    for task in tasks:
        seconds[task["task_id"].rpartition(".")[2]] += task["duration"] or 0.0
    states = dict(
        rows_of(
            _superusers(config.database.dsn),
            f"select state, count(*) from staging_case where night = '{night:%Y-%m-%d}' group by 1",
        )
    )
    return Night(cases, wall, cpu, watch.share, 0.0, states, dict(seconds))


def _say_when(tasks: list[dict[str, Any]]) -> None:
    """A line a task: when it ran, seconds after the first."""
    ran = [(_at(task["start_date"]), _at(task["end_date"]), task) for task in tasks if task["end_date"]]
    first = min(begin for begin, _, _ in ran)
    for begin, end, task in sorted(ran, key=lambda one: one[0]):
        name = f"{task['task_id']}[{task['map_index']}]"
        print(f"  {(begin - first).total_seconds():6.1f} to {(end - first).total_seconds():6.1f} s  {name}", flush=True)


def _at(said: str) -> datetime:
    return datetime.fromisoformat(said)


def _superusers(dsn: str) -> str:
    return make_dsn(**{name: value for name, value in parse_dsn(dsn).items() if name != "options"})
