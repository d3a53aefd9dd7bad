"""How often the stage is right: accuracy, confusion, per-stage rates, weighted kappa, AUC with its interval.

Stages are positions 0 to 3 (T1 to T4); probabilities (n, 4). What cannot be computed is None, never NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm, rankdata

from gtr_batch.metrics.intervals import Interval

CLASSES = ("T1", "T2", "T3", "T4")
Placed = tuple[np.ndarray, np.ndarray] | None  # of one stage's positives and negatives; see `placements`
FEW = 30  # on one side of an AUC: with fewer DeLong's interval covers too little (five: 83 to 89%)


def accuracy(labels: np.ndarray, predicted: np.ndarray) -> float | None:
    """Share of right stages."""
    return float((labels == predicted).mean()) if len(labels) else None


def confusion(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Counts (4, 4): rows true, columns predicted."""
    return np.bincount(labels.astype(int) * 4 + predicted.astype(int), minlength=16).reshape(4, 4)


def rates(table: np.ndarray) -> dict[str, dict[str, float | None]]:
    """Sensitivity, specificity, PPV and NPV of each stage against the others, from a confusion table (4, 4)."""
    n = int(table.sum())
    found: dict[str, dict[str, float | None]] = {k: {} for k in ("sensitivity", "specificity", "ppv", "npv")}
    for k, stage in enumerate(CLASSES):
        hit, true, called = int(table[k, k]), int(table[k].sum()), int(table[:, k].sum())
        other_hit = n - true - called + hit
        for name, part, whole in (
            ("sensitivity", hit, true),
            ("specificity", other_hit, n - true),
            ("ppv", hit, called),
            ("npv", other_hit, n - called),
        ):
            found[name][stage] = part / whole if whole else None
    return found


def quadratic_kappa(labels: np.ndarray, predicted: np.ndarray) -> float | None:
    """Cohen's kappa with quadratic weights; None where label or answer never varies.

    References
    ----------
    Cohen, Psychol Bull 1968
    """
    return kappa_of(confusion(labels, predicted))


def kappa_of(table: np.ndarray) -> float | None:
    """Quadratic weighted kappa of a confusion table (4, 4)."""
    n = table.sum()
    if n == 0:
        return None
    distance = (np.arange(4)[:, None] - np.arange(4)[None, :]) ** 2
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / n
    disagreement = float((distance * expected).sum())
    return None if disagreement == 0 else 1.0 - float((distance * table).sum()) / disagreement


