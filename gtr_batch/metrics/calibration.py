"""Do the probabilities mean what they say? Expected calibration error with its null, Hosmer-Lemeshow, recalibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import frozen
from scipy.special import expit, logit
from scipy.stats import chi2

from gtr_batch.metrics.classification import CLASSES

BINS = 15
_ALONE = 400  # in a bin with more rows the number of hits is normal enough
_EDGE = 1e-6  # probabilities are kept so far from 0 and 1 before a logit is taken
_SPREAD = 1e-9  # logits nearer to one another than this say the same
_STEPS = 100  # of Newton's method, at most


def ece(hit: np.ndarray, said: np.ndarray, bins: int = BINS) -> float | None:
    """Expected calibration error of one probability a row, in equal-width bins; None without rows.

    Parameters
    ----------
    hit : numpy.ndarray
        (n,), bool: whether what was said came true.
    said : numpy.ndarray
        (n,), its probability.

    References
    ----------
    Naeini, Cooper, Hauskrecht, AAAI 2015
    """
    if not len(said):
        return None
    which = _bins(said, bins)
    gap = np.bincount(which, hit.astype(float), bins) - np.bincount(which, said, bins)
    return float(np.abs(gap).sum() / len(said))


def ece_top(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> float | None:
    """ECE of the likeliest stage's probability."""
    return ece(probabilities.argmax(axis=1) == labels, probabilities.max(axis=1), bins)


def ece_of_redrawn(hit: np.ndarray, said: np.ndarray, counts: np.ndarray, bins: int = BINS) -> np.ndarray:
    """`ece` in redrawn cohorts, (draws,); `counts` (draws, n): how often each row is in each."""
    gaps = np.zeros((len(said), bins))
    gaps[np.arange(len(said)), _bins(said, bins)] = np.asarray(hit, float) - said
    return np.asarray(np.abs(counts @ gaps).sum(axis=1) / counts.sum(axis=1))


