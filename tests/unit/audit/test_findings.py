"""What an audit finds, and what it answers: may we go on using it?"""

from __future__ import annotations

import json
from datetime import date, timedelta

import attrs
import numpy as np
import pytest

from gtr_batch.audit.chance import above_p, difference, ece_p, level_of, lower_p, slope_p
from gtr_batch.audit.cohorts import cohorts
from gtr_batch.audit.findings import compute
from gtr_batch.audit.found.filed import findings_from_json, findings_to_json
from gtr_batch.audit.found.findings import OpenAlarm
from gtr_batch.audit.found.performance import Criterion, Headline, Tally
from gtr_batch.audit.found.service import WhoWasRight
from gtr_batch.audit.json_value import json_value
from gtr_batch.audit.monitors.watched import Watched
from gtr_batch.audit.subgroups import subgroups
from gtr_batch.audit.verdict import answer
from gtr_batch.domain.audit import AuditCase, ConsoleReading
from gtr_batch.domain.audit_run import AlarmLevel
from gtr_batch.domain.staging import STAGES, StageSet, TStage
from gtr_batch.errors import InputRefused
from gtr_batch.metrics.intervals import wilson
from gtr_batch.metrics.utility import Treatment
from tests.audit_builder import a_month, a_week, every_stage, hand_made, labelled_case, on_new_scanner


def a_monitor(name: str, title: str, state: str, level: AlarmLevel, sentence: str) -> Watched:
    since = date(2026, 1, 1)
    return Watched(name, title, state, level, since, None, None, None, (), sentence, could_have_seen="Nothing.")


QUIET = a_monitor("headers", "Scanners", "quiet", AlarmLevel.LOOK, "Quiet.")
SHIFT = a_monitor("stage_shift", "Pathology", "alarm", AlarmLevel.STOP, "Crossed.")
SOME = Tally(seen=20, staged=18, refused=2, failed=0, patients=20)
NONE = Tally(seen=0, staged=0, refused=0, failed=0, patients=0)


def asked(monitors, alarms=(), criteria=(), tallied=SOME, labelled=100):
    return answer(monitors, alarms, criteria, tallied, n_labelled=labelled, minimum_labels=20, weekly=False)


def test_stops_when_a_stop_monitor_has_crossed():
    word, reasons = asked([QUIET, SHIFT])

    assert word == "stop"
    assert "Pathology" in reasons[0] and "Crossed." in reasons[0]


def test_stops_while_a_stop_alarm_is_open_though_its_monitor_is_quiet():
    alarm = OpenAlarm("stage_shift", "stop", "2026-01-03", sentence="Crossed then.")

    word, reasons = asked([QUIET], [alarm])

    assert word == "stop"
    assert "2026-01-03" in reasons[0]


def test_looks_when_a_look_alarm_is_open_or_a_number_is_worse_beyond_chance():
    alarm = OpenAlarm("headers", "look", "2026-01-03", sentence="New scanner.")
    worse = Criterion("ece", "worse", "ECE 0.2.")

    assert asked([QUIET], [alarm])[0] == "look"
    assert asked([QUIET], criteria=[worse]) == ("look", ["ECE 0.2."])


def test_an_alarm_that_is_open_is_not_called_new():
    alarm = OpenAlarm("stage_shift", "stop", "2026-01-03", sentence="Crossed.")

    _, reasons = asked([SHIFT], [alarm])

    assert len(reasons) == 1
    assert reasons[0].startswith("Open alarm")


def test_an_acknowledged_alarm_no_longer_stops_but_its_monitor_is_looked_at():
    alarm = OpenAlarm("stage_shift", "stop", sentence="Crossed.", acknowledged_by="Dr Stone")

    word, reasons = asked([SHIFT, QUIET], [alarm])

    assert word == "look"
    assert reasons[0].startswith("Acknowledged alarm")


def test_says_yes_with_reasons_when_nothing_is_wrong():
    fine = Criterion("ece", "not shown", "ECE 0.02.")

    word, reasons = asked([QUIET], criteria=[fine])

    assert word == "yes"
    assert "ECE 0.02." in reasons


def test_cannot_tell_without_labels_and_without_a_monitor_that_can_judge():
    blind = attrs.evolve(QUIET, state="cannot tell")

    assert asked([blind], labelled=3)[0] == "cannot tell"
    assert asked([QUIET], labelled=3)[0] == "yes"


