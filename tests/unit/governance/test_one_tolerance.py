"""One tolerance of pathology against the probabilities: the gate's, and the monitor's of what the gate let pass."""

from __future__ import annotations

import math

import attrs
import numpy as np
import pytest

from gtr_batch.audit.monitors.cusum import crossing_chance
from gtr_batch.config import AuditConfig, GovernanceConfig
from gtr_batch.domain.gate import Verdict
from gtr_batch.governance.criteria import shift
from gtr_batch.governance.gate import judge
from gtr_batch.simulation.hospital.gate_to_monitor import paired_of, through_gate
from gtr_batch.simulation.worlds.holdouts import HoldoutWorld, draw_holdout, eyes_of, rates_of

TOLERATED = AuditConfig().tolerated_odds_ratio
OFF = np.ones(100)  # further off than the champion in every redrawing


def verdicts(odds_ratio, patients, runs=60):
    world = HoldoutWorld(patients, champion=0.69, odds_ratio=odds_ratio)
    found = [shift(paired_of(draw_holdout(world, k)), TOLERATED, OFF).verdict for k in range(runs)]
    return {word: sum(v is word for v in found) / runs for word in Verdict}


def test_the_gate_has_no_tolerance_of_its_own():
    assert "intercept_margin" not in {a.name for a in attrs.fields(GovernanceConfig)}
    assert "tolerated_odds_ratio" not in {a.name for a in attrs.fields(GovernanceConfig)}


def test_a_calibrated_candidate_passes_and_one_that_the_monitor_would_stop_hardly_ever():
    """Before, an intercept 0.3 off (an odds ratio of 1.35) passed as no further off than the margin."""
    right, half_off, off = (verdicts(o, 343) for o in (1.0, 1.5, 2.0))

    assert right[Verdict.PASS] >= 0.75  # 0.92 in the long run
    assert half_off[Verdict.PASS] <= 0.25  # 0.05
    assert off[Verdict.PASS] == 0.0
    assert off[Verdict.FAIL] >= 0.8


def test_both_sides_are_judged():
    low = verdicts(0.5, 343, runs=30)

    assert low[Verdict.PASS] == 0.0


def test_what_is_off_and_no_further_than_the_champion_cannot_be_told_and_is_not_failed():
    world = HoldoutWorld(600, champion=0.69, odds_ratio=2.0, champions_odds_ratio=2.0)

    found = shift(paired_of(draw_holdout(world, 1)), TOLERATED, np.linspace(-0.1, 0.1, 100))

    assert found.verdict is Verdict.CANNOT_TELL


@pytest.mark.parametrize("doubt", [1e-3, 1e-6])
def test_a_few_patients_who_were_all_right_do_not_speak_against_it(doubt):
    """Such a candidate could not pass: with no bound, or a champion too far off to be compared, it "could not tell"."""
    paired = paired_of(draw_holdout(HoldoutWorld(48, champion=0.69), 1))
    sure = np.full((48, 4), doubt)
    sure[np.arange(48), paired.stages] = 1 - 3 * doubt
    paired = attrs.evolve(paired, candidate=attrs.evolve(paired.candidate, probabilities=sure))

    found = shift(paired, TOLERATED, np.full(100, np.nan))

    assert found.verdict is Verdict.PASS
    assert (found.high is None) == ("no bound" in found.sentence) == (doubt == 1e-6)


def test_what_is_all_too_high_speaks_against_it_without_a_bound():
    paired = paired_of(draw_holdout(HoldoutWorld(48, champion=0.69), 1))
    low = np.tile([0.7, 0.2, 0.09, 0.01], (48, 1))
    paired = attrs.evolve(paired, stages=np.full(48, 3), candidate=attrs.evolve(paired.candidate, probabilities=low))

    found = shift(paired, TOLERATED, OFF)

    assert found.verdict is Verdict.FAIL
    assert found.high is None
    assert found.low > TOLERATED


def test_a_champion_that_cannot_be_recalibrated_does_not_keep_a_calibrated_candidate_back():
    paired = paired_of(draw_holdout(HoldoutWorld(300, champion=0.69), 1))
    useless = attrs.evolve(paired.champion, probabilities=np.full((300, 4), 0.25))

    found = judge(attrs.evolve(paired, champion=useless), GovernanceConfig(), tolerated_odds_ratio=1.4, draws=50)

    [slope] = [one for one in found.criteria if one.name == "calibration_slope"]
    assert slope.verdict is Verdict.PASS
    assert "cannot be compared" in slope.sentence


def test_the_gate_asks_for_the_audits_tolerance():
    paired = paired_of(draw_holdout(HoldoutWorld(300, champion=0.69, odds_ratio=1.6), 2))

    strict, wide = (judge(paired, GovernanceConfig(), tolerated_odds_ratio=t, draws=50) for t in (1.1, 1.4))

    of = {c.name: c for c in strict.criteria}, {c.name: c for c in wide.criteria}
    assert [o["calibration_shift"].limit for o in of] == [1.1, 1.4]
    assert of[0]["calibration_shift"].verdict is not Verdict.PASS
    assert of[1]["calibration_shift"].verdict is Verdict.PASS
    assert "tolerated 0.91 to 1.10" in of[0]["calibration_shift"].sentence


def test_what_the_gate_passes_the_monitor_does_not_stop():
    found = through_gate(1.0, 343, 3, seed=5)

    assert found.stopped == 0
    assert found.passed >= 2


def test_at_the_tolerance_the_monitor_stays_within_its_budget():
    """The other side of the setting: exact, by the monitor's chain."""
    world = HoldoutWorld(400, champion=0.69)
    p = draw_holdout(world, 3).champion
    from gtr_batch.audit.monitors.cusum import threshold_for

    height = threshold_for(p, math.log(2), 1080, 0.0075, truth=math.log(TOLERATED))

    assert crossing_chance(p, math.log(2), 1080, height, truth=math.log(TOLERATED)) <= 0.0075
    assert crossing_chance(p, math.log(2), 1080, height, truth=math.log(1.5)) > 0.5


@pytest.mark.parametrize("t4", [None, 0.03, 0.12])
def test_a_holdouts_networks_have_the_accuracy_and_the_share_of_T4_staged_lower_that_are_asked_for(t4):
    world = HoldoutWorld(100, champion=0.8, difference=-0.05, mix=(0.15, 0.15, 0.35, 0.35), t4=t4)

    candidate, champion = eyes_of(world)

    assert rates_of(champion, world.mix)[0] == pytest.approx(0.8, abs=0.002)
    assert rates_of(candidate, world.mix)[0] == pytest.approx(0.75, abs=0.002)
    if t4 is not None:
        assert rates_of(champion, world.mix)[1] == pytest.approx(t4, abs=0.003)
