"""What was said against how often it was so, for each stage and for the decision at T3: what the pictures show."""

from __future__ import annotations

import numpy as np

from gtr_batch.audit.cohorts import Cohort
from gtr_batch.audit.found.evaluation import ReliabilityBin
from gtr_batch.domain.staging import STAGES
from gtr_batch.metrics.calibration import at_least_t3
from gtr_batch.metrics.intervals import wilson

BINS = 8


def reliability_of_stages(cohort: Cohort) -> dict[str, tuple[ReliabilityBin, ...]]:
    """``T1`` to ``T4`` and ``T3 or T4``: bins that are not empty, as `gtr_batch.metrics.reliability` gives them."""
    found = {str(s): binned(cohort.labels == k, cohort.probabilities[:, k]) for k, s in enumerate(STAGES)}
    return {**found, "T3 or T4": binned(*at_least_t3(cohort.labels, cohort.probabilities))}


def binned(hit: np.ndarray, said: np.ndarray, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Equal-width bins of what was said that are not empty."""
    which = np.minimum((said * bins).astype(int), bins - 1)
    rows = []
    for k in range(bins):
        inside = which == k
        interval = wilson(int(hit[inside].sum()), int(inside.sum()))
        if interval is not None:
            mean, share = float(said[inside].mean()), float(hit[inside].mean())
            rows.append(ReliabilityBin(int(inside.sum()), mean, share, interval[0], interval[1]))
    return tuple(rows)
