"""Risk against coverage: how many of those who are answered are answered wrongly, when fewer are answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

_POINTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class RiskCoverage(TypedDict):
    """`coverage` and `risk` point by point; `aurc` the area under the curve, `best` that of a perfect order.

    Of a confidence that says nothing, `aurc` is about the risk at full coverage.
    """

    n: int
    coverage: list[float]
    risk: list[float]
    aurc: float
    best: float


def risk_coverage(right: Sequence[bool] | np.ndarray, confidence: Sequence[float] | np.ndarray) -> RiskCoverage | None:
    """The curve of answering the most confident first; None where there is nobody.

    Patients of equal confidence are answered together, each with their mean risk, so that the order of rows does not
    matter.

    Parameters
    ----------
    right : sequence of bool
        Whether each patient's answer is right.
    confidence : sequence of float
        The larger, the sooner answered.

    References
    ----------
    Geifman, El-Yaniv, NeurIPS 2017; AURC: Geifman, Uziel, El-Yaniv, ICLR 2019
    """
    wrong, sure = 1.0 - np.asarray(right, float), np.asarray(confidence, float)
    n = len(wrong)
    if not n:
        return None
    _, group = np.unique(-sure, return_inverse=True)
    shared = np.bincount(group, weights=wrong) / np.bincount(group)
    risk = np.cumsum(shared[np.sort(group)]) / np.arange(1, n + 1)
    ideal = np.cumsum(np.sort(wrong)) / np.arange(1, n + 1)
    answered = [max(1, round(share * n)) for share in _POINTS]
    return {
        "n": n,
        "coverage": [k / n for k in answered],
        "risk": [float(risk[k - 1]) for k in answered],
        "aurc": float(risk.mean()),
        "best": float(ideal.mean()),
    }
