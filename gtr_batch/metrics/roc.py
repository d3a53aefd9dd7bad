"""Points of a ROC curve, few enough to draw."""

from __future__ import annotations

import numpy as np

POINTS = 200


def roc_points(positive: np.ndarray, score: np.ndarray, most: int = POINTS) -> list[list[float]] | None:
    """``[1 - specificity, sensitivity]`` from (0, 0) to (1, 1), at most `most` of them; None where one side is empty.

    Parameters
    ----------
    positive : numpy.ndarray
        (n,), bool.
    score : numpy.ndarray
        (n,), larger is more positive; ties are one point.

    References
    ----------
    Fawcett, Pattern Recognit Lett 2006
    """
    positive = np.asarray(positive, bool)
    yes, no = int(positive.sum()), int((~positive).sum())
    if not yes or not no:
        return None
    order = np.argsort(-np.asarray(score), kind="stable")
    ranked, hit = np.asarray(score)[order], positive[order]
    last = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])  # of each run of ties
    true, false = np.cumsum(hit)[last], np.cumsum(~hit)[last]
    x, y = np.r_[0, false] / no, np.r_[0, true] / yes
    if len(x) > most:
        kept = np.unique(np.linspace(0, len(x) - 1, most).round().astype(int))
        x, y = x[kept], y[kept]
    return [[float(a), float(b)] for a, b in zip(x, y, strict=True)]
