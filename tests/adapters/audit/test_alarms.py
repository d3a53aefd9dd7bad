"""Alarms stay open until a named person has looked; meanwhile those that say stop may hold reports back."""

from __future__ import annotations

from datetime import date, datetime

import attrs
import pytest

from gtr_batch.audit.alarms import StopAlarms, acknowledge, in_words
from gtr_batch.audit.run import run_audit
from gtr_batch.config import AuditConfig, Config
from gtr_batch.db.settings import PostgresSettings
from gtr_batch.domain.audit_run import AlarmLevel, AuditKind
from gtr_batch.domain.case import Case, CaseState, Step
from gtr_batch.domain.identifiers import case_id
from gtr_batch.domain.staging import CaseStaging, KeySliceSource, SliceStaging, StageProbabilities, TStage
from gtr_batch.errors import InputRefused, NightFailed
from gtr_batch.files import LocalFileStore
from gtr_batch.night import steps
from gtr_batch.night.absent import NoSettingsHistory, NoShadows
from gtr_batch.night.close import close_night, night_cases
from gtr_batch.night.memory import MemoryStudyLooks
from gtr_batch.night.site import Site
from gtr_batch.night.steps import deliver
from tests.adapters.audit.conftest import MODEL, SUCCESSOR, FakeClock, simple_makers
from tests.case_moves import Moves

NIGHT = date(2026, 3, 20)
MARCH = date(2026, 3, 15)


def raised(audit_site, monitor="stage_shift", level=AlarmLevel.STOP) -> int:
    """Audit March so that this alarm is raised; returns its id."""
    run = run_audit(audit_site, AuditKind.MONTH, MARCH, "Ada", make=simple_makers([(monitor, level)]))
    return run.alarms[0].alarm_id


@pytest.mark.parametrize(
    ("who", "said"),
    [
        ({"by": " ", "note": "x"}, "by is empty"),
        ({"by": "Ada", "note": ""}, "note is empty"),
        ({"by": "Ada", "note": "x" * 2001}, "2001 characters"),
    ],
)
def test_an_alarm_is_closed_by_a_named_person_with_a_note(audit_site, who, said):
    alarm = raised(audit_site)

    with pytest.raises(InputRefused, match=said):
        acknowledge(audit_site.book, alarm, **who)

    assert len(audit_site.book.alarms(only_open=True)) == 1


def test_a_monitor_that_watches_anew_can_raise_another_alarm_and_one_that_watches_on_is_silent(audit_site):
    make = simple_makers([("headers", AlarmLevel.LOOK), ("output", AlarmLevel.LOOK)])
    first = run_audit(audit_site, AuditKind.MONTH, MARCH, "Ada", make=make)
    by_name = {a.monitor: a.alarm_id for a in first.alarms}
    acknowledge(audit_site.book, by_name["headers"], by="Ada", note="new scanner", watch_from=date(2026, 3, 25))
    acknowledge(audit_site.book, by_name["output"], by="Ada", note="a quiet month")

    april = run_audit(audit_site, AuditKind.MONTH, date(2026, 4, 1), "Ada", make=make)

    assert [(a.monitor, a.watching_since) for a in april.alarms] == [("headers", date(2026, 3, 25))]


def test_a_notice_says_what_when_and_how_it_is_closed(audit_site):
    raised(audit_site)
    [alarm] = audit_site.book.alarms()

    subject, text = in_words(alarm)

    assert subject == "audit 2026-03: stage_shift says stop"
    assert "stage_shift crossed. Data up to 2026-03-31" in text
    assert f"gtr audit acknowledge {alarm.alarm_id}" in text


def test_only_an_open_alarm_that_says_stop_holds_reports_back(audit_site):
    look = raised(audit_site, "headers", AlarmLevel.LOOK)
    held = StopAlarms(audit_site.book)
    before = dict(held.held())
    stop = raised(audit_site)
    during = dict(held.held())
    acknowledge(audit_site.book, stop, by="Ada", note="looked")

    assert look != stop
    assert before == {}
    assert list(during) == [MODEL]
    assert f"alarm {stop} (stage_shift) of audit 2026-03 says stop" in during[MODEL]
    assert held.held() == {}


# In the night


def a_staging(version: str) -> CaseStaging:
    p = StageProbabilities((0.1, 0.2, 0.6, 0.1))
    slices = tuple(SliceStaging(f"1.2.{k}", role, TStage.T3, p) for k, role in enumerate(("below", "key", "above")))
    return CaseStaging(TStage.T3, p, slices, KeySliceSource.EHR, version, ())


