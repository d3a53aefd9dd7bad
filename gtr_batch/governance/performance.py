"""What a model does on the holdout: every metric of the card, with its interval where it has one."""

from __future__ import annotations

import attrs
import numpy as np

from gtr_batch.domain.gate import ModelPerformance, RecalibrationLine
from gtr_batch.governance.criteria import ECE, KAPPA, Answers
from gtr_batch.metrics.calibration import at_least_t3, ece_null_95, ece_top, recalibration
from gtr_batch.metrics.classification import CLASSES, accuracy, auc, auc_intervals, confusion, kappa_of, rates
from gtr_batch.metrics.intervals import Interval, percentile_interval, wilson
from gtr_batch.metrics.probability import brier, log_loss, rps
from gtr_batch.metrics.utility import treatment


def performance(stages: np.ndarray, answers: Answers, drawn: np.ndarray) -> ModelPerformance:
    """A model's metrics.

    Parameters
    ----------
    stages : numpy.ndarray
        (n,), 0 to 3.
    answers : Answers
    drawn : numpy.ndarray
        (draws, 5): the model's part of `gtr_batch.governance.criteria.redrawn`, for the intervals of kappa and ECE.
    """
    p, n = answers.probabilities, len(stages)
    table = confusion(stages, answers.votes)
    positive, predicted = at_least_t3(stages, p)
    line = recalibration(positive, predicted) if n else None
    use = treatment(positive, answers.votes >= 2)
    return ModelPerformance(
        n=n,
        accuracy=accuracy(stages, answers.votes),
        accuracy_ci=wilson(int((answers.votes == stages).sum()), n),
        quadratic_kappa=kappa_of(table),
        quadratic_kappa_ci=percentile_interval(drawn[:, KAPPA]),
        confusion=tuple(map(tuple, table.tolist())),
        auc=auc(stages, p) if n else None,
        auc_ci=auc_intervals(stages, p) if n else None,
        **rates(table),
        rates_ci=rate_intervals(table),
        rps=rps(stages, p),
        brier=brier(stages, p),
        log_loss=log_loss(stages, p),
        ece=ece_top(stages, p),
        ece_ci=percentile_interval(drawn[:, ECE]),
        ece_null_95=ece_null_95(p),
        calibration=None if line is None else RecalibrationLine(**attrs.asdict(line)),
        over_treatment=use.over,
        under_treatment=use.under,
        nnt=use.nnt,
    )


def rate_intervals(table: np.ndarray) -> dict[str, dict[str, Interval | None]]:
    """Wilson's intervals of what `gtr_batch.metrics.classification.rates` gives, from a confusion table (4, 4)."""
    n = int(table.sum())
    found: dict[str, dict[str, Interval | None]] = {}
    for name in ("sensitivity", "specificity", "ppv", "npv"):
        found[name] = {}
        for k, stage in enumerate(CLASSES):
            hit, true, called = int(table[k, k]), int(table[k].sum()), int(table[:, k].sum())
            neither = n - true - called + hit
            part, of = {
                "sensitivity": (hit, true),
                "specificity": (neither, n - true),
                "ppv": (hit, called),
                "npv": (neither, n - called),
            }[name]
            found[name][stage] = wilson(part, of)
    return found
