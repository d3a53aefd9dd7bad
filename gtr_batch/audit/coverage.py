"""Do the model's sets of neighbouring stages hold the true stage as often as they promise?"""

from __future__ import annotations

from gtr_batch.audit.cohorts import Cohort
from gtr_batch.audit.found.performance import Coverage
from gtr_batch.domain.audited_model import AuditedModel
from gtr_batch.domain.conformal import ordinal_set
from gtr_batch.metrics.intervals import wilson


def coverage(cohort: Cohort, model: AuditedModel) -> Coverage | None:
    """Coverage of the conformal sets, at the threshold that the artefact holds.

    Returns
    -------
    Coverage or None
        None where the artefact has no sets or no patient has a pT.

    References
    ----------
    Lu et al., MICCAI 2022
    """
    found = model.metrics.conformal
    if found is None or found.threshold is None or found.coverage is None or not len(cohort):
        return None
    threshold = found.threshold
    sets = [ordinal_set(p, threshold) for p in cohort.probabilities.tolist()]
    held = sum(low <= label <= high for (low, high), label in zip(sets, cohort.labels.tolist(), strict=True))
    return Coverage(
        promised=found.coverage,
        n=len(cohort),
        held=held,
        share=held / len(cohort),
        ci=wilson(held, len(cohort)),
        mean_size=sum(high - low + 1 for low, high in sets) / len(cohort),
    )
