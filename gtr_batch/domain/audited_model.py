"""What an audit knows of the model that it judges."""

from __future__ import annotations

from datetime import date

from attrs import field, frozen


@frozen
class ModelMetrics:
    """How often the artefact says that it is right, on patients (phantoms) that the network was not trained on.

    `confusion_unseen`: (4, 4) counts, rows the true stage. None: the manifest does not say.
    """

    holdout_accuracy: float | None = None  # of the sealed holdout, as the gate found it
    n_holdout: int | None = None
    validation_accuracy: float | None = None
    n_validation: int | None = None
    accuracy_unseen: float | None = None
    n_unseen: int | None = None
    confusion_unseen: tuple[tuple[int, ...], ...] | None = None


@frozen
class AuditedModel:
    """From the artefact's manifest and the registry; `first_night` is None where it has not staged yet."""

    name: str | None = None
    backbone: str | None = None
    demo: bool | None = None
    created: str | None = None
    cohort_digest: str | None = None
    state: str | None = None
    first_night: date | None = None
    metrics: ModelMetrics = field(factory=ModelMetrics)
