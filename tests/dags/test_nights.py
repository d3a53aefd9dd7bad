"""Which night a run is: from the run, never from the clock; and until when it must be ready."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from gtr_airflow import nights
from gtr_batch.config import Config, load
from gtr_batch.errors import ConfigError, InputRefused


def _config(**night: str) -> Config:
    return load(environ={f"GTR_NIGHT__{name.upper()}": value for name, value in night.items()})


def _context(night: str | None = None, partition: str | None = None, logical: datetime | None = None, **run) -> dict:
    after = run.get("run_after", datetime(2026, 6, 1, 9, tzinfo=UTC))
    return {
        "params": {"night": night},
        "dag_run": SimpleNamespace(partition_key=partition, logical_date=logical, run_after=after),
    }


def test_the_parameter_comes_first_then_the_partition_then_the_logical_date():
    logical = datetime(2026, 3, 3, 12, 30, tzinfo=UTC)

    assert nights.night_of(_context("2026-03-01", "2026-03-02", logical), Config()) == date(2026, 3, 1)
    assert nights.night_of(_context(None, "2026-03-02T00:00:00", logical), Config()) == date(2026, 3, 2)
    assert nights.night_of(_context(None, None, logical), Config()) == date(2026, 3, 3)


def test_the_logical_date_is_read_on_the_hospitals_calendar():
    logical = datetime(2026, 3, 3, 23, 30, tzinfo=UTC)

    assert nights.night_of(_context(logical=logical), _config(timezone="Asia/Tokyo")) == date(2026, 3, 4)
    assert nights.night_of(_context(logical=logical), _config(timezone="America/New_York")) == date(2026, 3, 3)


@pytest.mark.parametrize(
    ("asked", "night"),
    [
        (datetime(2026, 3, 1, 23, 30, tzinfo=UTC), date(2026, 3, 1)),
        (datetime(2026, 3, 2, 0, 30, tzinfo=UTC), date(2026, 3, 1)),
        (datetime(2026, 3, 2, 11, 59, tzinfo=UTC), date(2026, 3, 1)),
        (datetime(2026, 3, 2, 12, 1, tzinfo=UTC), date(2026, 3, 2)),
    ],
)
def test_a_run_by_hand_without_a_date_is_the_evening_before_it_was_asked_for(asked, night):
    assert nights.night_of(_context(run_after=asked), Config()) == night


@pytest.mark.parametrize("nonsense", ["last night", "2026-13-01", "2026-02-30"])
def test_a_night_that_is_no_date_is_refused_by_name(nonsense):
    with pytest.raises(InputRefused, match=nonsense):
        nights.night_of(_context(nonsense), Config())


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo", "Pacific/Auckland"])
@pytest.mark.parametrize("schedule", ["30 23 * * *", "30 0 * * *", "0 3 * * *", "15 11 * * *", "30 12 * * *"])
def test_a_years_scheduled_runs_are_a_years_nights_each_once(zone, schedule):
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction
    from pendulum import datetime as pendulum_datetime

    config = _config(timezone=zone, schedule=schedule)
    timetable = coerce_to_core_timetable(nights.night_timetable(config))
    restriction = TimeRestriction(pendulum_datetime(2026, 1, 5), None, True)
    found, last = [], None
    for _ in range(365):
        run = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
        last = run.data_interval
        found.append(nights.night_of(_context(logical=run.logical_date), config))

    assert [later - earlier for earlier, later in pairwise(found)] == [timedelta(days=1)] * 364


BERLIN = "Europe/Berlin"
CHANGES = [date(2026, 3, 29), date(2026, 10, 25)]  # of the clocks of Berlin: 02:00 to 03:00, and 03:00 to 02:00


@pytest.mark.parametrize("change", CHANGES, ids=["to summer", "to winter"])
def test_at_whatever_minute_a_night_is_scheduled_a_change_of_the_clocks_neither_skips_nor_doubles_one(change):
    """Every minute of the day, a week around: the logical date is twelve hours of real time before the run."""
    zone, config = ZoneInfo(BERLIN), _config(timezone=BERLIN)
    days = [change + timedelta(days=k) for k in range(-3, 4)]
    wrong = []
    for minute in range(24 * 60):
        at = time(minute // 60, minute % 60)
        runs = [datetime.combine(day, at, zone).astimezone(UTC) for day in days]
        scheduled = [nights.night_of(_context(logical=run - nights.NOON_TO_NOON), config) for run in runs]
        by_hand = [nights.night_of(_context(run_after=run), config) for run in runs]
        # An hour that the clocks pass over is an hour later on them; noon parts one night from the next.
        expected = [day - timedelta(days=at < time(12)) for day in days]
        if not scheduled == by_hand == expected:
            wrong.append((str(at), [str(night) for night in scheduled]))

    assert wrong == []


@pytest.mark.parametrize("hour", range(24))
def test_airflows_own_runs_around_both_changes_of_the_clocks_are_each_night_once(hour):
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction
    from pendulum import datetime as pendulum_datetime

    for change in CHANGES:
        for minute in (0, 30, 59):
            config = _config(timezone=BERLIN, schedule=f"{minute} {hour} * * *")
            timetable = coerce_to_core_timetable(nights.night_timetable(config))
            restriction = TimeRestriction(pendulum_datetime(2026, change.month, change.day - 3), None, True)
            found, last = [], None
            for _ in range(7):
                run = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
                last = run.data_interval
                found.append(nights.night_of(_context(logical=run.logical_date), config))

            assert [later - earlier for earlier, later in pairwise(found)] == [timedelta(days=1)] * 6


@pytest.mark.parametrize(("schedule", "hours"), [("30 0 * * *", 18), ("30 23 * * *", 19), ("0 3 * * *", 15.5)])
def test_the_worklist_is_due_at_half_past_six_of_the_morning_after(schedule, hours):
    assert nights.until_ready(_config(schedule=schedule)) == timedelta(hours=hours)


def test_a_schedule_that_is_no_cron_expression_is_refused_with_the_way_out():
    with pytest.raises(ConfigError, match=r"'at night' is not a cron expression.*operations\.md"):
        nights.night_timetable(_config(schedule="at night"))


def test_housekeeping_counts_days_on_the_hospitals_calendar():
    context = _context(run_after=datetime(2026, 3, 1, 23, 0, tzinfo=UTC))

    assert nights.day_of(context, _config(timezone="Europe/Berlin")) == date(2026, 3, 2)
