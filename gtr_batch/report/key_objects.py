"""The Key Object Selection: the key slice and the overlay, one click away (TID 2010)."""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom import Dataset

from gtr_batch.domain.delivery import ObjectKind
from gtr_batch.report import codes
from gtr_batch.report.context import Context
from gtr_batch.report.measurement_report import observer


def build_selection(context: Context, objects: Sequence[Dataset]) -> Dataset:
    """A selection "Of Interest" that points at `objects` (headers of the key slice and of what we made of it)."""
    ds = KeyObjectSelectionDocument(
        evidence=list(objects),
        content=KeyObjectSelection(
            document_title=codes.OF_INTEREST,
            referenced_objects=list(objects),
            observer_device_context=observer(context.author),
            description=f"{codes.NOT_VERIFIED}: key slice of the gastric T stage",
        ),
        **context.attributes(ObjectKind.KEY_OBJECTS),
    )
    for item in ds.ContentSequence:
        if item.ValueType == "IMAGE" and "ConceptNameCodeSequence" in item:
            del item.ConceptNameCodeSequence  # TID 2010, row 8 forbids the purpose that highdicom writes
    ds.copy_patient_and_study_information(context.sources[0])
    return context.settle(ds)
