"""Exact tests of a block of cases against a baseline: valid at p of one in a million, with a baseline of any size.

All are conditional: if block and baseline are draws of one population, every way of splitting the pooled cases into the
two is equally likely, and the p-value is a share of these ways. Nothing is assumed of the population, and the baseline
need not be large; ties only make the tests more careful.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)  # of the baseline, at which a number's distribution is held against it


def upper_tail(population: ArrayLike, marked: ArrayLike, drawn: ArrayLike, found: ArrayLike) -> np.ndarray:
    """P(at least `found` marked among `drawn` of a `population` in which so many are `marked`); elementwise.

    Parameters
    ----------
    population, marked, drawn, found : array_like of int
        Broadcast together.

    Returns
    -------
    numpy.ndarray
        Probabilities, 1.0 where `found` is 0 or less. Relative error below 1e-9 also in the far tail.
    """
    big, good, draw, found = np.broadcast_arrays(*(np.asarray(a, np.int64) for a in (population, marked, drawn, found)))
    shape = big.shape
    big, good, draw, found = (a.ravel() for a in (big, good, draw, found))
    top = np.minimum(good, draw)
    result = np.ones(len(big))
    work = np.flatnonzero(found > np.maximum(0, draw + good - big))
    if len(work):
        b, g, d, f, t = big[work], good[work], draw[work], found[work], top[work]
        k = f[:, None] + np.arange(max(int((t - f).max()) + 1, 1))[None, :]
        inside = k <= t[:, None]
        k = np.minimum(k, np.maximum(t, 0)[:, None])
        log = _choose(g[:, None], k) + _choose((b - g)[:, None], d[:, None] - k) - _choose(b, d)[:, None]
        log = np.where(inside & (f <= t)[:, None], log, -np.inf)
        result[work] = np.minimum(np.exp(log).sum(axis=1), 1.0)
    return result.reshape(shape)


def _choose(n: np.ndarray, k: np.ndarray) -> np.ndarray:
    return gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)


def more_of_a_value(baseline: np.ndarray, block: np.ndarray) -> tuple[float, int]:
    """Whether any value is commoner in the block than in the baseline.

    Fisher's one-sided test of each value, times the number of values that occur (their margins are what is conditioned
    on, so the number is no choice). Any change of a mix makes some value commoner.

    Parameters
    ----------
    baseline, block : numpy.ndarray
        (values,), counts.

    Returns
    -------
    p, position of the value
    """
    there = np.flatnonzero(baseline + block)
    n, m = int(baseline.sum()), int(block.sum())
    if len(there) < 2 or not n or not m:
        return 1.0, 0
    tails = upper_tail(n + m, (baseline + block)[there], m, block[there])
    worst = int(tails.argmin())
    return min(1.0, float(tails[worst]) * len(there)), int(there[worst])


def placements(
    sizes: tuple[int, int], edges: np.ndarray, below_from: np.ndarray, above_from: np.ndarray, block: np.ndarray
) -> tuple[float, int, str]:
    """Whether too many of a block lie below, or above, any of the baseline's quantiles.

    That at least k of m values precede the r-th smallest of n others is that at least k of them are among the first
    r - 1 + k of all: hypergeometric, whatever the distribution.

    Parameters
    ----------
    sizes : (n, m)
        Of baseline and block.
    edges : numpy.ndarray
        (levels,), baseline values.
    below_from, above_from : numpy.ndarray
        (levels,): the edge is no larger than the baseline's r-th smallest, no smaller than its r-th largest value.
    block : numpy.ndarray
        (m,).

    Returns
    -------
    p, position of the level, "below" or "above"

    References
    ----------
    Gibbons, Chakraborti, Nonparametric Statistical Inference, precedence tests
    """
    n, m = sizes
    if not n or not m:
        return 1.0, 0, "below"
    below = (block[:, None] < edges[None, :]).sum(axis=0)
    above = (block[:, None] > edges[None, :]).sum(axis=0)
    counts = np.concatenate([below, above])
    ranks = np.concatenate([below_from, above_from])
    tails = upper_tail(n + m, m, np.minimum(ranks - 1 + counts, n + m), counts)
    worst = int(tails.argmin())
    p = min(1.0, float(tails[worst]) * len(tails))
    return p, worst % len(edges), "below" if worst < len(edges) else "above"


def ranks_of_sample(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For a sorted sample of n: positions of its edges, and the ranks from below and from above that they hold."""
    at = np.clip(np.ceil(np.array(LEVELS) * n).astype(int), 1, n)
    return at - 1, at, n - at + 1


def ranks_of_quantiles(n: int, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ranks that hold for certain where only (linear) quantiles of a sample of n were kept."""
    low = np.floor((n - 1) * np.asarray(levels) + 1e-9).astype(int)
    return np.minimum(low + 2, n), n - low


def largest_gap(baseline: np.ndarray, block: np.ndarray) -> int:
    """The Kolmogorov-Smirnov distance of two sorted samples, times both their sizes: a whole number."""
    pooled = np.concatenate([baseline, block])
    a = np.searchsorted(baseline, pooled, side="right") * len(block)
    b = np.searchsorted(block, pooled, side="right") * len(baseline)
    return int(np.abs(a - b).max())


@lru_cache(maxsize=65536)
def gap_p(n: int, m: int, gap: int) -> float:
    """P(Kolmogorov-Smirnov distance times n times m at least `gap`) of two samples of one population; exact.

    Counts lattice paths that stay inside: each pooled order is a path of n steps one way and m the other. Rows are kept
    scaled, so that no size overflows.

    References
    ----------
    Hodges, Arkiv Mat 1958; 3:469-486
    """
    if gap <= 0:
        return 1.0
    j = np.arange(m + 1)
    row = (np.abs(-j * n) < gap).astype(float)
    row = np.where(np.cumsum(row == 0) > 0, 0.0, row)  # a path that left cannot come back
    log_scale = 0.0
    for i in range(1, n + 1):
        inside = np.abs(i * m - j * n) < gap
        row = np.where(inside, np.cumsum(np.where(inside, row, 0.0)), 0.0)
        top = row.max()
        if top == 0.0:
            return 1.0
        row /= top
        log_scale += float(np.log(top))
    all_paths = float(_choose(np.array(n + m), np.array(n)))
    if row[m] == 0.0:
        return 1.0
    # Below, the complement is lost in rounding: no p-value is called smaller.
    return float(min(1.0, max(1e-12, -np.expm1(np.log(row[m]) + log_scale - all_paths))))
