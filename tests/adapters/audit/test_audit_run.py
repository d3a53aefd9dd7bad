"""An audit is run, kept, and run again to the byte."""

from __future__ import annotations

import gzip
import stat
from datetime import UTC, date, datetime

import attrs
import pytest

from gtr_batch.audit import run as audit_run
from gtr_batch.audit.found.filed import headline_to_json
from gtr_batch.audit.found.performance import Headline
from gtr_batch.audit.period import (
    day_in,
    months_after,
    nights_of,
    period_before,
    since,
    watch_begins,
    watches_since,
)
from gtr_batch.audit.run import inputs_of, rerun, run_audit
from gtr_batch.audit.term import term_on
from gtr_batch.config import StageConfig
from gtr_batch.domain.audit import Surgery
from gtr_batch.domain.audit_run import AlarmLevel, AuditInputs, AuditKind
from gtr_batch.domain.audited_model import ModelMetrics
from gtr_batch.domain.reference import Reference
from gtr_batch.errors import InputRefused, ModelArtefactError
from tests.adapters.audit.conftest import MODEL, SUCCESSOR, a_staged, simple_makers

MONTH, WEEK = AuditKind.MONTH, AuditKind.WEEK
MARCH = date(2026, 3, 15)


# Periods


@pytest.mark.parametrize(
    ("kind", "day", "nights"),
    [
        (MONTH, date(2028, 2, 10), (date(2028, 2, 1), date(2028, 2, 29))),
        (MONTH, date(2026, 12, 31), (date(2026, 12, 1), date(2026, 12, 31))),
        (WEEK, date(2026, 1, 1), (date(2025, 12, 29), date(2026, 1, 4))),
        (WEEK, date(2026, 3, 8), (date(2026, 3, 2), date(2026, 3, 8))),
    ],
)
def test_a_period_is_a_calendar_month_or_a_week_from_monday_on(kind, day, nights):
    assert nights_of(kind, day) == nights


def test_the_period_before_a_run_is_the_last_whole_one():
    assert period_before(MONTH, date(2026, 4, 5)) == date(2026, 3, 31)
    assert period_before(MONTH, date(2026, 1, 1)) == date(2025, 12, 31)
    assert period_before(WEEK, date(2026, 3, 9)) == date(2026, 3, 8)
    assert period_before(WEEK, date(2026, 3, 11)) == date(2026, 3, 8)


def test_a_period_may_be_named():
    assert day_in(MONTH, "2026-03") == date(2026, 3, 1)
    assert day_in(WEEK, "2026-W10") == date(2026, 3, 2)
    assert day_in(WEEK, "2026-03-04") == date(2026, 3, 4)


@pytest.mark.parametrize(
    ("kind", "text"), [(MONTH, "March"), (MONTH, "2026-13"), (WEEK, "2026-W54"), (WEEK, "2026-03"), (MONTH, "")]
)
def test_what_is_no_period_is_refused_with_an_example(kind, text):
    with pytest.raises(InputRefused, match=r"as 2026-(03|W10)"):
        day_in(kind, text)


def test_the_data_reach_back_to_the_horizon_or_to_the_promotion():
    last = date(2026, 3, 31)

    assert since(last, 24, None) == date(2024, 4, 1)
    assert since(last, 24, date(2020, 1, 1)) == date(2024, 4, 1)
    assert since(last, 24, date(2026, 1, 10)) == date(2026, 1, 10)


def test_a_watch_begins_anew_after_its_horizon_and_never_moves_in_between():
    start = date(2024, 1, 31)
    ends = [date(2024, 2, 29), date(2025, 12, 31), date(2026, 1, 30), date(2026, 1, 31), date(2028, 1, 31)]

    assert [watch_begins(start, last, 24) for last in ends] == [
        start,
        start,
        start,
        date(2026, 1, 31),
        date(2028, 1, 31),
    ]
    assert months_after(date(2024, 1, 31), 1) == date(2024, 2, 29)


def test_an_acknowledgment_lets_one_monitor_watch_anew():
    found = watches_since(("headers", "output"), {"headers": date(2026, 2, 1)}, date(2026, 1, 1), date(2026, 3, 31), 24)

    assert found == {"headers": date(2026, 2, 1), "output": date(2026, 1, 1)}


