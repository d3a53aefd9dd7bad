"""Looks at a sealed holdout share one error rate."""

from __future__ import annotations

import pytest

from gtr_batch.config import GovernanceConfig
from gtr_batch.domain.cohort import HoldoutLook
from gtr_batch.errors import ConfigError
from gtr_batch.governance.gate import DRAWS, draws_for, judge
from gtr_batch.governance.looks import level_of, look, number_of
from gtr_batch.metrics.noninferiority import exact_power
from gtr_batch.simulation.hospital.successors import looks_that_pass
from gtr_batch.simulation.worlds.successors import SharedPatients
from tests.unit.governance.test_gate import EASY, of, paired

SETTINGS = GovernanceConfig()


def test_however_many_looks_there_are_their_levels_never_sum_to_more_than_the_budget():
    levels = [level_of(k, 0.05) for k in range(1, 2001)]

    assert levels[:3] == [pytest.approx(0.025), pytest.approx(0.05 / 6), pytest.approx(0.05 / 12)]
    assert sum(levels) < 0.05
    assert sum(levels) == pytest.approx(0.05, abs=1e-4)
    assert levels == sorted(levels, reverse=True)


def test_a_model_that_is_asked_again_looks_at_nothing_new_and_a_grown_holdout_counts_the_looks_at_the_old_one():
    looks = [HoldoutLook("old", "a"), HoldoutLook("old", "b"), HoldoutLook("new", "b"), HoldoutLook("new", "c")]

    assert [number_of(looks, *each) for each in (("old", "a"), ("new", "b"), ("new", "c"))] == [1, 3, 4]


def test_a_look_says_its_level_and_how_many_are_left_until_an_equal_candidate_passes_in_less_than_half():
    first, last = look(1, 343, SETTINGS), look(4, 343, SETTINGS)

    assert first.level == pytest.approx(0.025)
    assert first.power == exact_power(343, 0.05, 0.1, 0.0, 0.025)
    assert exact_power(343, 0.05, 0.1, 0.0, level_of(1 + first.left, 0.05)) >= 0.5
    assert exact_power(343, 0.05, 0.1, 0.0, level_of(2 + first.left, 0.05)) < 0.5
    assert f"{first.left} more looks until" in first.sentence
    assert "Look 1 at these sealed patients: judged at a one-sided level of 2.5% of the 5%" in first.sentence
    assert (last.left, last.sentence.endswith("seal new patients.")) == (0, True)


def test_a_later_look_asks_for_more_of_the_same_answers():
    """What an earlier look could tell a later one cannot; what is shown to be worse, is it at every look."""
    one, bad = paired(500, seed=3), paired(400, candidate=0.7)

    lows = [of(judge(one, EASY, look=look(k, 500, EASY)), "accuracy").low for k in (1, 4, 9)]

    assert lows == sorted(lows, reverse=True)
    assert lows[0] > lows[2] + 0.005
    assert of(judge(bad, EASY, look=look(9, 400, EASY), draws=300), "accuracy").verdict == "fail"


def test_the_bootstrap_has_draws_beyond_the_bound_of_a_late_look():
    assert draws_for(0.05) == draws_for(0.025) == DRAWS
    assert draws_for(level_of(8, 0.05)) * level_of(8, 0.05) >= 10


def test_patients_who_are_not_sealed_are_judged_at_the_usual_level():
    found = judge(paired(300), EASY, draws=100)

    assert found.look is None
    assert "at a level of 5%" in found.power.sentence


def test_of_ten_worse_candidates_on_the_same_patients_hardly_ever_one_passes():
    """Fifteen holdouts; docs/validity.md has more. Each candidate is worse by the margin."""
    before, now = (
        [
            looks_that_pass(SharedPatients(343), SETTINGS, k, looks=10, worse=0.05, spend=spend, draws=100)
            for k in range(15)
        ]
        for spend in (False, True)
    )

    assert sum(passed > 0 for passed in now) <= 4  # 5% of fifteen is less than one
    assert sum(before) >= sum(now)


@pytest.mark.parametrize("budget", [0.0, -0.1, 0.6])
def test_a_budget_that_is_none_is_refused(budget):
    with pytest.raises(ConfigError, match="error_budget"):
        GovernanceConfig(error_budget=budget)
