"""The threshold of the ordinal conformal sets.

MAPIE's classification sets are not contiguous (T1 and T3 without T2 makes no sense to a surgeon), so the score is ours
(`gtr_batch.domain.conformal`); the quantile is the usual split-conformal one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gtr_batch.domain.conformal import ordinal_score, ordinal_set


def fit_conformal(probabilities: np.ndarray, stages: np.ndarray, coverage: float = 0.9) -> dict[str, Any]:
    """Threshold with which the set holds the true stage in `coverage` of exchangeable patients.

    Parameters
    ----------
    probabilities : numpy.ndarray
        (patients, 4), calibrated, of patients that the network was not trained on.
    stages : numpy.ndarray
        (patients,), 0 to 3.
    coverage : float

    Returns
    -------
    dict
        ``coverage``, ``threshold``, ``n``, ``mean_size``. With too few patients the threshold is 1: all stages.

    References
    ----------
    Vovk et al. 2005; Romano, Sesia, Candes, NeurIPS 2020; contiguous sets: Lu et al., MICCAI 2022
    """
    scores = np.sort([ordinal_score(p, int(k)) for p, k in zip(probabilities.tolist(), stages, strict=True)])
    n = len(scores)
    rank = math.ceil((n + 1) * coverage)
    threshold = 1.0 if rank > n else min(1.0, float(scores[rank - 1]))
    sizes = [last - first + 1 for first, last in (ordinal_set(p, threshold) for p in probabilities.tolist())]
    return {"coverage": coverage, "threshold": threshold, "n": n, "mean_size": float(np.mean(sizes)) if n else None}
