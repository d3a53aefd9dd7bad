"""Proper scores of the four probabilities: ranked probability score, Brier score, log-loss. Smaller is better."""

from __future__ import annotations

import numpy as np


def rps(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Ranked probability score over the ordered stages, 0 to 1; None without rows.

    Mean over the rows of the squared distances of the three cumulative probabilities, divided by three: a miss by two
    stages costs more than one by one.

    References
    ----------
    Epstein, J Appl Meteorol 1969
    """
    if not len(labels):
        return None
    said = probabilities.cumsum(axis=1)[:, :-1]
    was = np.asarray(labels)[:, None] <= np.arange(3)[None, :]
    return float(((said - was) ** 2).mean())


def brier(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Brier score over the four stages as Brier defined it, 0 to 2; None without rows.

    References
    ----------
    Brier, Mon Weather Rev 1950
    """
    if not len(labels):
        return None
    # The sum over the stages of (p - o)^2, without an array of ones and zeros.
    own = probabilities[np.arange(len(labels)), labels]
    return float(((probabilities**2).sum(axis=1) - 2 * own + 1).mean())


def log_loss(labels: np.ndarray, probabilities: np.ndarray, least: float = 1e-15) -> float | None:
    """Mean negative logarithm of what was said of the true stage, in nats; None without rows."""
    if not len(labels):
        return None
    own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(own, least, 1.0)).mean())
