"""Likelihood-ratio CUSUM of an ordinal outcome, and the threshold that holds its false alarms over a horizon.

Against what the probabilities say stands a proportional-odds shift: the odds of lying above any stage, times an odds
ratio. Each patient adds log p_shifted(pathology) - log p(pathology); the sum never falls below 0.

References
----------
Page, Biometrika 1954; Steiner et al, Biostatistics 2000 (risk-adjusted CUSUM); Brook, Evans, Biometrika 1972 (run
lengths by a Markov chain)
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import expit, logit
from scipy.stats import chi2, norm

from gtr_batch.audit.monitors.details import ShiftEstimate

STEP = 0.05  # nats: the chain's grid; increments are split between neighbours, which keeps their mean
_EDGE = 1e-6


def shifted(probabilities: np.ndarray, log_odds_ratio: float) -> np.ndarray:
    """Probabilities after a shift of all cumulative odds.

    Parameters
    ----------
    probabilities : numpy.ndarray
        (n, 4), P(T1)..P(T4).
    log_odds_ratio : float
        Of lying above a stage; positive: pathology is more advanced.

    Returns
    -------
    numpy.ndarray
        (n, 4), rows sum to 1, none exactly 0.
    """
    safe = np.clip(np.asarray(probabilities, float), _EDGE, None)
    below = (safe / safe.sum(axis=1, keepdims=True)).cumsum(axis=1)[:, :-1]
    moved = expit(logit(below) - log_odds_ratio)
    edges = np.zeros((len(moved), 1)), np.ones((len(moved), 1))
    return np.maximum(np.diff(np.concatenate([edges[0], moved, edges[1]], axis=1), axis=1), 1e-12)


def increments(probabilities: np.ndarray, log_odds_ratio: float) -> np.ndarray:
    """What each stage would add: (n, 4), nats."""
    return np.log(shifted(probabilities, log_odds_ratio)) - np.log(shifted(probabilities, 0.0))


def cusum(steps: np.ndarray) -> np.ndarray:
    """The path of a CUSUM that begins at 0: (n,)."""
    total = np.concatenate([[0.0], np.cumsum(steps)])
    return (total - np.minimum.accumulate(total))[1:]


def crossing_chance(
    probabilities: np.ndarray, log_odds_ratio: float, patients: int, height: float, *, truth: float = 0.0
) -> float:
    """The chance that the CUSUM reaches `height` within so many patients drawn, with replacement, from these.

    Parameters
    ----------
    probabilities : numpy.ndarray
        (n, 4), of the patients that are drawn.
    log_odds_ratio : float
        The shift that the CUSUM is tuned to.
    patients : int
    height : float
        Nats; taken as a multiple of `STEP`.
    truth : float
        The shift (logarithm of an odds ratio) that pathology is drawn with; 0: as the probabilities say.

    Returns
    -------
    float
        By a Markov chain on a grid of `STEP`: exact up to the grid, without draws.
    """
    steps = increments(probabilities, log_odds_ratio)
    offsets, mass = _lattice(steps.ravel(), (shifted(probabilities, truth) / len(steps)).ravel())
    return _reached(offsets, mass, patients, max(1, round(height / STEP)))


def threshold_for(
    probabilities: np.ndarray, log_odds_ratio: float, patients: int, level: float, *, truth: float = 0.0
) -> float:
    """The lowest height, in steps of `STEP`, that so many patients reach with a chance of `level` or less."""

    def reached(height: int) -> float:
        return crossing_chance(probabilities, log_odds_ratio, patients, height * STEP, truth=truth)

    low, high = 0, max(2, round(4 / STEP))
    while reached(high) > level:
        low, high = high, round(high * 1.5)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) <= level else (middle, high)
    return high * STEP


def _lattice(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Increments on the grid: offsets in steps, and their chances."""
    scaled = values / STEP
    low = np.floor(scaled).astype(int)
    part = scaled - low
    first = int(low.min())
    size = int(low.max()) - first + 2
    mass = np.bincount(low - first, weights * (1 - part), size) + np.bincount(low - first + 1, weights * part, size)
    return first + np.arange(size), mass / mass.sum()


