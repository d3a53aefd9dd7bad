"""Is it worse, or is it chance? The tests behind the answer, held to an error rate of their own.

A report that compares a handful of numbers every month, each at 5%, says "look" for nothing in most years. So the
comparisons of a report share the budget that the monitors have, once more: 5% in 24 months over all of them together.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit
from scipy.stats import binomtest, chi2, fisher_exact

from gtr_batch.metrics.calibration import ece_null, ece_top, recalibration
from gtr_batch.metrics.intervals import Interval, wilson

DRAWS = 20_000  # of the null of ECE: enough to tell 1 in 2400
_EDGE = 1e-6  # as in `recalibration`


def level_of(false_alarm_budget: float, horizon_months: int, comparisons: int) -> float:
    """The error rate of one comparison of one month: the budget over the months of the horizon and the comparisons."""
    return false_alarm_budget / horizon_months / max(comparisons, 1)


def lower_p(k: int, n: int, k_before: int, n_before: int) -> float | None:
    """One-sided p of a share that is lower than an independent one before (Fisher); None where a side is empty."""
    if not n or not n_before:
        return None
    return float(fisher_exact([[k, n - k], [k_before, n_before - k_before]], alternative="less").pvalue)


def above_p(k: int, n: int, cap: float) -> float | None:
    """One-sided p of a share above a cap (exact binomial); None without patients."""
    return float(binomtest(k, n, cap, alternative="greater").pvalue) if n else None


def difference(k: int, n: int, k_before: int, n_before: int) -> Interval | None:
    """95% interval of the difference of two independent shares; None where a side is empty.

    References
    ----------
    Newcombe, Stat Med 1998; 17:873-890, method 10
    """
    now, before = wilson(k, n), wilson(k_before, n_before)
    if now is None or before is None:
        return None
    p, q = k / n, k_before / n_before
    return (
        p - q - float(np.hypot(p - now[0], before[1] - q)),
        p - q + float(np.hypot(now[1] - p, q - before[0])),
    )


def ece_p(labels: np.ndarray, probabilities: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> float | None:
    """How often a perfectly calibrated model with these probabilities shows an ECE as large; None without patients.

    Parameters
    ----------
    labels : numpy.ndarray
        (n,), 0 to 3.
    probabilities : numpy.ndarray
        (n, 4).
    """
    value, null = ece_top(labels, probabilities), ece_null(probabilities, draws=draws, seed=seed)
    if value is None or null is None:
        return None
    return float((1 + (null >= value - 1e-12).sum()) / (1 + draws))


def slope_p(positive: np.ndarray, said: np.ndarray) -> float | None:
    """p of calibration slope 1 and intercept 0 together (likelihood ratio, 2 df); None where no line fits.

    Parameters
    ----------
    positive : numpy.ndarray
        (n,), bool.
    said : numpy.ndarray
        (n,), its probability.

    References
    ----------
    Cox, Biometrika 1958; Harrell, Regression Modeling Strategies, unreliability index
    """
    line = recalibration(positive, said)
    if line is None:
        return None
    x, y = logit(np.clip(said, _EDGE, 1 - _EDGE)), np.asarray(positive, float)

    def log_likelihood(p: np.ndarray) -> float:
        p = np.clip(p, 1e-12, 1 - 1e-12)
        return float((y * np.log(p) + (1 - y) * np.log(1 - p)).sum())

    gained = log_likelihood(expit(line.intercept + line.slope * x)) - log_likelihood(expit(x))
    return float(chi2.sf(max(2 * gained, 0.0), 2))