# Which model is judged


def test_the_model_that_was_champion_at_the_periods_end_is_judged(audit_site, champion_events):
    champion_events.crown(SUCCESSOR, datetime(2026, 4, 2, 9, tzinfo=UTC))

    before, after = term_on(audit_site, date(2026, 3, 31)), term_on(audit_site, date(2026, 4, 30))

    assert (before.version, before.first) == (MODEL, date(2026, 1, 10))
    assert (after.version, after.first) == (SUCCESSOR, date(2026, 4, 2))


def test_the_day_of_a_promotion_is_the_hospitals(audit_site, champion_events):
    night = attrs.evolve(audit_site.config.night, timezone="Asia/Tokyo")
    audit_site.config = attrs.evolve(audit_site.config, night=night)
    champion_events.crown(SUCCESSOR, datetime(2026, 3, 31, 20, tzinfo=UTC))

    assert term_on(audit_site, date(2026, 3, 31)).version == MODEL
    assert term_on(audit_site, date(2026, 4, 1)).first == date(2026, 4, 1)


def test_an_adopted_model_had_staged_before_it_was_adopted(audit_site, champion_events):
    champion_events.events.clear()
    champion_events.crown(MODEL, datetime(2026, 11, 1, tzinfo=UTC), "adopt")

    found = term_on(audit_site, date(2026, 3, 31))

    assert (found.version, found.first) == (MODEL, date(2026, 2, 1))


def test_without_any_champion_the_artefact_of_the_settings_is_judged(audit_site, champion_events, tmp_path):
    champion_events.events.clear()
    audit_site.config = attrs.evolve(audit_site.config, stage=StageConfig(artefact=tmp_path / "nothing"))

    with pytest.raises(ModelArtefactError):
        term_on(audit_site, date(2026, 3, 31))


# Inputs


def test_the_inputs_hold_the_reference_the_gates_numbers_and_settings_without_a_path(
    audit_site, champion_events, tmp_path
):
    champion_events.gates[MODEL] = {"models": {"candidate": {"n": 50, "accuracy": 0.8}}}

    inputs = inputs_of(audit_site, MONTH, MARCH)

    assert (inputs.first, inputs.last, inputs.as_of) == (date(2026, 3, 1), date(2026, 3, 31), date(2026, 3, 31))
    assert (inputs.since, set(inputs.watching_since.values())) == (date(2026, 1, 10), {date(2026, 1, 10)})
    assert set(inputs.watching_since) == set(audit_site.config.audit.shares)
    assert inputs.reference == Reference(n=80)
    assert inputs.model.metrics == ModelMetrics(n_validation=30, holdout_accuracy=0.8, n_holdout=50)
    assert str(tmp_path) not in inputs.content().decode()
    assert (inputs.settings.odds_ratio, inputs.settings.t4_understaging_cap) == (2.0, 0.1)


def test_cannot_audit_a_model_whose_manifest_says_no_numbers(audit_site, champion_events):
    champion_events.metrics["n_validation"] = "many"

    with pytest.raises(ModelArtefactError, match="metrics in the manifest of model aaaaaaaaaaaa"):
        inputs_of(audit_site, MONTH, MARCH)


def test_pathology_counts_as_of_the_periods_end_or_as_of_the_day_that_was_asked_for(audit_site, audit_source):
    surgery = Surgery(date(2026, 3, 10), date(2026, 4, 3), "pT", "T3", "T3")
    audit_source.held[:] = [a_staged(1, date(2026, 3, 1), surgery=surgery)]

    [early] = inputs_of(audit_site, MONTH, MARCH).cases
    [late] = inputs_of(audit_site, MONTH, MARCH, date(2026, 4, 4)).cases

    assert (early.surgery.reported_on, late.surgery.reported_on) == (None, date(2026, 4, 3))


def test_cannot_ask_what_was_known_before_the_period(audit_site):
    with pytest.raises(InputRefused, match="as of 2026-02-28"):
        inputs_of(audit_site, MONTH, MARCH, date(2026, 2, 28))


# A run


