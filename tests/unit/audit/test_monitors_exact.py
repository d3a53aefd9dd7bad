"""The exact tests behind the monitors, against SciPy and against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from gtr_batch.audit.monitors.exact import (
    LEVELS,
    gap_p,
    largest_gap,
    more_of_a_value,
    placements,
    ranks_of_quantiles,
    ranks_of_sample,
    upper_tail,
)


def test_the_upper_tail_is_the_hypergeometric_one_also_far_out():
    found = upper_tail([126, 50, 50, 50, 30], [14, 10, 20, 5, 3], [14, 12, 12, 12, 9], [14, 3, 11, 0, 4])

    expected = stats.hypergeom.sf([13, 2, 10, -1, 3], [126, 50, 50, 50, 30], [14, 10, 20, 5, 3], [14, 12, 12, 12, 9])
    assert found == pytest.approx(expected, rel=1e-9, abs=0)
    assert found[0] == pytest.approx(7.25639e-19, rel=1e-5)


@pytest.mark.parametrize(
    ("n", "m", "shift"), [(20, 7, 0.0), (20, 7, 1.5), (200, 14, 1.5), (112, 150, 0.5), (9, 9, 1.0)]
)
def test_the_gap_of_two_samples_has_scipys_exact_p(n, m, shift):
    rng = np.random.default_rng(n + m)
    a, b = np.sort(rng.normal(size=n)), np.sort(rng.normal(shift, 1, m))

    p = gap_p(n, m, largest_gap(a, b))

    assert p == pytest.approx(stats.ks_2samp(a, b, method="exact").pvalue, rel=1e-4, abs=1e-12)


def test_the_gap_stays_exact_where_path_counts_overflow():
    assert gap_p(700, 900, 1) == 1.0
    assert 0 < gap_p(700, 900, round(0.1 * 700 * 900)) < 0.01


def test_a_block_equal_to_its_baseline_shows_nothing():
    counts = np.array([5, 0, 9, 3])
    values = np.sort(np.random.default_rng(1).normal(size=40))
    at, below, above = ranks_of_sample(40)

    assert more_of_a_value(counts, counts)[0] == 1.0
    assert placements((40, 40), values[at], below, above, values)[0] == 1.0
    assert gap_p(40, 40, largest_gap(values, values)) == 1.0


def test_one_value_only_is_no_evidence_of_anything():
    assert more_of_a_value(np.array([30]), np.array([10]))[0] == 1.0


def test_an_empty_block_is_no_evidence_of_anything():
    assert more_of_a_value(np.array([30, 4]), np.array([0, 0]))[0] == 1.0
    assert placements((0, 3), np.zeros(5), np.ones(5, int), np.ones(5, int), np.zeros(3))[0] == 1.0


def test_of_all_ways_to_split_a_mix_no_more_than_p_are_as_extreme():
    """The p-value of named values is valid, by brute force over every split of ten cases into six and four."""
    pooled = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2])
    splits = list(itertools.combinations(range(10), 4))

    ps = []
    for block in splits:
        inside = np.bincount(pooled[list(block)], minlength=3)
        ps.append(more_of_a_value(np.bincount(pooled, minlength=3) - inside, inside)[0])

    assert all(np.mean(np.array(ps) <= p + 1e-12) <= p + 1e-12 for p in set(ps))


@pytest.mark.parametrize(
    "pooled", [np.arange(11.0), np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3.0])], ids=["plain", "ties"]
)
def test_of_all_ways_to_split_numbers_no_more_than_p_are_as_extreme(pooled):
    splits = list(itertools.combinations(range(11), 4))
    at, below, above = ranks_of_sample(7)

    ps = []
    for block in splits:
        base = np.delete(pooled, list(block))
        ps.append(placements((7, 4), base[at], below, above, pooled[list(block)])[0])

    assert all(np.mean(np.array(ps) <= p + 1e-12) <= p + 1e-12 for p in set(ps))


@pytest.mark.parametrize("ties", [False, True])
def test_quantiles_alone_give_a_valid_test_too(ties):
    """As the artefact keeps them: linear quantiles of a sample, nothing else."""
    pooled = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 4, 4.0]) if ties else np.arange(11.0)
    below, above = ranks_of_quantiles(7, np.array(LEVELS))

    ps = []
    for block in itertools.combinations(range(11), 4):
        edges = np.quantile(np.delete(pooled, list(block)), LEVELS)
        ps.append(placements((7, 4), edges, below, above, pooled[list(block)])[0])

    assert all(np.mean(np.array(ps) <= p + 1e-12) <= p + 1e-12 for p in set(ps))
