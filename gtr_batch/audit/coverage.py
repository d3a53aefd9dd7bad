"""Do the model's sets of neighbouring stages hold the true stage as often as they promise?"""

from __future__ import annotations

import numpy as np

from gtr_batch.audit.cohorts import Cohort
from gtr_batch.audit.found.performance import Coverage
from gtr_batch.domain.staging import STAGES
from gtr_batch.metrics.intervals import wilson


def coverage(cohort: Cohort) -> Coverage | None:
    """Coverage of the sets that were reported, by patients who came after their threshold was fitted.

    Returns
    -------
    Coverage or None
        None where no patient with a pT was given a set.
    """
    given = [(c.stage_set, STAGES[k]) for c, k in zip(cohort.cases, cohort.labels.tolist(), strict=True) if c.stage_set]
    if not given:
        return None
    held = sum(stage in found for found, stage in given)
    return Coverage(
        promised=float(np.mean([found.coverage for found, _ in given])),
        n=len(given),
        held=held,
        share=held / len(given),
        ci=wilson(held, len(given)),
        mean_size=float(np.mean([len(found) for found, _ in given])),
    )
