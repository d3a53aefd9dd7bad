"""The kernel test and the directions behind the monitor of features."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from gtr_batch.audit.monitors.features import Directions, gaussian, kernel_test, principal


def _discrepancy_by_hand(kernel, block):
    rest = [i for i in range(len(kernel)) if i not in block]
    within, other = kernel[np.ix_(block, block)].mean(), kernel[np.ix_(rest, rest)].mean()
    return within + other - 2 * kernel[np.ix_(block, rest)].mean()


def test_the_statistic_is_the_discrepancy_as_defined():
    kernel = gaussian(np.random.default_rng(0).normal(size=(40, 3)))

    value, _ = kernel_test(kernel, 33, 0.01, [1])

    assert value == pytest.approx(_discrepancy_by_hand(kernel, list(range(33, 40))))


def test_large_blocks_and_small_ones_are_computed_alike():
    kernel = gaussian(np.random.default_rng(1).normal(size=(90, 3)))

    value, _ = kernel_test(kernel, 40, 0.01, [1])

    assert value == pytest.approx(_discrepancy_by_hand(kernel, list(range(40, 90))), rel=1e-5)


def test_the_p_value_is_the_share_of_all_splits():
    kernel = gaussian(np.random.default_rng(2).normal(size=(12, 2)) + np.r_[np.zeros(8), np.ones(4)][:, None] * 0.8)
    observed = _discrepancy_by_hand(kernel, [8, 9, 10, 11])
    splits = [_discrepancy_by_hand(kernel, list(b)) for b in itertools.combinations(range(12), 4)]
    exact = np.mean(np.array(splits) >= observed - 1e-12)

    drawn = [kernel_test(kernel, 8, 1e-4, [seed])[1] for seed in range(40)]

    assert np.mean(drawn) == pytest.approx(exact, rel=0.2)


def test_under_the_null_small_p_values_are_as_rare_as_they_say():
    rng = np.random.default_rng(3)
    ps = [kernel_test(gaussian(rng.normal(size=(60, 5))), 50, 0.005, [k])[1] for k in range(1500)]

    for level in (0.02, 0.05, 0.2):
        assert np.mean(np.array(ps) <= level) <= level + 3 * np.sqrt(level / 1500)
    assert np.mean(np.array(ps) <= 0.2) > 0.15


def test_a_change_of_spread_alone_is_seen_by_the_kernel():
    rng = np.random.default_rng(4)
    x = np.concatenate([rng.normal(size=(150, 4)), 3 * rng.normal(size=(20, 4))])

    assert kernel_test(gaussian(x), 150, 1e-5, [0])[1] < 2e-5


def test_small_p_values_are_reached_down_to_what_is_enough():
    x = np.concatenate([np.zeros((100, 2)), np.ones((20, 2))]) + np.random.default_rng(5).normal(size=(120, 2)) * 0.01

    assert kernel_test(gaussian(x), 100, 1e-4, [0])[1] <= 1e-4


def test_the_same_seed_gives_the_same_p():
    kernel = gaussian(np.random.default_rng(6).normal(size=(50, 3)))

    assert kernel_test(kernel, 40, 1e-3, [7, 1]) == kernel_test(kernel, 40, 1e-3, [7, 1])


@pytest.mark.parametrize("width", [5, 300])
def test_principal_scores_keep_the_distances_whichever_way_they_are_computed(width):
    x = np.random.default_rng(7).normal(size=(60, width)) @ np.diag(np.r_[np.full(3, 5.0), np.ones(width - 3)])

    scores = principal(x)

    assert scores.shape == (60, min(16, width))
    variances = np.linalg.svd((x - x.mean(axis=0)) / x.std(axis=0), compute_uv=False)[: scores.shape[1]] ** 2
    assert (scores**2).sum(axis=0) == pytest.approx(variances)


def test_constant_features_say_nothing():
    assert np.isfinite(principal(np.ones((20, 4)))).all()
    assert kernel_test(gaussian(principal(np.ones((20, 4)))), 15, 1e-3, [0])[1] == 1.0


def test_directions_of_the_pooled_cases_keep_the_kolmogorov_smirnov_test_valid():
    """They are chosen without asking which side a case is of, so no more than p of the weeks alarm."""
    rng, ps = np.random.default_rng(8), []
    for _ in range(400):
        measure = Directions(rng.normal(size=(50, 30)), False)
        measure.learn(np.arange(40))
        ps.append(measure.judge(np.arange(40, 50), 0.01, [0]).p)

    assert np.mean(np.array(ps) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 / 400)
    assert stats.binomtest(int((np.array(ps) <= 0.2).sum()), 400, 0.2, "greater").pvalue > 1e-3
