"""What the DAGs of the audit share: which period a run is for, in whose name it asks, and what an alarm sets off."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable, get_current_context
from airflow.sdk.exceptions import AirflowSkipException

from gtr_airflow import callbacks
from gtr_airflow.connections import task_audit
from gtr_batch.config import Config

if TYPE_CHECKING:
    from airflow.sdk import Context

#: An event of it is one or more new alarms; its `extra` holds their numbers, monitors and levels.
DRIFT = Asset("gtr_drift")


def or_on_drift(times: CronTriggerTimetable, config: Config) -> CronTriggerTimetable | AssetOrTimeSchedule:
    """These times, and every new alarm too where the site turned that on (`training.on_drift`)."""
    return AssetOrTimeSchedule(timetable=times, assets=[DRIFT]) if config.training.on_drift else times


def period_of(context: Context, config: Config, kind: str, parameter: str) -> date:
    """A day of the period that a run is for: its parameter; its partition; the last whole one before its logical date.

    For a run started by hand without any of them, the last whole one before the time that it was asked for.

    Raises
    ------
    InputRefused
        The parameter or the partition is no such period.
    """
    from gtr_batch.audit.period import day_in, period_before
    from gtr_batch.domain.audit_run import AuditKind

    run = context["dag_run"]
    given = (context.get("params") or {}).get(parameter) or run.partition_key
    if given:
        return day_in(AuditKind(kind), str(given))
    when = run.logical_date or run.run_after
    return period_before(AuditKind(kind), when.astimezone(ZoneInfo(config.night.timezone)).date())


def run_period(kind: str, day: date) -> dict[str, str]:
    """Audit a period in the name of this run; returns ``run_id``, ``period`` and ``answer``."""
    from gtr_batch.audit.run import run_audit
    from gtr_batch.domain.audit_run import AuditKind

    with task_audit() as site:
        found = run_audit(site, AuditKind(kind), day, _asked_by())
    return {name: found[name] for name in ("run_id", "period", "answer")}


def announce() -> list[int]:
    """Report each new alarm of this run and write down what the event of `DRIFT` is about; skip where none is."""
    from gtr_batch.audit.alarms import in_words, raised_for

    with task_audit() as site:
        new = raised_for(site.book, _asked_by())
    if not new:
        raise AirflowSkipException("no new alarm")
    for alarm in new:
        callbacks.notify(*in_words(alarm))
    get_current_context()["outlet_events"][DRIFT].extra = {
        "alarms": [{name: alarm[name] for name in ("alarm_id", "monitor", "level")} for alarm in new]
    }
    return [alarm["alarm_id"] for alarm in new]


def _asked_by() -> str:
    run = get_current_context()["dag_run"]
    return f"{run.dag_id}, {run.run_id}"[:200]