def _reached(offsets: np.ndarray, mass: np.ndarray, patients: int, top: int) -> float:
    move = np.arange(top)[None, :] - np.arange(top)[:, None] - offsets[0]  # position in `mass` of each transition
    inside = (move >= 0) & (move < len(mass))
    chain = np.where(inside, mass[np.clip(move, 0, len(mass) - 1)], 0.0)
    # What would fall to 0 or below stays at 0.
    falls = np.concatenate([[0.0], np.cumsum(mass)])
    chain[:, 0] = falls[np.clip(-np.arange(top) - offsets[0] + 1, 0, len(mass))]
    left = np.zeros(top)
    left[0] = 1.0
    n = patients
    while n:  # powers by squaring
        if n & 1:
            left = left @ chain
        n >>= 1
        if n:
            chain = chain @ chain
    return float(1 - min(left.sum(), 1.0))


def detectable_odds_ratio(
    probabilities: np.ndarray, log_odds_ratio: float, patients: int, height: float, power: float = 0.8
) -> float | None:
    """The smallest odds ratio with which so many patients carry a CUSUM from 0 past `height`, with this power.

    By the normal approximation of the sum of their increments; None where no odds ratio up to 50 does.
    """
    if not patients:
        return None
    steps = increments(probabilities, log_odds_ratio)
    quantile = float(norm.ppf(power))

    def passes(log_truth: float) -> bool:
        chances = shifted(probabilities, log_truth * float(np.sign(log_odds_ratio)))
        mean = float((chances * steps).sum(axis=1).mean())
        variance = float((chances * steps**2).sum(axis=1).mean()) - mean**2
        return mean * patients - quantile * float(np.sqrt(max(variance, 0.0) * patients)) >= height

    low, high = 0.0, float(np.log(50.0))
    if not passes(high):
        return None
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return float(np.exp(high))


GRID = np.linspace(-3.5, 3.5, 351)  # logarithms of odds ratios


def shift_likelihood(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Each patient's log-likelihood at every shift of `GRID`: (n, 351); sums of rows are those of any redrawing."""
    rows = np.arange(len(labels))
    safe = np.clip(np.asarray(probabilities, float), _EDGE, None)
    below = logit((safe / safe.sum(axis=1, keepdims=True)).cumsum(axis=1)[:, :-1])
    padded = np.concatenate([np.full((len(labels), 1), -40.0), below, np.full((len(labels), 1), 40.0)], axis=1)
    high, low = padded[rows, labels + 1], padded[rows, labels]
    chance = expit(high[:, None] - GRID[None, :]) - expit(low[:, None] - GRID[None, :])
    return np.asarray(np.log(np.maximum(chance, 1e-12)))


def estimate_shift(
    labels: np.ndarray, probabilities: np.ndarray, level: float = 0.95, open_ended: bool = False
) -> ShiftEstimate | None:
    """The odds ratio that fits best, its interval by likelihood ratio; None where the likelihood has no top.

    Parameters
    ----------
    labels : numpy.ndarray
        (n,), 0 to 3.
    probabilities : numpy.ndarray
        (n, 4).
    level : float
        Of the two-sided interval.
    open_ended : bool
        An interval that does not end within `GRID` ends at 0 or infinity, and there is always an estimate.
    """
    likelihood = shift_likelihood(labels, probabilities).sum(axis=0)
    best = int(likelihood.argmax())
    inside = np.flatnonzero(likelihood >= likelihood[best] - float(chi2.ppf(level, 1)) / 2)
    last = len(GRID) - 1
    if not open_ended and (best in (0, last) or inside[0] == 0 or inside[-1] == last):
        return None
    odds_ratio, low_end, high_end = np.exp(GRID[[best, inside[0], inside[-1]]]).tolist()
    low_end, high_end = 0.0 if inside[0] == 0 else low_end, math.inf if inside[-1] == last else high_end
    return ShiftEstimate(odds_ratio, low_end, high_end, len(labels))
