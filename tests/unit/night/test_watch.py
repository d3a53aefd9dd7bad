"""What operations are told of a night, by what the nights' states and the clock say."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import attrs
import pytest

from gtr_batch.config import Config, NightConfig, NotifyConfig
from gtr_batch.domain.notice import NightState, NoticeKind
from gtr_batch.domain.switch import SwitchAction, SwitchEvent
from gtr_batch.errors import ConfigError
from gtr_batch.night import watch
from tests.nights.small_site import small_site

NIGHT = date(2026, 3, 1)
GREEN = {"cases": 2, "failed": {}, "intake": {"errors": {}}, "stopped": ""}


class States:
    """The part of `Nights` that is looked at."""

    def __init__(self, *states: NightState) -> None:
        self.states = states

    def since(self, at: datetime) -> list[NightState]:
        return list(self.states)


class History:
    """The part of `StopSwitch` that is looked at."""

    def __init__(self, *events: SwitchEvent) -> None:
        self.events = events

    def history(self) -> list[SwitchEvent]:
        return list(self.events)


@pytest.fixture
def told(tmp_path):
    """A function that gives the keys of the events at a time, for nights in these states."""
    site = small_site(tmp_path, timezone="Europe/Berlin")  # due at 00:30, ready by 06:30 there

    def at(clock: str, *states: NightState, switch: tuple[SwitchEvent, ...] = ()) -> list[str]:
        site.nights, site.switch = States(*states), History(*switch)
        return [event.key for event in watch.events(site, datetime.fromisoformat(clock))]

    return at


def begun(closed: str | None = None, **summary) -> NightState:
    at = datetime.fromisoformat(closed) if closed else None
    started = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    return NightState(NIGHT, started, at, {**GREEN, **summary} if closed else None)


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        ("2026-03-01T23:59+00:00", []),  # 29 minutes after it was due: 00:59 in Berlin
        ("2026-03-02T00:00+00:00", ["not_started:2026-03-01"]),
        ("2026-03-02T12:00+00:00", ["not_started:2026-03-01"]),
    ],
)
def test_a_night_that_did_not_begin_is_told_half_an_hour_after_it_was_due(told, clock, expected):
    assert told(clock) == expected


@pytest.mark.parametrize(
    ("clock", "expected"),
    [("2026-03-02T05:29+00:00", []), ("2026-03-02T05:30+00:00", ["late:2026-03-01"])],
)
def test_a_night_that_is_not_closed_when_the_worklist_must_be_ready_is_late(told, clock, expected):
    assert told(clock, begun()) == expected


def test_a_night_that_was_closed_in_time_and_is_run_again_by_day_is_not_late(told):
    again = attrs.evolve(begun("2026-03-02T01:00+00:00"), begun_at=datetime(2026, 3, 2, 10, tzinfo=UTC))

    assert told("2026-03-02T11:00+00:00", again) == []


@pytest.mark.parametrize(
    ("summary", "red"),
    [
        ({}, False),
        ({"failed": {"one": "stage: GpuOutOfMemory"}}, True),
        ({"intake": {"errors": {"1.2.3": "PacsBusy"}}}, True),
        ({"stopped": "the service was stopped by Dr Ada: MRN 4711"}, True),
        ({"canary": [{"outcome": "failed"}]}, True),
        ({"canary": [{"outcome": "passed"}, {"outcome": "failed"}]}, False),
    ],
)
def test_a_red_night_is_told_and_a_green_one_is_not(told, summary, red):
    state = begun("2026-03-02T01:00+00:00", **summary)

    assert told("2026-03-02T02:00+00:00", state) == (["red:2026-03-01:2026-03-02T01:00:00+00:00"] if red else [])


def test_what_the_night_tolerates_is_not_red():
    summary = {"failed": {"one": "x"}}

    assert watch.why_red(summary, Config()) != ""
    assert watch.why_red(summary, Config(night=NightConfig(failure_tolerance=1))) == ""


def test_a_night_that_is_red_again_is_told_again_and_an_old_one_is_no_news(told):
    first, second = (begun(f"2026-03-02T0{hour}:00+00:00", failed={"one": "x"}) for hour in (1, 3))

    assert told("2026-03-02T04:00+00:00", first) != told("2026-03-02T04:00+00:00", second)
    assert [key for key in told("2026-03-04T04:00+00:00", first) if key.startswith("red")] == []


def test_a_stop_and_a_resume_are_told_without_what_a_person_typed(tmp_path):
    site = small_site(tmp_path)
    site.nights, at = States(begun("2026-03-02T01:00+00:00")), datetime(2026, 3, 1, 12, tzinfo=UTC)
    site.switch = History(
        SwitchEvent(SwitchAction.STOP, "Dr Ada", "patient Doe, MRN 4711", at),
        SwitchEvent(SwitchAction.RESUME, "Dr Ada", "MRN 4711 is mended", at + timedelta(hours=1)),
        SwitchEvent(SwitchAction.STOP, "Dr Ada", "long ago", at - timedelta(days=9)),
    )

    found = watch.events(site, at + timedelta(hours=13))

    assert [event.kind for event in found] == [NoticeKind.STOPPED, NoticeKind.RESUMED]
    assert not any(word in event.subject + event.body for event in found for word in ("4711", "Ada", "Doe"))


@pytest.mark.parametrize("schedule", ["30 0 * * *", "30 23 * * *"])
def test_the_night_that_is_due_is_the_evening_on_which_it_began(schedule):
    """As `gtr_airflow.nights.night_of` says."""
    config = Config(night=NightConfig(schedule=schedule))

    night, due, ready = watch.due_night(config, datetime(2026, 3, 2, 4, tzinfo=UTC))

    assert night == NIGHT
    assert due in (datetime(2026, 3, 2, 0, 30, tzinfo=UTC), datetime(2026, 3, 1, 23, 30, tzinfo=UTC))
    assert ready == datetime(2026, 3, 2, 6, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"smtp_host": "mail.hospital.example"}, "smtp_from and notify.smtp_to"),
        (
            {"smtp_host": "mail.hospital.example", "smtp_from": "a@b", "smtp_to": ("c@d",), "smtp_tls": "none"},
            "on another machine",
        ),
        ({"smtp_tls": "ssl"}, "'starttls', 'tls' or 'none'"),
        ({"webhook_url": "http://chat.hospital.example/hook"}, "must begin with https"),
        ({"webhook_url": "ftp://127.0.0.1/hook"}, "must begin with https"),
    ],
)
def test_settings_that_would_tell_nobody_or_everybody_are_refused(settings, named):
    with pytest.raises(ConfigError, match=named):
        NotifyConfig(**settings)
