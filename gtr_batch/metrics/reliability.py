"""Reliability: how often what was said with a probability was so, by bins of that probability."""

from __future__ import annotations

from typing import Any

import numpy as np

from gtr_batch.metrics.intervals import wilson

BINS = 15


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> list[dict[str, Any]]:
    """The likeliest stage's probability against how often it was right, in equal-width bins that are not empty.

    Parameters
    ----------
    labels : numpy.ndarray
        (n,), 0 to 3.
    probabilities : numpy.ndarray
        (n, 4).

    Returns
    -------
    list of dict
        ``n``, ``confidence`` (mean), ``accuracy``, ``low``, ``high`` (Wilson, 95%).
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    found = []
    for k in range(bins):
        inside = which == k
        n = int(inside.sum())
        interval = wilson(int(right[inside].sum()), n)
        if interval is not None:
            found.append(
                {
                    "n": n,
                    "confidence": float(confidence[inside].mean()),
                    "accuracy": float(right[inside].mean()),
                    "low": interval[0],
                    "high": interval[1],
                }
            )
    return found


def ece_of(bins: list[dict[str, Any]]) -> float | None:
    """Expected calibration error of `reliability`'s bins."""
    n = sum(b["n"] for b in bins)
    return sum(b["n"] * abs(b["accuracy"] - b["confidence"]) for b in bins) / n if n else None