def test_a_run_keeps_its_inputs_its_report_and_a_row(audit_site):
    found = run_audit(audit_site, MONTH, MARCH, "Ada", make=simple_makers())

    folder = audit_site.folder / "month" / "2026-03" / found.run_id[:12]
    kept = audit_site.folder / "inputs" / f"{found.run_id}.json.gz"
    row = audit_site.book.run(found.run_id)
    assert found.folder == folder
    assert sorted(p.name for p in folder.iterdir()) == ["report.html", "report.json"]
    assert {stat.S_IMODE(p.stat().st_mode) for p in (kept, *folder.iterdir())} == {0o600}
    assert {stat.S_IMODE(p.stat().st_mode) for p in (folder, folder.parent, kept.parent)} == {0o700}
    assert (row.answer, row.headline, row.asked_by) == ("look", headline_to_json(Headline(n=40)), "Ada")
    assert (row.as_of, row.files) == (date(2026, 3, 31), found.files)
    assert row.settings.draws == audit_site.config.audit.draws


def test_a_run_again_is_the_same_run_although_its_alarms_are_open_by_then(audit_site):
    make = simple_makers([("headers", AlarmLevel.LOOK)])

    first = run_audit(audit_site, MONTH, MARCH, "Ada", make=make)
    kept = (audit_site.folder / "inputs" / f"{first.run_id}.json.gz").read_bytes()
    again = run_audit(audit_site, MONTH, MARCH, "Grace", make=make)

    assert again.run_id == first.run_id
    assert (len(first.alarms), again.alarms) == (1, ())
    assert (audit_site.folder / "inputs" / f"{first.run_id}.json.gz").read_bytes() == kept
    assert len(audit_site.book.runs()) == 1


def test_the_order_of_rows_in_the_database_changes_nothing(audit_site, audit_source):
    one = run_audit(audit_site, MONTH, MARCH, "Ada", make=simple_makers())
    audit_source.held.reverse()

    assert run_audit(audit_site, MONTH, MARCH, "Ada", make=simple_makers()).files == one.files


def test_a_run_knows_the_headline_of_the_period_before_and_of_its_own_kind(audit_site):
    seen: list[AuditInputs] = []
    make = simple_makers()
    looking = attrs.evolve(make, compute=lambda inputs: seen.append(inputs) or make.compute(inputs))
    for kind, day in ((MONTH, date(2026, 2, 1)), (WEEK, date(2026, 3, 2)), (MONTH, date(2026, 4, 1))):
        run_audit(audit_site, kind, day, "Ada", make=simple_makers())

    run_audit(audit_site, MONTH, MARCH, "Ada", make=looking)

    assert seen[0].previous == headline_to_json(Headline(n=20))


def test_a_month_is_not_compared_with_an_older_one_than_the_month_before(audit_site):
    """Where February was not audited, January's numbers must not stand in the report as last month's."""
    run_audit(audit_site, MONTH, date(2026, 1, 15), "Ada", make=simple_makers())

    assert inputs_of(audit_site, MONTH, MARCH).previous == {}
    assert inputs_of(audit_site, MONTH, date(2026, 2, 1)).previous == headline_to_json(Headline(n=0))


def test_an_open_alarm_of_another_run_is_in_the_inputs_until_it_is_acknowledged(audit_site):
    week = run_audit(audit_site, WEEK, MARCH, "Ada", make=simple_makers([("headers", AlarmLevel.LOOK)]))

    before = inputs_of(audit_site, MONTH, MARCH)
    audit_site.book.acknowledge(week.alarms[0].alarm_id, by="Ada", note="new scanner", watch_from=date(2026, 3, 12))
    after = inputs_of(audit_site, MONTH, MARCH)

    assert [a.monitor for a in before.alarms] == ["headers"]
    assert after.alarms == ()
    assert (after.watching_since["headers"], after.watching_since["output"]) == (date(2026, 3, 12), date(2026, 1, 10))
    assert inputs_of(audit_site, MONTH, date(2026, 2, 1)).watching_since["headers"] == date(2026, 1, 10)


