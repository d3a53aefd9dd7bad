"""The gate's error rates: the simulated worlds are what they say, and the gate keeps its promise in them."""

from __future__ import annotations

import numpy as np
import pytest

from gtr_batch.governance.error_rates import World, error_rates, simulate
from gtr_batch.metrics.calibration import at_least_t3, recalibration
from gtr_batch.metrics.noninferiority import exact_power, patients_for, patients_needed, shows, tango_interval


@pytest.mark.parametrize("difference", [0.0, -0.05])
def test_a_simulated_world_has_the_accuracies_and_the_pairs_that_it_says(difference):
    many = simulate(World(40_000, difference, champion=0.92, discordance=0.1), seed=3)

    right, was = (a.votes == many.stages for a in (many.candidate, many.champion))
    assert was.mean() == pytest.approx(0.92, abs=0.005)
    assert right.mean() - was.mean() == pytest.approx(difference, abs=0.005)
    assert (right != was).mean() == pytest.approx(0.1, abs=0.006)


def test_both_models_of_a_simulated_world_mean_what_they_say():
    many = simulate(World(40_000, -0.05), seed=3)

    for answers in (many.candidate, many.champion):
        line = recalibration(*at_least_t3(many.stages, answers.probabilities))
        assert (line.slope, line.intercept) == (pytest.approx(1, abs=0.06), pytest.approx(0, abs=0.1))


def test_the_same_seed_gives_the_same_holdout():
    one, again = simulate(World(60), 5), simulate(World(60), 5)

    assert np.array_equal(one.candidate.probabilities, again.candidate.probabilities)


def test_two_models_that_cannot_differ_so_much_are_refused():
    with pytest.raises(ValueError, match="of pairs differ"):
        simulate(World(60, champion=0.99, discordance=0.1), 0)


def test_a_candidate_worse_by_the_margin_hardly_ever_passes_the_whole_gate_and_an_equal_one_mostly_does():
    """A quick version of the table in docs/model-lifecycle.md: the bounds are those of 50 runs, four errors wide."""
    worse = error_rates(World(343, -0.05), runs=50, draws=100)
    equal = error_rates(World(343), runs=50, draws=100)

    assert worse.passes <= 0.05 + 4 * (0.05 * 0.95 / 50) ** 0.5
    assert equal.passes >= 0.5
    assert equal.accuracy_passes >= 0.88 - 4 * (0.88 * 0.12 / 50) ** 0.5
    assert worse.passes + worse.fails + worse.cannot_tell == pytest.approx(1)


@pytest.mark.parametrize("n", [20, 60, 150, 343, 800, 3000])
def test_the_accuracy_criterion_passes_a_candidate_at_the_margin_in_five_of_a_hundred_holdouts_at_most(n):
    """Not simulated: summed over everything that can happen. Whole numbers of patients cost a tenth of a point."""
    assert exact_power(n, 0.05, 0.1, -0.05) <= 0.0515


def test_the_power_is_stated_by_the_gates_own_rule():
    assert patients_needed(0.05, 0.1) == 343
    assert exact_power(343, 0.05, 0.1) == pytest.approx(0.882, abs=0.001)
    assert patients_for(0.05, 0.1) == 362
    assert exact_power(362, 0.05, 0.1) >= 0.9


def test_the_quick_rule_and_the_interval_say_the_same():
    rng = np.random.default_rng(0)
    for _ in range(400):
        n = int(rng.integers(5, 400))
        differ = int(rng.integers(0, n // 2 + 1))
        gained = int(rng.integers(0, differ + 1))
        low, _ = tango_interval(gained, differ - gained, n)

        assert bool(shows(np.array(gained), np.array(differ - gained), n, 0.05)) == (low >= -0.05)


def test_without_patients_or_pairs_that_differ_the_power_is_known():
    assert exact_power(0, 0.05, 0.1) == 0.0
    assert exact_power(20, 0.05, 0.0) == 0.0
    assert exact_power(200, 0.05, 0.0) == 1.0
