"""The CUSUM of pathology against the probabilities, and its threshold, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logit

from gtr_batch.audit.monitors.cusum import (
    crossing_chance,
    cusum,
    detectable_odds_ratio,
    estimate_shift,
    increments,
    shifted,
    threshold_for,
)


@pytest.fixture(scope="module")
def mix():
    return np.random.default_rng(3).dirichlet([0.8, 0.6, 1.2, 1.5], 200)


def _draw(rng, p):
    return np.minimum((rng.random(len(p))[:, None] > p.cumsum(axis=1)).sum(axis=1), 3)


def _highest(rng, mix, log_odds_ratio, patients, histories, truth=0.0):
    """The highest point of each brute-force history."""
    steps, chances = increments(mix, log_odds_ratio), shifted(mix, truth).cumsum(axis=1)
    total, top = np.zeros(histories), np.zeros(histories)
    for _ in range(patients):
        who = rng.integers(len(mix), size=histories)
        stage = np.minimum((rng.random(histories)[:, None] > chances[who]).sum(axis=1), 3)
        total = np.maximum(total + steps[who, stage], 0.0)
        top = np.maximum(top, total)
    return top


def test_a_shift_moves_every_cumulative_odds_by_the_odds_ratio(mix):
    moved = shifted(mix, np.log(2))

    change = logit(mix.cumsum(axis=1)[:, :3]) - logit(moved.cumsum(axis=1)[:, :3])
    assert change == pytest.approx(np.full((200, 3), np.log(2)), abs=1e-3)
    assert moved.sum(axis=1) == pytest.approx(np.ones(200))


def test_certain_probabilities_stay_finite():
    steps = increments(np.eye(4), np.log(2))

    assert np.isfinite(steps).all()


def test_the_path_is_the_textbook_recursion():
    steps = np.random.default_rng(0).normal(-0.1, 1, 300)
    expected, total = [], 0.0
    for step in steps:
        total = max(0.0, total + step)
        expected.append(total)

    assert cusum(steps) == pytest.approx(np.array(expected))


@pytest.mark.parametrize(("odds_ratio", "patients", "height"), [(2.0, 300, 4.0), (0.5, 300, 4.0), (2.0, 60, 2.0)])
def test_the_chance_of_a_crossing_is_that_of_brute_force(mix, odds_ratio, patients, height):
    brute = np.mean(_highest(np.random.default_rng(5), mix, np.log(odds_ratio), patients, 20_000) >= height)

    exact = crossing_chance(mix, np.log(odds_ratio), patients, height)

    assert exact == pytest.approx(brute, abs=4 * np.sqrt(brute * (1 - brute) / 20_000) + 0.03 * brute)


def test_the_threshold_holds_its_level_in_brute_force(mix):
    level, histories = 0.02, 20_000
    height = threshold_for(mix, np.log(2), 240, level)

    crossed = np.mean(_highest(np.random.default_rng(6), mix, np.log(2), 240, histories) >= height)

    assert crossed <= level + 3 * np.sqrt(level / histories)
    assert crossed >= 0.75 * level


def test_a_tolerated_shift_is_within_the_level(mix):
    truth, level, histories = np.log(1.1), 0.02, 20_000
    height = threshold_for(mix, np.log(2), 240, level, truth=truth)

    crossed = np.mean(_highest(np.random.default_rng(7), mix, np.log(2), 240, histories, truth) >= height)

    assert height > threshold_for(mix, np.log(2), 240, level)
    assert crossed <= level + 3 * np.sqrt(level / histories)


def test_the_threshold_stays_below_the_bound_that_holds_for_any_likelihood_ratio(mix):
    """exp(CUSUM) is at most a Shiryaev-Roberts sum, whose mean is the number of patients: Ville's inequality."""
    assert threshold_for(mix, np.log(2), 500, 0.01) <= np.log(500 / 0.01) + 0.05


def test_the_named_odds_ratio_has_about_80_percent_power_in_brute_force(mix):
    height = 4.0
    found = detectable_odds_ratio(mix, np.log(2), 120, height)
    steps, chances = increments(mix, np.log(2)), shifted(mix, np.log(found))
    rng, sums = np.random.default_rng(8), []
    for _ in range(4000):
        who = rng.integers(len(mix), size=120)
        sums.append(steps[who, _draw(rng, chances[who])].sum())

    assert np.mean(np.array(sums) >= height) == pytest.approx(0.8, abs=0.04)


def test_a_handful_of_patients_shows_no_odds_ratio_at_all(mix):
    assert detectable_odds_ratio(mix, np.log(2), 3, 10.0) is None
    assert detectable_odds_ratio(mix, np.log(2), 0, 10.0) is None


def test_the_shift_is_estimated_with_an_interval_that_covers(mix):
    rng, inside = np.random.default_rng(9), []
    for _ in range(200):
        found = estimate_shift(_draw(rng, shifted(mix, np.log(1.5))), mix)
        inside.append(found.low <= 1.5 <= found.high)

    assert np.mean(inside) >= 0.9


def test_one_class_that_has_no_best_shift_gives_none():
    p = np.tile([0.1, 0.2, 0.3, 0.4], (30, 1))

    assert estimate_shift(np.full(30, 3), p) is None