def test_cannot_tell_of_nights_in_which_no_study_came():
    assert asked([QUIET], tallied=NONE)[0] == "cannot tell"
    assert asked([QUIET], tallied=NONE, labelled=0)[0] == "cannot tell"


@pytest.fixture(scope="module")
def month():
    return a_month()


def test_the_same_inputs_give_the_same_findings_whatever_the_order_of_the_cases(month):
    shuffled = attrs.evolve(month, cases=tuple(reversed(month.cases)))

    assert json.dumps(findings_to_json(compute(month))) == json.dumps(findings_to_json(compute(shuffled)))


def test_findings_are_json_without_nan_and_hold_what_the_run_keeps(month):
    found = compute(month)

    json.dumps(findings_to_json(found), allow_nan=False)
    assert found.run.run_id == month.digest
    assert found.headline.n == found.month.performance.window.n
    assert all(v is None or isinstance(v, int | float) for v in attrs.asdict(found.headline).values())
    assert {m.name for m in found.monitors} >= {"stage_shift", "headers", "features"}


def test_a_month_is_compared_with_the_headline_of_the_month_before(month):
    bad = {"n_period": 400, "right_period": 400, "accuracy": 1.0}

    found = compute(attrs.evolve(month, previous=bad))

    last = next(c for c in found.month.criteria if c.name == "last_month")
    assert found.month.previous.accuracy == 1.0
    assert "400/400" in last.sentence


def test_finds_a_scanner_that_changed(month):
    since = month.last - timedelta(days=60)

    found = compute(attrs.evolve(month, cases=tuple(map(on_new_scanner(since), month.cases))))

    state = {m.name: m.state for m in found.monitors}
    assert state["headers"] == "alarm"
    assert found.answer in ("look", "stop")
    assert "Revolution CT" in found.inputs.headers["model"].values


def test_finds_pathology_that_moved_away_from_the_probabilities():
    found = compute(a_month(months=10, per_month=60, shift="or=6", at=2))

    shift = next(m for m in found.monitors if m.name == "stage_shift")
    assert shift.state == "alarm"
    assert found.answer == "stop"


def test_a_week_is_short_and_has_no_numbers_of_accuracy(month):
    found = compute(a_week(month))

    assert found.run.kind == "week"
    assert found.month is None
    assert found.refusals and found.inputs and found.monitors


def test_every_case_has_one_fate(month):
    found = compute(month)

    assert sum(f.n for f in found.month.fates) == len(month.cases)


def test_only_pathology_of_the_last_year_counts_and_only_that_of_this_model():
    old = labelled_case(900, TStage.T1, TStage.T1, night=date(2024, 6, 1))
    other = labelled_case(901, TStage.T1, TStage.T1, night=date(2026, 1, 5), model_version="b" * 64)
    late = labelled_case(902, TStage.T1, TStage.T1, night=date(2026, 1, 5), reported=date(2026, 2, 3))

    found = cohorts(hand_made([*every_stage(8), old, other, late], as_of=date(2026, 2, 5)))

    assert len(found.window) == len(found.period) == 8


def test_the_same_case_twice_counts_once_and_is_said():
    cases = every_stage(24)

    found = compute(hand_made([*cases, *cases[:3]]))

    assert found.month.performance.window.n == 24
    assert any("3 of 27 rows" in s for s in found.not_judged)


def test_counts_overrides_of_reads_that_saw_the_answer():
    from gtr_batch.domain.audit import Read

    night = date(2026, 1, 5)
    seen = Read(night, TStage.T3, with_ai=True)
    unseen = Read(night, TStage.T3, with_ai=False)
    cases = [
        labelled_case(1, TStage.T3, None, night=night, read=seen),
        labelled_case(2, TStage.T2, TStage.T3, night=night, read=seen),
        labelled_case(3, TStage.T2, None, night=night, read=unseen),
    ]

    found = compute(hand_made(cases)).month.overrides

    assert (found.n, found.over, found.higher, found.lower) == (2, 1, 1, 0)
    assert found.with_pathology == WhoWasRight(1, model=0, reader=1)


NIGHT = date(2026, 1, 5)
T1, T2, T3, T4 = STAGES


def read_in_the_console(*readings: ConsoleReading, night: date = NIGHT, **given) -> AuditCase:
    k = len(given) + len(readings) + night.day
    return labelled_case(k, T3, None, night=night, case_id=f"{night}-{readings}", readings=readings, **given)


