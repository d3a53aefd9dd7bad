"""Intervals: Wilson's for a share, the patient-cluster bootstrap for anything else."""

from __future__ import annotations

import math
from collections.abc import Callable

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


def cluster_bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray | float],
    groups: np.ndarray,
    draws: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """Values of a statistic on cohorts redrawn patient by patient, with all rows of each patient drawn.

    Parameters
    ----------
    statistic : callable
        Row positions (with repetitions) to a number or a vector of numbers; NaN where a redrawn cohort has none.
    groups : numpy.ndarray
        (n,): which patient each row belongs to.
    draws : int
    seed : int
        The same seed gives the same values, whatever the order of the rows within and among patients' labels.

    Returns
    -------
    numpy.ndarray
        (draws,) or (draws, k).
    """
    _, patient = np.unique(groups, return_inverse=True)
    order = np.argsort(patient, kind="stable")
    starts = np.searchsorted(patient[order], np.arange(patient.max() + 2)) if len(patient) else np.zeros(1, int)
    count = len(starts) - 1
    rng = np.random.default_rng(seed)
    alone = count == len(patient)
    values = []
    for _ in range(draws):
        drawn = rng.integers(count, size=count)
        rows = order[drawn] if alone else np.concatenate([order[starts[k] : starts[k + 1]] for k in drawn])
        values.append(statistic(rows))
    return np.asarray(values, float)


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