def test_an_alarm_whose_monitor_watches_on_is_in_the_inputs_with_the_note(audit_site):
    make = simple_makers([("headers", AlarmLevel.LOOK)])
    month = run_audit(audit_site, MONTH, MARCH, "Ada", make=make)
    audit_site.book.acknowledge(month.alarms[0].alarm_id, by="Ada", note="a quiet month", watch_from=None)

    [alarm] = inputs_of(audit_site, MONTH, MARCH).alarms

    assert (alarm.acknowledged_by, alarm.note) == ("Ada", "a quiet month")
    assert inputs_of(audit_site, MONTH, date(2026, 2, 1)).alarms == ()  # nobody knew in February


def test_a_month_without_cases_is_a_run_too(audit_site, audit_source):
    audit_source.held.clear()

    found = run_audit(audit_site, MONTH, MARCH, "Ada", make=simple_makers(answer="cannot tell"))

    assert found.answer == "cannot tell"


def test_nobody_asks_for_nothing(audit_site):
    with pytest.raises(InputRefused, match="asked_by is empty"):
        run_audit(audit_site, MONTH, MARCH, " ", make=simple_makers())

    assert not audit_site.folder.exists()


# And again


def test_a_rerun_gives_the_same_files_byte_for_byte_after_the_data_have_changed(audit_site, audit_source):
    run = run_audit(audit_site, MONTH, MARCH, "Ada", make=simple_makers())
    audit_source.held.clear()

    found = rerun(audit_site, run.run_id[:8], make=simple_makers())

    assert (found.same, found.sentence) == (True, "The same, byte for byte.")
    assert {name: f.now for name, f in found.files.items()} == run.files


def test_a_rerun_names_the_file_that_came_out_otherwise(audit_site):
    run = run_audit(audit_site, MONTH, MARCH, "Ada", make=simple_makers())

    found = rerun(audit_site, run.run_id, make=simple_makers(answer="yes"))

    assert found.same is False
    assert found.sentence == "Not the same: report.html, report.json."


def test_a_rerun_says_that_other_code_had_made_it(audit_site, monkeypatch):
    run = run_audit(audit_site, MONTH, MARCH, "Ada", make=simple_makers())
    monkeypatch.setattr(audit_run, "code_version", lambda: "0.2.0+other")

    found = rerun(audit_site, run.run_id, make=simple_makers())

    assert found.same is True
    assert "this is 0.2.0+other" in found.sentence


def test_a_rerun_says_that_somebody_changed_the_filed_report(audit_site):
    run = run_audit(audit_site, MONTH, MARCH, "Ada", make=simple_makers())
    filed = audit_site.folder / "month" / "2026-03" / run.run_id[:12] / "report.html"
    filed.write_text("<p>yes</p>")

    found = rerun(audit_site, run.run_id, make=simple_makers())

    assert found.same is True
    assert "is not what was written down, or is gone: report.html" in found.sentence


def test_cannot_run_again_what_has_lost_its_inputs(audit_site):
    run = run_audit(audit_site, MONTH, MARCH, "Ada", make=simple_makers())
    (audit_site.folder / "inputs" / f"{run.run_id}.json.gz").unlink()

    with pytest.raises(InputRefused, match="are gone"):
        rerun(audit_site, run.run_id, make=simple_makers())


@pytest.mark.parametrize(
    "spoil", [lambda b: gzip.compress(gzip.decompress(b) + b" "), lambda b: b[:-30], lambda b: b"x"]
)
def test_cannot_run_again_from_inputs_that_are_not_what_they_were(audit_site, spoil):
    run = run_audit(audit_site, MONTH, MARCH, "Ada", make=simple_makers())
    kept = audit_site.folder / "inputs" / f"{run.run_id}.json.gz"
    kept.write_bytes(spoil(kept.read_bytes()))

    with pytest.raises(InputRefused, match="not what they were"):
        rerun(audit_site, run.run_id, make=simple_makers())


@pytest.mark.parametrize("digits", ["", "f00", "%"])
def test_cannot_run_again_what_is_not_known(audit_site, digits):
    run_audit(audit_site, MONTH, MARCH, "Ada", make=simple_makers())

    with pytest.raises(InputRefused, match="not exactly one run"):
        rerun(audit_site, digits, make=simple_makers())