def ece_classwise(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> float | None:
    """Mean over the four stages of the ECE of that stage's probability.

    References
    ----------
    Kull et al., NeurIPS 2019
    """
    found = [ece(np.asarray(labels) == k, probabilities[:, k], bins) for k in range(len(CLASSES))]
    known = [v for v in found if v is not None]
    return float(np.mean(known)) if known else None


def ece_null_95(probabilities: np.ndarray, bins: int = BINS, draws: int = 1000, seed: int = 0) -> float | None:
    """What the top-label ECE of a perfectly calibrated model stays below in 95% of such samples; None without rows."""
    null = ece_null(probabilities, bins, draws, seed)
    return None if null is None else float(np.quantile(null, 0.95))


def ece_null(probabilities: np.ndarray, bins: int = BINS, draws: int = 1000, seed: int = 0) -> np.ndarray | None:
    """Top-label ECE of a perfectly calibrated model in samples such as this one, (draws,); None without rows.

    By simulation: outcomes are drawn from the very probabilities that were said. The order of the rows does not
    matter.
    """
    if not len(probabilities):
        return None
    said = np.sort(probabilities.max(axis=1))
    which = _bins(said, bins)
    rng = np.random.default_rng(seed)
    total = np.zeros(draws)
    for k in range(bins):
        p = said[which == k]
        if len(p) > _ALONE:
            total += np.abs(rng.normal(0.0, math.sqrt(float((p * (1 - p)).sum())), draws))
        elif len(p):
            total += np.abs((rng.random((draws, len(p))) < p).sum(axis=1) - p.sum())
    return np.asarray(total / len(said))


def hosmer_lemeshow(hit: np.ndarray, said: np.ndarray, groups: int = 10) -> dict[str, float] | None:
    """Hosmer-Lemeshow's statistic over groups of equal size: ``statistic``, ``p``, ``p_df8``.

    The probabilities were not fitted to these rows, so `p` has as many degrees of freedom as there are groups. `p_df8`
    has two fewer, as for the rows that a model was fitted on, and as the paper reports it: of a calibrated model it
    rejects 11% instead of 5. Rows of which the same was said stay in one group; where that leaves fewer groups, the
    degrees of freedom follow.
    None where there are fewer rows than groups, fewer than three groups are left, or all rows are hits or none is. A
    large p is no proof of calibration, and with many patients a small one is no proof against it: it stands here
    because the paper reports it.

    References
    ----------
    Hosmer, Lemeshow, Commun Stat 1980; Hosmer, Lemeshow, Applied Logistic Regression, 5.2.2 (external validation);
    paper, Results, "Hosmer-Lemeshow tests"
    """
    hit = np.asarray(hit, float)
    if len(said) < groups or hit.min() == hit.max():
        return None
    order = np.argsort(said, kind="stable")
    ranked = np.asarray(said)[order]
    # Equal shares of the rows; a group that would begin within a run of ties begins with the run.
    sizes = [len(rows) for rows in np.array_split(order, groups)]
    starts = np.unique(np.searchsorted(ranked, ranked[np.cumsum([0, *sizes[:-1]])]))
    if len(starts) < 3:
        return None
    ends = [*starts[1:], len(ranked)]
    statistic = 0.0
    for begin, end in zip(starts, ends, strict=True):
        rows = order[begin:end]
        expected, n = float(said[rows].sum()), len(rows)
        variance = expected * (1 - expected / n)
        difference = float(hit[rows].sum()) - expected
        if variance > 1e-12:
            statistic += difference * difference / variance
        elif abs(difference) > 1e-9:
            # Said to be impossible, or certain, and was not.
            return {"statistic": math.inf, "p": 0.0, "p_df8": 0.0}
    groups = len(starts)
    return {
        "statistic": statistic,
        "p": float(chi2.sf(statistic, groups)),
        "p_df8": float(chi2.sf(statistic, groups - 2)),
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values of tests that are held together, in the order given.

    References
    ----------
    Holm, Scand J Stat 1979
    """
    found, largest = [0.0] * len(p_values), 0.0
    for rank, k in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        largest = max(largest, min(1.0, p_values[k] * (len(p_values) - rank)))
        found[k] = largest
    return found


@frozen
class Recalibration:
    """Logistic regression of the outcome on the logit of what was said: 1 and 0 for a calibrated model.

    `penalised`: Firth's penalty was needed, since the outcome is (nearly) separated by what was said.
    """

    slope: float
    intercept: float
    slope_se: float
    intercept_se: float
    penalised: bool = False

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "slope": self.slope,
            "intercept": self.intercept,
            "slope_se": self.slope_se,
            "intercept_se": self.intercept_se,
            "penalised": self.penalised,
        }


def recalibration(positive: np.ndarray, said: np.ndarray) -> Recalibration | None:
    """Calibration slope and intercept with standard errors.

    Parameters
    ----------
    positive : numpy.ndarray
        (n,), bool.
    said : numpy.ndarray
        (n,), its probability.

    Returns
    -------
    Recalibration or None
        None where only one outcome occurred, or all rows said the same.

    References
    ----------
    Cox, Biometrika 1958; Firth, Biometrika 1993; Van Calster et al., BMC Med 2019
    """
    y = np.asarray(positive, float)
    x = logit(np.clip(said, _EDGE, 1 - _EDGE))
    if not len(y) or y.min() == y.max() or np.ptp(x) < _SPREAD:
        return None
    design = np.column_stack([np.ones(len(x)), x])
    plain = _newton(design, y, firth=False)
    if plain is not None and _sound(plain):
        return _result(plain, penalised=False)
    kept = _newton(design, y, firth=True)
    return None if kept is None else _result(kept, penalised=True)


def slopes_of_redrawn(positive: np.ndarray, said: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The slope of `recalibration` in redrawn cohorts, (draws,); NaN where there is none.

    Parameters
    ----------
    counts : numpy.ndarray
        (draws, n): how often each row is in each cohort.
    """
    y = np.asarray(positive, float)
    x = logit(np.clip(said, _EDGE, 1 - _EDGE))
    found = np.full(len(counts), np.nan)
    left = np.flatnonzero(_has_a_line(x, y, counts))
    beta, error, rests = _newton_of_redrawn(x, y, counts[left], firth=False)
    sound = rests & np.isfinite(error) & _says_something(beta[:, 1], error)
    found[left[sound]] = beta[sound, 1]
    left = left[~sound]
    beta, _, rests = _newton_of_redrawn(x, y, counts[left], firth=True)
    found[left[rests]] = beta[rests, 1]
    return found


def _has_a_line(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Whether both outcomes occurred in a redrawn cohort, and not all rows said the same; (draws,), bool."""
    there, positive = counts > 0, counts @ y
    spread = np.where(there, x, -np.inf).max(axis=1) - np.where(there, x, np.inf).min(axis=1)
    return (positive > 0) & (positive < counts.sum(axis=1)) & (spread >= _SPREAD)


def _newton_of_redrawn(
    x: np.ndarray, y: np.ndarray, counts: np.ndarray, *, firth: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `_newton`, of all redrawn cohorts at once.

    Returns
    -------
    tuple of numpy.ndarray
        Coefficients (draws, 2), standard errors of the slopes, and whether each fit came to rest.
    """
    draws = len(counts)
    beta, error, rests = np.zeros((draws, 2)), np.full(draws, np.nan), np.zeros(draws, bool)
    squares = x * x
    left = np.arange(draws)
    for _ in range(_STEPS):
        if not len(left):
            break
        p = expit(beta[left, :1] + beta[left, 1:] * x)
        variance = np.maximum(p * (1 - p), 1e-300)
        weight, residual = counts[left] * variance, y - p
        a, b, c = weight.sum(axis=1), weight @ x, weight @ squares
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            size = a * c - b * b
            if firth:
                leverage = variance * (c[:, None] - 2 * b[:, None] * x + a[:, None] * squares) / size[:, None]
                residual = residual + leverage * (0.5 - p)
            residual = counts[left] * residual
            gradient = np.column_stack([residual.sum(axis=1), residual @ x])
            step = (
                np.column_stack([c * gradient[:, 0] - b * gradient[:, 1], a * gradient[:, 1] - b * gradient[:, 0]])
                / size[:, None]
            )
            largest = np.abs(step).max(axis=1)
            good = np.isfinite(largest)
            beta[left[good]] += step[good] * np.minimum(1.0, 5.0 / np.maximum(largest[good], 1e-12))[:, None]
            error[left] = np.sqrt(a / size)
        rests[left[good & (largest < 1e-9)]] = True
        left = left[good & (largest >= 1e-9)]
    return beta, error, rests


def at_least_t3(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether the stage is T3 or T4, and what was said of that: (n,), (n,)."""
    return np.asarray(labels) >= 2, np.clip(probabilities[:, 2] + probabilities[:, 3], 0.0, 1.0)


def _bins(said: np.ndarray, bins: int) -> np.ndarray:
    return np.minimum((said * bins).astype(int), bins - 1)


_Fit = tuple[np.ndarray, np.ndarray]  # coefficients, standard errors


def _newton(design: np.ndarray, y: np.ndarray, *, firth: bool) -> _Fit | None:
    """Maximum (penalised) likelihood; None where it does not come to rest."""
    beta = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        p = expit(design @ beta)
        weight = np.maximum(p * (1 - p), 1e-300)
        try:
            covariance = np.linalg.inv(design.T @ (design * weight[:, None]))
        except np.linalg.LinAlgError:
            return None
        score = design.T @ (y - p)
        if firth:
            leverage = weight * np.einsum("ij,jk,ik->i", design, covariance, design)
            score = design.T @ (y - p + leverage * (0.5 - p))
        step = covariance @ score
        largest = float(np.abs(step).max())
        if not math.isfinite(largest):
            return None
        beta = beta + step * min(1.0, 5.0 / max(largest, 1e-12))
        if largest < 1e-9:
            with np.errstate(invalid="ignore"):  # a covariance that is none has no error; such a fit is not sound
                return beta, np.sqrt(np.diag(covariance))
    return None


def _sound(fit: _Fit) -> bool:
    beta, error = fit
    return bool(np.isfinite(error).all() and _says_something(beta[1], error[1]))


def _says_something(slope: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Separation drives the estimate off while its error grows faster: such a fit says nothing."""
    size = np.abs(slope)
    return np.asarray((size < 20) & (error < 5) & (error < 3 * np.maximum(size, 1)))


def _result(fit: _Fit, *, penalised: bool) -> Recalibration:
    beta, error = (tuple(float(v) for v in part) for part in fit)
    return Recalibration(beta[1], beta[0], error[1], error[0], penalised)
