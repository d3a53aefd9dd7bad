"""The patient-cluster bootstrap of very many patients without drawing: each patient's influence on a statistic.

Redrawn, a statistic moves by the sum of the influences of whom was drawn more often, or less, than once; so its
variance is the sum of their squares, and with thousands of patients its distribution is the normal one. What is left
out is of the order of one in the number of patients.

References
----------
Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982 (chapter 6, the infinitesimal jackknife);
Obuchowski, Biometrics 1997; 53:567-578 (AUC of clustered data)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import norm

from gtr_batch.metrics.classification import CLASSES, Placed, confusion, kappa_of
from gtr_batch.metrics.intervals import Interval

FROM = 20_000  # patients; with fewer a thousand draws are a matter of seconds


def linearised_intervals(
    labels: np.ndarray,
    predicted: np.ndarray,
    placed: Sequence[Placed],
    patient: np.ndarray,
    level: float = 0.95,
) -> Mapping[str, Interval | None]:
    """Intervals of ``accuracy``, ``kappa``, the AUC of each stage and their mean (``macro``); None where there is none.

    Parameters
    ----------
    labels, predicted : numpy.ndarray
        (n,), 0 to 3.
    placed : sequence
        The placements of T1 to T4.
    patient : numpy.ndarray
        (n,), 0 to the number of patients - 1.
    """
    right = labels == predicted
    accuracy = float(right.mean())
    table = confusion(labels, predicted).astype(float)
    found: dict[str, Interval | None] = {
        "accuracy": _interval(accuracy, (right - accuracy) / len(right), patient, 0.0, level)
    }
    kappa = kappa_of(table)
    found["kappa"] = None
    if kappa is not None:
        found["kappa"] = _interval(kappa, _on_kappa(table)[labels, predicted], patient, -1.0, level)
    influences, values = [], []
    for k, (stage, parts) in enumerate(zip(CLASSES, placed, strict=True)):
        found[stage] = None
        if parts is not None:
            values.append(float(parts[0].mean()))
            influences.append(_on_auc(labels == k, parts, values[-1]))
            found[stage] = _interval(values[-1], influences[-1], patient, 0.0, level)
    found["macro"] = None
    if len(values) == len(CLASSES):
        found["macro"] = _interval(float(np.mean(values)), np.mean(influences, axis=0), patient, 0.0, level)
    return found


def _interval(value: float, influence: np.ndarray, patient: np.ndarray, lowest: float, level: float) -> Interval:
    """About a statistic, from the influence of each row (which sum to 0): the normal one, within its bounds."""
    half = float(norm.ppf(0.5 + level / 2)) * math.sqrt(float((np.bincount(patient, weights=influence) ** 2).sum()))
    return max(lowest, value - half), min(1.0, value + half)


def _on_auc(positive: np.ndarray, parts: tuple[np.ndarray, np.ndarray], value: float) -> np.ndarray:
    """Influence of each row on an AUC."""
    found = np.empty(len(positive))
    found[positive] = (parts[0] - value) / len(parts[0])
    found[~positive] = (parts[1] - value) / len(parts[1])
    return found


def _on_kappa(table: np.ndarray) -> np.ndarray:
    """(4, 4): influence of a row of each cell on quadratic weighted kappa, the derivative by the cell's count.

    Kappa is 1 - n seen / chance, where both are weighted sums of the table, and does not change with its size.
    """
    distance = (np.arange(4)[:, None] - np.arange(4)[None, :]) ** 2
    rows, columns, n = table.sum(axis=1), table.sum(axis=0), table.sum()
    seen, chance = float((distance * table).sum()), float(rows @ distance @ columns)
    of_chance = (distance @ columns)[:, None] + (rows @ distance)[None, :]
    return -((distance * n + seen) / chance - n * seen * of_chance / chance**2)
