"""Two raters on the same patients: McNemar's exact test, differences of accuracy and kappa with their intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import binomtest

from gtr_batch.metrics.intervals import edges, percentile_interval, wide
from gtr_batch.metrics.noninferiority import tango_interval
from gtr_batch.metrics.redrawing import confusion_by_patient, kappas_of, redrawn_counts


def mcnemar_exact(right: np.ndarray, other_right: np.ndarray) -> float | None:
    """Two-sided exact p of McNemar's test; 1 where no pair differs, None without pairs.

    Parameters
    ----------
    right, other_right : numpy.ndarray
        (n,), bool: whether each rater was right about the same patients.

    References
    ----------
    McNemar, Psychometrika 1947; Fagerland, Lydersen, Laake, BMC Med Res Methodol 2013
    """
    if not len(right):
        return None
    gained, lost = int((right & ~other_right).sum()), int((~right & other_right).sum())
    return float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0


def paired_differences(
    labels: np.ndarray, one: np.ndarray, other: np.ndarray, *, draws: int, seed: int, level: float = 0.95
) -> dict[str, Any]:
    """Accuracy and quadratic weighted kappa of `one` less `other`, on patients with one row each.

    Parameters
    ----------
    labels, one, other : numpy.ndarray
        (n,), 0 to 3: pathology, and what either rater said.
    draws, seed : int
        Of the bootstrap over patients; 0 draws: none.

    Returns
    -------
    dict
        ``accuracy_difference``, ``ci`` (bootstrap), ``score_ci`` (Tango; it has a width also where no pair differs),
        ``only_one_right``, ``only_other_right``, ``mcnemar_p``, ``kappa_difference``, ``kappa_ci``. None where it is
        not defined, or where redrawing patients changes nothing.
    """
    n = len(labels)
    right, other_right = one == labels, other == labels
    gained, lost = int((right & ~other_right).sum()), int((~right & other_right).sum())
    tables = [confusion_by_patient(labels, said, np.arange(n), n) for said in (one, other)]
    kappas = [kappas_of(t.sum(axis=0).reshape(1, 4, 4))[0] if n else np.nan for t in tables]
    difference = float(kappas[0] - kappas[1])
    ci = kappa_ci = None
    if draws and n > 1:
        step = right.astype(float) - other_right
        drawn, kappa_drawn = [], []
        for counts in redrawn_counts(n, n, draws, seed):
            drawn.append(counts @ step / n)
            k = [kappas_of((counts @ t).reshape(-1, 4, 4)) for t in tables]
            kappa_drawn.append(k[0] - k[1])
        ci = edges(wide(percentile_interval(np.concatenate(drawn), level)))
        kappa_ci = edges(wide(percentile_interval(np.concatenate(kappa_drawn), level)))
    return {
        "accuracy_difference": (gained - lost) / n if n else None,
        "ci": ci,
        "score_ci": edges(tango_interval(gained, lost, n, (1 - level) / 2)),
        "only_one_right": gained,
        "only_other_right": lost,
        "mcnemar_p": mcnemar_exact(right, other_right),
        "kappa_difference": difference if np.isfinite(difference) else None,
        "kappa_ci": kappa_ci if np.isfinite(difference) else None,
    }
