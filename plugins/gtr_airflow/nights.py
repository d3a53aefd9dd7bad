"""When nights run, which night a run is, and by when its worklist must be ready. Never from the clock on the wall."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from airflow.sdk import CronTriggerTimetable
from croniter import croniter

from gtr_batch.config import Config
from gtr_batch.domain.evening import NOON_TO_NOON, evening_of
from gtr_batch.errors import ConfigError, InputRefused

if TYPE_CHECKING:
    from airflow.sdk import Context


def timetable(cron: str, config: Config) -> CronTriggerTimetable:
    """Run at `cron` in the hospital's time zone, without a data interval."""
    return CronTriggerTimetable(_valid(cron), timezone=config.night.timezone)


def night_timetable(config: Config) -> CronTriggerTimetable:
    """Run at the night's schedule; the data interval, and so the logical date, begins on the evening before.

    The logical date is twelve hours of real time before the run: where the clocks changed in between, its own local
    date may be a day off.
    """
    return CronTriggerTimetable(_valid(config.night.schedule), timezone=config.night.timezone, interval=NOON_TO_NOON)


def until_ready(config: Config) -> timedelta:
    """From a scheduled night's logical date to `night.ready_by` of the following morning (wall clock).

    In the two nights of the year in which the clocks change, the deadline is an hour off.
    """
    run = croniter(_valid(config.night.schedule), datetime(2001, 1, 1)).get_next(datetime)  # noqa: DTZ001
    logical = run - NOON_TO_NOON
    return datetime.combine(logical.date() + timedelta(days=1), config.night.ready_by) - logical


def night_of(context: Context, config: Config) -> date:
    """The night that a run is for: the evening on which it began.

    In this order: the parameter ``night`` of a run started by hand; the run's partition; the evening of the run that
    its logical date stands for; and, for a run started by hand without any of them, of the time that it was asked for.

    Raises
    ------
    InputRefused
        The parameter or the partition is not a date.
    """
    run = context["dag_run"]
    given = (context.get("params") or {}).get("night") or run.partition_key
    if given:
        try:
            return date.fromisoformat(str(given)[:10])
        except ValueError as err:
            raise InputRefused(f"night {given!r} is not a date; write it as 2026-03-01") from err
    due = run.run_after if run.logical_date is None else run.logical_date + NOON_TO_NOON
    on_the_wall = due.astimezone(ZoneInfo(config.night.timezone)).replace(tzinfo=None)
    return evening_of(on_the_wall)


def day_of(context: Context, config: Config) -> date:
    """The local date that a daily run was due."""
    return context["dag_run"].run_after.astimezone(ZoneInfo(config.night.timezone)).date()


def _valid(cron: str) -> str:
    if not croniter.is_valid(cron):
        raise ConfigError(f"night schedule {cron!r} is not a cron expression; see docs/operations.md, Settings")
    return cron
