"""The temperature that makes the network's probabilities honest."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar


def fit_temperature(logits: np.ndarray, stages: np.ndarray) -> float:
    """Temperature that makes validation probabilities honest: the smallest log-loss of single slices.

    Parameters
    ----------
    logits : numpy.ndarray
        (slices, 4), of patients that the network was not trained on.
    stages : numpy.ndarray
        (slices,), 0 to 3.

    References
    ----------
    Guo et al., On calibration of modern neural networks, ICML 2017
    """

    def loss(log_temperature: float) -> float:
        z = logits.astype(np.float64) / np.exp(log_temperature)
        z -= z.max(axis=1, keepdims=True)
        picked = z[np.arange(len(z)), stages] - np.log(np.exp(z).sum(axis=1))
        return float(-picked.mean())

    found = minimize_scalar(loss, bounds=(np.log(0.25), np.log(8.0)), method="bounded")
    return float(np.exp(found.x))