def test_a_stage_that_was_given_before_the_models_was_shown_is_the_unaided_reading():
    cases = [
        read_in_the_console(ConsoleReading(T3, T3, NIGHT, T3, NIGHT), ConsoleReading(T3, T2, NIGHT, T3, NIGHT)),
        read_in_the_console(ConsoleReading(T3, T3, NIGHT, T4, NIGHT)),
        read_in_the_console(ConsoleReading(T2, T4, NIGHT)),
        read_in_the_console(ConsoleReading(T3, said=T3, said_on=NIGHT), ConsoleReading(T4, said=T2, said_on=NIGHT)),
        read_in_the_console(ConsoleReading(T1, T1, NIGHT), night=date(2025, 12, 5)),
        read_in_the_console(ConsoleReading(T1, said=T1, said_on=NIGHT), model_version="b" * 64),
    ]

    found = compute(hand_made(cases)).month.console

    unaided, aided = found.unaided, found.aided
    assert (found.cases, found.came_over, found.turned_away) == (4, 1, 1)
    assert (unaided.n, unaided.agree, unaided.words, unaided.overruled) == (4, 2, 3, 1)
    assert (aided.n, aided.agree, aided.words, aided.overruled) == (2, 1, 2, 1)
    assert [(row.stage, row.n, row.agree) for row in unaided.by_stage if row.n] == [("T2", 1, 0), ("T3", 3, 2)]
    assert [(row.stage, row.n, row.agree) for row in aided.by_stage if row.n] == [("T3", 1, 1), ("T4", 1, 0)]
    assert unaided.ci == pytest.approx(wilson(2, 4))
    assert unaided.overrule_ci == pytest.approx(wilson(1, 3))
    assert any("6 readings are of 4 cases" in s for s in found.sentences)
    assert any("Only 4 unaided readings" in s for s in found.sentences)


def test_what_nobody_read_in_the_console_has_no_rate_and_is_said():
    found = compute(hand_made(every_stage(8))).month.console

    assert (found.unaided.share, found.aided.overrule_rate, found.aided.overrule_ci) == (None, None, None)
    assert found.sentences == ("No unaided reading this month.", "No aided reading this month.")


def test_few_readings_of_a_stage_are_said_to_be_few():
    aided = [ConsoleReading(T3 if k else T4, said=T3, said_on=NIGHT) for k in range(30)]

    found = compute(hand_made([read_in_the_console(*aided)])).month.console

    assert any("Fewer than 20 readings of T4 aided" in s for s in found.sentences)


def test_findings_of_before_the_console_have_no_readings_of_it():
    body = findings_to_json(compute(hand_made(every_stage(8))))
    del body["console"]

    assert findings_from_json(body).month.console is None


def test_compares_decisions_with_endoscopic_ultrasound_on_the_same_patients():
    from gtr_batch.domain.audit import Read

    night = date(2026, 1, 5)
    cases = [
        labelled_case(k, STAGES[k % 4], STAGES[k % 4], night=night, read=Read(night, endosonographer_ut=TStage.T3))
        for k in range(8)
    ]

    found = compute(hand_made([*cases, *(labelled_case(50, TStage.T1, TStage.T1, night=night),)]))

    eus = found.month.performance.eus
    assert eus.n == 8
    assert eus.eus == Treatment(over=0.5, under=0.0, nnt=None)
    assert eus.model.over == 0.0


def test_a_subgroup_is_judged_only_where_it_is_large_enough():
    few = [labelled_case(k, TStage.T1, TStage.T2, night=date(2026, 1, 5), sex="female") for k in range(5)]
    many = [labelled_case(100 + k, TStage.T1, TStage.T1, night=date(2026, 1, 5), sex="male") for k in range(60)]

    small = {r.group: r.verdict for r in subgroups(cohorts(hand_made([*few, *many])).window) if r.by == "sex"}
    more = [labelled_case(300 + k, TStage.T1, TStage.T2, night=date(2026, 1, 5), sex="female") for k in range(30)]
    large = {r.group: r.verdict for r in subgroups(cohorts(hand_made([*few, *many, *more])).window) if r.by == "sex"}

    assert small == {"female": "too small", "male": "too small"}
    assert large == {"female": "worse", "male": "better"}