def kappas_of_redrawn(labels: np.ndarray, predicted: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Quadratic weighted kappa in redrawn cohorts, (draws,); NaN where it has none.

    Parameters
    ----------
    counts : numpy.ndarray
        (draws, n): how often each row is in each cohort.
    """
    cells = np.zeros((len(labels), 16))
    cells[np.arange(len(labels)), labels.astype(int) * 4 + predicted.astype(int)] = 1.0
    tables = (counts @ cells).reshape(-1, 4, 4)
    distance = (np.arange(4)[:, None] - np.arange(4)[None, :]) ** 2
    expected = tables.sum(axis=2)[:, :, None] * tables.sum(axis=1)[:, None, :] / tables.sum(axis=(1, 2))[:, None, None]
    disagreement = (distance * expected).sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = 1.0 - (distance * tables).sum(axis=(1, 2)) / disagreement
    return np.where(disagreement > 0, found, np.nan)


def placements(positive: np.ndarray, score: np.ndarray) -> Placed:
    """DeLong's components: of each positive the share of negatives below, of each negative that of positives above.

    None where one side is empty; ties count half.

    References
    ----------
    DeLong, DeLong, Clarke-Pearson, Biometrics 1988; Sun, Xu, IEEE Signal Proc Lett 2014
    """
    positive = positive.astype(bool)
    m, k = int(positive.sum()), int((~positive).sum())
    if m == 0 or k == 0:
        return None
    rank = rankdata(score)
    of_positive = (rank[positive] - rankdata(score[positive])) / k
    of_negative = 1.0 - (rank[~positive] - rankdata(score[~positive])) / m
    return of_positive, of_negative


def auc(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float | None]:
    """One-vs-rest AUC of each stage and their mean (``macro``, None where a stage is absent)."""
    return auc_with_intervals(labels, probabilities)[0]


def auc_intervals(labels: np.ndarray, probabilities: np.ndarray, level: float = 0.95) -> dict[str, Interval | None]:
    """The interval of each stage's AUC, and of the macro AUC with the covariances between the stages.

    DeLong's; where a side has fewer than `FEW` patients, Newcombe's score interval, and the macro AUC's error is
    widened as far as that stage's is.
    """
    return auc_with_intervals(labels, probabilities, level)[1]


def auc_with_intervals(
    labels: np.ndarray, probabilities: np.ndarray, level: float = 0.95, placed: Sequence[Placed] | None = None
) -> tuple[dict[str, float | None], dict[str, Interval | None]]:
    """Both `auc` and `auc_intervals`, ranking once; or not at all, where the `placements` of T1 to T4 are known."""
    n = len(labels)
    z = float(norm.ppf(0.5 + level / 2))
    values: dict[str, float | None] = {}
    found: dict[str, Interval | None] = {}
    influence = []  # of each row on each stage's AUC
    wider = 0.0  # variance that DeLong's leaves out where there are few
    for k, stage in enumerate(CLASSES):
        parts = placements(labels == k, probabilities[:, k]) if placed is None else placed[k]
        value = None if parts is None else float(parts[0].mean())
        values[stage] = value
        if parts is None or value is None or min(len(parts[0]), len(parts[1])) < 2:
            found[stage] = None
            continue
        variance = sum(float(v.var(ddof=1)) / len(v) for v in parts)
        sizes = len(parts[0]), len(parts[1])
        half = z * math.sqrt(variance)
        if min(sizes) < FEW:
            found[stage] = auc_score_interval(value, *sizes, level)
            wider += max(0.0, _auc_variance(value, *sizes) - variance)
        else:
            # Perfectly parted: DeLong's error is 0, which says nothing of another sample.
            found[stage] = (max(0.0, value - half), min(1.0, value + half)) if half > 0 else None
        row = np.empty(n)
        row[labels == k] = (parts[0] - value) / len(parts[0])
        row[labels != k] = (parts[1] - value) / len(parts[1])
        influence.append(row)
    known = [v for v in values.values() if v is not None]
    macro = float(np.mean(known)) if len(known) == len(CLASSES) else None
    interval = None
    if macro is not None and len(influence) == len(CLASSES):
        variance = float((np.mean(influence, axis=0) ** 2).sum()) * n / max(n - 1, 1)
        half = z * math.sqrt(variance + wider / len(CLASSES) ** 2)
        interval = (max(0.0, macro - half), min(1.0, macro + half)) if half > 0 else None
    return {**values, "macro": macro}, {**found, "macro": interval}


def auc_score_interval(value: float, positives: int, negatives: int, level: float = 0.95) -> Interval:
    """Newcombe's interval of an AUC: where it lies less than z of its own standard errors from what was seen.

    Its error is that of exponential scores at the AUC that is tried, not of these few rows, so it has a width also
    where the two are parted.

    References
    ----------
    Newcombe, Stat Med 2006; 25:559-573 (method 5); Hanley, McNeil, Radiology 1982
    """
    z = float(norm.ppf(0.5 + level / 2))

    def beyond(tried: float) -> float:
        return (value - tried) ** 2 - z * z * _auc_variance(tried, positives, negatives)

    edge = 1e-9
    low = 0.0 if value <= edge or beyond(edge) <= 0 else float(brentq(beyond, edge, value))
    high = 1.0 if value >= 1 - edge or beyond(1 - edge) <= 0 else float(brentq(beyond, value, 1 - edge))
    return low, high


def _auc_variance(value: float, positives: int, negatives: int) -> float:
    others = (positives + negatives) / 2 - 1
    spread = 1 + others * (1 - value) / (2 - value) + others * value / (1 + value)
    return value * (1 - value) * spread / (positives * negatives)
