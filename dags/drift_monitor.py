"""### Weekly monitors: have the scans, the patients or the model's answers changed?

    watch -> raise_alarms

Every week the monitors compare the nights since the model became champion with its reference, or with the first weeks:
scanners and protocols, image quality, refusals, features, the mix of stages, slices whose votes differ, sources of key
slices, and pathology against the probabilities. They share one budget of false alarms (`audit.false_alarm_budget`). The
report lies in `audit.folder`; `gtr audit list` shows every run.

**`raise_alarms` is skipped** in a week without a new alarm. **Green** means that there are new alarms: operations were
told, the asset `gtr_drift` has an event, and each alarm stays open until a named person acknowledges it (`gtr audit
acknowledge`). An alarm turns no task red, since it is no fault of the service.

**To look at a week again**, trigger with the parameter `day`, any day of it. The same data give the same run, and no
alarm is raised twice.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param, dag, get_current_context, task

from gtr_airflow.audits import DRIFT, announce, period_of, run_period
from gtr_airflow.callbacks import NotifyOperations
from gtr_airflow.nights import timetable
from gtr_airflow.retry import default_args
from gtr_batch.config import load

CONFIG = load()


@task(execution_timeout=timedelta(hours=1), on_failure_callback=NotifyOperations())
def watch() -> dict[str, str]:
    """Let the monitors look at the week, keep its inputs and its report; returns the run's id, period and answer."""
    return run_period("week", period_of(get_current_context(), CONFIG, "week", "day"))


@task(outlets=[DRIFT], on_failure_callback=NotifyOperations())
def raise_alarms(run: dict[str, str]) -> list[int]:
    """Tell of new alarms and write the drift asset; skipped where there are none."""
    print(f"audit {run['run_id'][:12]} of {run['period']}: {run['answer']}")  # noqa: T201 - for the task's log
    return announce()


@dag(
    schedule=timetable(CONFIG.audit.weekly_schedule, CONFIG),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(CONFIG),
    params={
        "day": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Day",
            description="Any day of the week to look at; leave empty for the last whole week.",
        )
    },
    doc_md=__doc__,
    tags=["gtr"],
)
def drift_monitor() -> None:
    raise_alarms(watch())


drift_monitor()
