"""Intervals: Wilson's for a share, the patient-cluster bootstrap for anything else."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy.stats import norm

Interval = tuple[float, float]


def wilson(successes: int, n: int, level: float = 0.95) -> Interval | None:
    """Wilson's score interval of a share; None where there is nothing to count.

    References
    ----------
    Wilson, JASA 1927; Brown, Cai, DasGupta, Stat Sci 2001
    """
    if n == 0:
        return None
    z = float(norm.ppf(0.5 + level / 2))
    p = successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At the ends the formula is 0 or 1 exactly; the arithmetic is not.
    return (0.0 if successes == 0 else max(0.0, middle - half), 1.0 if successes == n else min(1.0, middle + half))


def redrawn_counts(groups: np.ndarray, draws: int = 2000, seed: int = 0, *, block: int = 500) -> Iterator[np.ndarray]:
    """How often each row is in each of many cohorts that are redrawn patient by patient, all rows of one together.

    A statistic that is a function of sums over rows is then a product of matrices for a whole block of cohorts.

    Parameters
    ----------
    groups : numpy.ndarray
        (n,): which patient each row belongs to; at least one.
    draws : int
    seed : int
        The same seed gives the same cohorts, whatever the order of the rows within and among patients' labels.
    block : int
        Cohorts that are given at once.

    Yields
    ------
    numpy.ndarray
        (block, n), float; the last one may be shorter.
    """
    _, patient = np.unique(groups, return_inverse=True)
    count = int(patient.max()) + 1
    rng = np.random.default_rng(seed)
    for begin in range(0, draws, block):
        size = min(block, draws - begin)
        drawn = rng.integers(count, size=(size, count)) + np.arange(size)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        yield np.asarray(times[:, patient], float)


def percentile_interval(values: np.ndarray, level: float = 0.95) -> Interval | None:
    """Percentile interval of bootstrap values; None where fewer than nine in ten draws had a value."""
    good = values[np.isfinite(values)]
    if len(good) < 0.9 * len(values) or not len(good):
        return None
    low, high = np.quantile(good, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wide(interval: Interval | None) -> Interval | None:
    """The interval; None without a width: redrawn cohorts that all say the same tell nothing of other patients."""
    return None if interval is None or interval[1] - interval[0] < 1e-12 else interval


def edges(interval: Interval | None) -> list[float] | None:
    """The interval as JSON has it."""
    return None if interval is None else [float(edge) for edge in interval]