@pytest.fixture
def night_site(audit_site, database, tmp_path, monkeypatch) -> Site:
    """A site in the middle of a night: three cases are reported, the last by another model; sending always works."""
    sent: list[str] = []

    def send(site, work, refused):
        return work.each(CaseState.COMMITTED, lambda case, record: sent.append(case.case_id) or {})

    monkeypatch.setattr(steps, "deliver_cases", send)
    book = Moves.on(database)
    files = LocalFileStore(tmp_path / "nights")
    book.open_night(NIGHT, MODEL)
    for k, version in enumerate((MODEL, MODEL, SUCCESSOR)):
        case = Case(
            case_id(f"1.2.{k}", f"1.2.{k}.1"), NIGHT, f"1.2.{k}", f"1.2.{k}.1", f"P{k}", f"A{k}", datetime(2026, 3, 20)
        )
        book.record([case])
        book.save_staging(case.case_id, a_staging(version))
        book.advance(case.case_id, CaseState.REPORTED)
    (files.night_folder(NIGHT, Step.INTAKE) / "intake.json").write_text("{}")
    config = attrs.evolve(Config(), audit=AuditConfig(pause_delivery=True))
    site = Site(
        config=config,
        archive=None,
        nights=book.nights,
        cases=book.cases,
        deliveries=book.deliveries,
        clinical=None,
        files=files,
        model_store=None,
        clock=FakeClock(),
        settings_history=NoSettingsHistory(),
        shadows=NoShadows(),
        hold=StopAlarms(audit_site.book),
        looks=MemoryStudyLooks(),
    )
    site.sent = sent
    return site


def ids(site) -> list[str]:
    return [case.case_id for case in site.cases.of_night(NIGHT)]


def test_a_stop_alarm_holds_back_that_models_reports_and_the_night_is_green_and_says_why(audit_site, night_site):
    raised(audit_site)

    deliver(night_site, NIGHT, ids(night_site))
    summary = close_night(night_site, NIGHT)

    mine, also_mine, of_another = ids(night_site)
    assert night_site.sent == [of_another]
    assert summary["states"] == {"reported": 2, "committed": 1}
    assert summary["failed"] == {}
    assert summary["delivery"]["held"] == [mine, also_mine]
    assert "says stop and nobody has acknowledged it" in summary["delivery"]["why"][0]
    assert night_site.nights.summary(NIGHT)["delivery"] == summary["delivery"]
    assert [bool(row.reason) for row in night_cases(night_site, NIGHT)] == [True, True, False]


def test_after_the_acknowledgment_the_same_night_run_again_sends_what_was_held_back(audit_site, night_site):
    alarm = raised(audit_site)
    deliver(night_site, NIGHT, ids(night_site))
    acknowledge(audit_site.book, alarm, by="Ada", note="pathology's new protocol")

    deliver(night_site, NIGHT, ids(night_site))
    summary = close_night(night_site, NIGHT)

    assert sorted(night_site.sent) == sorted(ids(night_site))
    assert (summary["states"], summary["delivery"]) == ({"committed": 3}, {})


def test_nothing_is_held_back_where_the_site_did_not_turn_that_on(audit_site, night_site):
    raised(audit_site)
    night_site.config = Config()

    deliver(night_site, NIGHT, ids(night_site))

    assert len(night_site.sent) == 3


def test_the_pause_is_a_governed_setting(audit_site, night_site, database):
    raised(audit_site)
    night_site.config, night_site.settings_history = Config(), PostgresSettings(database)
    night_site.settings_history.set("audit.pause_delivery", True, by="Ada", why="the head of department wants it")

    deliver(night_site, NIGHT, ids(night_site))

    assert len(night_site.sent) == 1


def test_a_case_that_was_held_back_once_and_then_did_not_finish_turns_the_night_red(
    audit_site, night_site, monkeypatch
):
    alarm = raised(audit_site)
    deliver(night_site, NIGHT, ids(night_site))
    acknowledge(audit_site.book, alarm, by="Ada", note="looked")

    def killed(site, work, refused):
        raise SystemExit  # the worker is ended in the middle

    monkeypatch.setattr(steps, "deliver_cases", killed)
    with pytest.raises(SystemExit):
        deliver(night_site, NIGHT, ids(night_site))

    with pytest.raises(NightFailed, match="did not finish: stopped after reported"):
        close_night(night_site, NIGHT)
