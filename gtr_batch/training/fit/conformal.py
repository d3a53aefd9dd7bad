"""The threshold of the sets of neighbouring stages.

MAPIE's classification sets are not intervals, so the score is ours (`gtr_batch.domain.conformal`); the quantile is the
usual split-conformal one.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np

from gtr_batch.domain.conformal import ConformalSets, nonconformity, shortest_interval
from gtr_batch.metrics.intervals import wilson

FOLDS = 10


def fit_conformal(probabilities: np.ndarray, stages: np.ndarray, coverage: float = 0.9) -> ConformalSets:
    """Threshold with which the set holds the true stage in at least `coverage` of exchangeable patients.

    Parameters
    ----------
    probabilities : numpy.ndarray
        (patients, 4), calibrated, of patients that the network was not trained on.
    stages : numpy.ndarray
        (patients,), 0 to 3.
    coverage : float

    Returns
    -------
    ConformalSets
        With too few patients the threshold is 1: all stages.
    """
    scores = np.sort([nonconformity(p, int(k)) for p, k in zip(probabilities.tolist(), stages, strict=True)])
    rank = math.ceil((len(scores) + 1) * coverage)
    threshold = 1.0 if rank > len(scores) else min(1.0, float(scores[rank - 1]))
    return ConformalSets(threshold, coverage, len(scores))


def conformal_report(fitted: ConformalSets, probabilities: np.ndarray, stages: np.ndarray) -> dict[str, Any]:
    """The fit, and how often the set held the stage of patients of the fit, each at the threshold of the others.

    Returns
    -------
    dict
        The fields of `ConformalSets`; ``held`` of ``n`` with ``share`` and ``ci`` (Wilson), and ``mean_size``; None
        where there is no patient.
    """
    held, sizes = 0, []
    for fold in range(FOLDS):
        out = np.arange(len(stages)) % FOLDS == fold
        threshold = fit_conformal(probabilities[~out], stages[~out], fitted.coverage).threshold
        for p, k in zip(probabilities[out].tolist(), stages[out].tolist(), strict=True):
            first, last = shortest_interval(p, threshold)
            held += first <= k <= last
            sizes.append(last - first + 1)
    n = len(sizes)
    return {
        **attrs.asdict(fitted),
        "held": held,
        "share": held / n if n else None,
        "ci": wilson(held, n),
        "mean_size": float(np.mean(sizes)) if n else None,
    }
