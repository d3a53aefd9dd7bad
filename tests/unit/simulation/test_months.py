"""Months of cases as numbers: what is drawn is what the monitors' null says, until the shift."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import attrs
import numpy as np
import pytest
from typer.testing import CliRunner

from gtr_batch.audit.monitors.cusum import estimate_shift
from gtr_batch.audit.monitors.stage_shift import pathology_of
from gtr_batch.domain.audit import Classification
from gtr_batch.errors import InputRefused
from gtr_batch.metrics.calibration import ece_top
from gtr_batch.simulation.hospital.audit_study import clopper_pearson, one_history, study, summary
from gtr_batch.simulation.hospital.months import DAYS_A_MONTH, FIRST, Months, Shift, cases_of, inputs_of

LONG = Months(months=48, per_month=120, seed=3)


@pytest.fixture(scope="module")
def cases():
    return cases_of(LONG)


@pytest.fixture(scope="module")
def staged(cases):
    return [c for c in cases if c.t_stage is not None]


def test_the_same_seed_gives_the_same_months_and_another_does_not():
    months = Months(months=3, seed=1)

    assert cases_of(months) == cases_of(months)
    assert cases_of(months) != cases_of(attrs.evolve(months, seed=2))


def test_as_many_cases_are_staged_a_month_as_asked(staged):
    assert len(staged) / LONG.months == pytest.approx(120, rel=0.05)


def test_nights_lie_in_the_months_and_in_order(cases):
    nights = [c.night for c in cases]

    assert nights == sorted(nights)
    assert FIRST <= nights[0] <= nights[-1] <= LONG.last
    assert LONG.last.weekday() == 6


def test_probabilities_are_calibrated_where_everyone_is_operated():
    months = attrs.evolve(LONG, everyone=True)

    seen = pathology_of([c for c in cases_of(months) if c.t_stage], months.last)

    found = estimate_shift(seen.labels, seen.probabilities)
    assert found.low < 1 < found.high
    assert ece_top(seen.labels, seen.probabilities) < 0.03


def test_from_its_day_on_pathology_shifts_by_the_odds_ratio():
    months = attrs.evolve(LONG, everyone=True, shift=Shift("or", 2.0), at=12)
    cases = [c for c in cases_of(months) if c.t_stage]

    before = pathology_of([c for c in cases if c.night < months.shifts_on], months.last)
    after = pathology_of([c for c in cases if c.night >= months.shifts_on], months.last)

    assert estimate_shift(before.labels, before.probabilities).odds_ratio == pytest.approx(1, abs=0.15)
    assert estimate_shift(after.labels, after.probabilities).odds_ratio == pytest.approx(2, abs=0.25)


def test_who_is_operated_depends_on_the_stage_and_reports_come_weeks_later(staged):
    operated = [c.surgery for c in staged if c.surgery is not None]
    delays = [(s.reported_on - c.night).days for c, s in ((c, c.surgery) for c in staged if c.surgery is not None)]

    assert 0.75 < len(operated) / len(staged) < 0.88
    assert min(delays) >= 15
    assert 28 < np.median(delays) < 50
    assert 0.02 < np.mean([s.classification is Classification.YPT for s in operated]) < 0.09


def test_some_patients_come_twice_with_one_stage(staged):
    twice = [s for s, k in Counter(c.subject for c in staged).items() if k > 1]
    of_one = [c for c in staged if c.subject == twice[0]]

    assert 0.01 < len(twice) / len(staged) < 0.1
    assert len({c.surgery for c in of_one}) == 1


def test_refusals_have_codes_and_a_few_cases_break(cases):
    refused, failed = [c for c in cases if c.refusal], [c for c in cases if c.failed]

    assert 0.09 < len(refused) / len(cases) < 0.16
    assert len({c.refusal for c in refused}) == 6
    assert 0 < len(failed) < 0.03 * len(cases)
    assert not any(c.t_stage or c.facts for c in refused)


def test_features_go_with_the_stage(staged):
    stages = np.array([c.t_stage.position for c in staged])
    first = np.array([c.features[0] for c in staged])

    assert np.corrcoef(stages, first)[0, 1] > 0.5


@pytest.mark.parametrize(("text", "share"), [("scanner", 1.0), ("scanner=0.4", 0.4), ("scanner-midweek", 1.0)])
def test_a_new_scanner_makes_its_share_of_the_cases_from_its_day_on(text, share):
    months = attrs.evolve(LONG, shift=Shift.parse(text))
    staged = [c for c in cases_of(months) if c.facts]

    before = [c.facts["manufacturer"] for c in staged if c.night < months.shifts_on]
    after = [c.facts["manufacturer"] == "GE MEDICAL SYSTEMS" for c in staged if c.night >= months.shifts_on]

    assert "GE MEDICAL SYSTEMS" not in before
    assert np.mean(after) == pytest.approx(share, abs=0.03)


def test_refusals_come_so_many_times_as_often():
    months = attrs.evolve(LONG, shift=Shift.parse("refusals=3"), at=25)
    refused = [c.night for c in cases_of(months) if c.refusal]
    before, after = sum(n < months.shifts_on for n in refused), sum(n >= months.shifts_on for n in refused)

    assert after / before == pytest.approx(3, rel=0.15)


def test_shifts_begin_on_a_monday_and_midweek_on_a_thursday():
    assert Months(shift=Shift.parse("or=2")).shifts_on.weekday() == 0
    assert Months(shift=Shift.parse("scanner-midweek")).shifts_on.weekday() == 3
    assert Months().shifts_on is None


@pytest.mark.parametrize("text", ["flood", "or=much", "or=-1", "or=0", "scanner=1.5", "or=nan"])
def test_what_is_no_shift_is_refused(text):
    with pytest.raises(InputRefused):
        Shift.parse(text)


def test_inputs_are_lawful_and_survive_their_file():
    inputs = inputs_of(Months(months=2, seed=4, reference=60))

    assert len(inputs.digest) == 64
    assert inputs.reference.n == 60


# The study


def test_an_interval_of_no_alarm_in_many_histories_is_the_exact_one():
    assert clopper_pearson(0, 500) == pytest.approx((0.0, 0.00735), abs=1e-4)
    assert clopper_pearson(7, 7)[1] == 1.0
    assert clopper_pearson(0, 0) is None


def test_a_study_tells_the_delay_of_what_was_found():
    from gtr_batch.config import AuditConfig

    months = Months(months=6, per_month=60, shift=Shift.parse("scanner"), at=4, seed=8)

    table = summary(months, [one_history(months, AuditConfig())], AuditConfig())

    headers = table["detection"]["headers"]
    assert (headers["found"], headers["found_in_its_week"], headers["median_days"]) == (1, 1, 6.0)
    assert table["detection"]["refusals"]["median_days"] is None
    assert table["false_alarms"]["histories"] == 0
    assert table["false_alarms"]["months_at_risk"] == pytest.approx(
        (months.shifts_on - FIRST).days / DAYS_A_MONTH, abs=0.1
    )


def test_two_processes_give_what_one_gives():
    months = Months(months=4, per_month=40, seed=2)

    one, two = study(months, 3, processes=1), study(months, 3, processes=2)

    assert {k: v for k, v in one.items() if k not in ("wall_seconds", "load")} == {
        k: v for k, v in two.items() if k not in ("wall_seconds", "load")
    }


def test_the_command_prints_a_table_and_refuses_a_shift_after_the_end():
    from gtr_batch.cli.main import app

    run = CliRunner().invoke(app, ["audit", "simulate", "--runs", "2", "--months", "4", "--processes", "1"])
    late = CliRunner().invoke(app, ["audit", "simulate", "--months", "4", "--shift", "or=2", "--at", "9"])

    assert run.exit_code == 0, run.output
    assert "False alarms" in run.output
    assert "stage_shift" in run.output
    assert late.exit_code == 2


def test_a_night_after_the_last_is_not_in_the_months(staged):
    assert max(c.night for c in staged) <= LONG.last < FIRST + timedelta(days=round(48 * DAYS_A_MONTH) + 1)