def test_coverage_is_of_the_sets_that_were_reported():
    """Not of those that today's model would make of the probabilities."""
    low, high = StageSet(TStage.T1, TStage.T2, 0.9), StageSet(TStage.T2, TStage.T4, 0.9)
    staged = [attrs.evolve(c, stage_set=(low, high, None)[k % 3]) for k, c in enumerate(every_stage(21))]
    given = [c for c in staged if c.stage_set is not None]

    found = compute(hand_made(staged)).month.coverage

    assert (found.n, found.promised) == (14, 0.9)
    assert found.held == sum(c.surgery.t_stage in c.stage_set for c in given)
    assert found.mean_size == pytest.approx(2.5)
    assert compute(hand_made(every_stage(20))).month.coverage is None


def test_more_t4_staged_lower_than_the_cap_is_worse_only_beyond_chance():
    night = date(2026, 1, 5)

    def of_t4(lower: int) -> list[AuditCase]:
        return [labelled_case(k, TStage.T3 if k < lower else TStage.T4, TStage.T4, night=night) for k in range(40)]

    verdict = {}
    for lower in (2, 6, 12):
        found = compute(hand_made(of_t4(lower)))
        verdict[lower] = next(c for c in found.month.criteria if c.name == "t4_understaging")

    assert [verdict[k].verdict for k in (2, 6, 12)] == ["not shown", "not shown", "worse"]
    assert "chance may do that" in verdict[6].sentence


def test_the_comparisons_share_one_error_rate():
    assert level_of(0.05, 24, 4) * 24 * 4 == pytest.approx(0.05)


def test_calibrated_probabilities_are_called_off_no_more_often_than_the_level():
    rng = np.random.default_rng(0)
    below = {"ece": 0, "slope": 0}
    for k in range(200):
        p = rng.dirichlet([1, 1, 1, 1], 120)
        y = np.array([rng.choice(4, p=row) for row in p])
        below["ece"] += ece_p(y, p, draws=400, seed=k) <= 0.05
        below["slope"] += slope_p(y >= 2, p[:, 2] + p[:, 3]) <= 0.05

    assert 2 <= below["ece"] <= 20  # 10 expected of 200, SD 3.1
    assert 2 <= below["slope"] <= 20


def test_probabilities_that_are_far_too_sure_are_called_off():
    rng = np.random.default_rng(1)
    p = rng.dirichlet([1, 1, 1, 1], 300)
    y = np.array([rng.choice(4, p=row) for row in p])
    sure = p**4 / (p**4).sum(axis=1, keepdims=True)

    assert ece_p(y, sure) < 0.001
    assert slope_p(y >= 2, sure[:, 2] + sure[:, 3]) < 0.001


def test_tests_of_shares_agree_with_what_is_known():
    low, high = difference(56, 70, 48, 80)

    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)  # Newcombe 1998, table II, method 10
    assert lower_p(10, 20, 20, 20) < 0.001 < lower_p(19, 20, 20, 20)
    assert lower_p(0, 0, 5, 10) is None
    assert above_p(0, 0, 0.1) is None
    assert above_p(10, 40, 0.1) < 0.01


def test_what_is_not_finite_becomes_none():
    value = {
        "a": float("nan"),
        "b": np.array([1.0, np.inf]),
        "c": np.int64(3),
        "d": date(2026, 1, 1),
        "e": (None, True),
    }

    assert json_value(value) == {"a": None, "b": [1.0, None], "c": 3, "d": "2026-01-01", "e": [None, True]}


def test_findings_are_the_same_when_they_are_read_back_from_their_file(month):
    found = compute(attrs.evolve(month, previous={"n_period": 40, "right_period": 30, "accuracy": 0.75}))
    week = compute(a_week(month))

    assert findings_from_json(json.loads(json.dumps(findings_to_json(found)))) == found
    assert findings_from_json(json.loads(json.dumps(findings_to_json(week)))) == week


def test_a_headline_that_was_kept_by_an_earlier_version_is_read_as_far_as_it_goes():
    found = compute(hand_made(every_stage(30), previous={"n_period": 40, "right_period": 39, "gini": 0.3}))

    assert found.month.previous == Headline(n_period=40, right_period=39)
    assert findings_to_json(found)["previous"]["n_period"] == 40


def test_findings_that_lack_a_part_are_refused(month):
    body = findings_to_json(compute(month))
    del body["labels"]["estimates"]

    with pytest.raises(InputRefused, match="cannot be read"):
        findings_from_json(body)
    with pytest.raises(InputRefused, match="cannot be read"):
        findings_from_json({})
