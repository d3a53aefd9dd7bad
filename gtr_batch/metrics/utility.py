"""What a decision for neoadjuvant treatment (T3 or T4) by the stage would gain and cost.

The paper's rates are shares of all patients, and its number needed to treat is one over the net benefit at even odds:
with 120 of 239 test patients at T3 or T4, five over-treated and six under-treated, ``239 / (114 - 5)`` is its 2.19, and
endoscopic ultrasound's 5.09 comes out of 31 and 42 likewise (both recomputed; the paper gives no formula).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen

THRESHOLDS: tuple[float, ...] = tuple(round(0.05 * k, 2) for k in range(1, 17))  # the paper draws 0 to 0.8


@frozen
class Treatment:
    """Shares of all patients, and the number needed to treat; None where it is not defined."""

    over: float | None
    under: float | None
    nnt: float | None


def treatment(positive: np.ndarray, treated: np.ndarray) -> Treatment:
    """Over-treatment (treated, T1 or T2), under-treatment (not treated, T3 or T4) and number needed to treat.

    Parameters
    ----------
    positive, treated : numpy.ndarray
        (n,), bool: T3 or T4 by pathology; T3 or T4 by the stage that decides.

    Returns
    -------
    Treatment
        `nnt` is ``n / (rightly treated - wrongly treated)``; None where that is not above 0.

    References
    ----------
    Paper, Results, "over-treatment rate ... under-treatment rate ... number needed to treat"
    """
    n = len(positive)
    if n == 0:
        return Treatment(None, None, None)
    right, wrong = int((positive & treated).sum()), int((~positive & treated).sum())
    under = int((positive & ~treated).sum())
    return Treatment(wrong / n, under / n, n / (right - wrong) if right > wrong else None)


def net_benefit(positive: np.ndarray, treated: np.ndarray, threshold: float) -> float | None:
    """Net benefit of a decision at a threshold: rightly treated less wrongly treated at its odds, a patient.

    References
    ----------
    Vickers, Elkin, Med Decis Making 2006
    """
    n = len(positive)
    if n == 0:
        return None
    right, wrong = int((positive & treated).sum()), int((~positive & treated).sum())
    return right / n - wrong / n * threshold / (1 - threshold)


def decision_curve(
    positive: np.ndarray, said: np.ndarray, thresholds: Sequence[float] = THRESHOLDS
) -> list[dict[str, float | None]]:
    """Net benefit over thresholds: the model (treat where P(T3 or T4) reaches the threshold), all, none."""
    everyone = np.ones(len(positive), bool)
    return [
        {
            "threshold": t,
            "model": net_benefit(positive, said >= t, t),
            "all": net_benefit(positive, everyone, t),
            "none": 0.0 if len(positive) else None,
        }
        for t in thresholds
    ]
