"""The temperature that makes the reported probabilities honest."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from gtr_batch.domain.calibration import StagePriors, calibrated

# Temperatures of published networks lie between about 0.4 and 3 (Guo et al., Table of their supplement: 1.1 to 2.9).
PRIOR_SD = 0.5


def surprise_at(temperature: float) -> float:
    """What a temperature costs before anything was seen, in nats: normal in its logarithm about 1, SD `PRIOR_SD`.

    Where all of a few patients are right, the likelihood alone is largest at a temperature of nothing, which makes a
    network surer the fewer patients could have shown it wrong; against hundreds of patients it weighs nothing.
    """
    return float(np.log(temperature) ** 2 / (2 * PRIOR_SD**2))


def fit_temperature(logits: np.ndarray, stages: np.ndarray, priors: StagePriors | None = None) -> float:
    """The most probable temperature for what is reported: the mean of a patient's slices.

    Fitted on single slices it leaves the mean of three too unsure, since that knows more than each (docs/validity.md).

    Parameters
    ----------
    logits : numpy.ndarray
        (patients, slices, 4), of patients that the network was not trained on.
    stages : numpy.ndarray
        (patients,), 0 to 3.
    priors : StagePriors, optional
        With which the probabilities are made (`gtr_batch.domain.calibration.calibrated`).

    References
    ----------
    Guo et al., On calibration of modern neural networks, ICML 2017
    """
    rows = np.arange(len(stages))

    def loss(log_temperature: float) -> float:
        p = calibrated(logits, float(np.exp(log_temperature)), priors).mean(axis=1)
        return float(-np.log(np.maximum(p[rows, stages], 1e-12)).sum()) + surprise_at(np.exp(log_temperature))

    found = minimize_scalar(loss, bounds=(np.log(0.25), np.log(8.0)), method="bounded")
    return float(np.exp(found.x))
