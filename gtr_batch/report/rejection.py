"""The key object that rejects a withdrawn model's report in the PACS: IHE Imaging Object Change Management (IOCM).

A PACS that implements the profile hides what it references from whoever reads; any other stores it like every key
object.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom import Dataset
from pydicom.uid import UID

from gtr_batch.config import ReportConfig
from gtr_batch.domain.case import Case
from gtr_batch.domain.delivery import ObjectKind, Predecessor, ReportObject
from gtr_batch.domain.model import ModelManifest
from gtr_batch.report import codes
from gtr_batch.report.context import Context
from gtr_batch.report.identity import write_object
from gtr_batch.report.measurement_report import observer
from gtr_batch.report.quiet import quiet
from gtr_batch.report.withdrawal_report import context_about

_IMAGES = ("ParametricMapStorage", "SecondaryCaptureImageStorage")  # of what we write


@quiet()
def write_rejection(
    folder: Path,
    *,
    case: Case,
    report_file: Path,
    rejected: ReportObject,
    beside: Sequence[Predecessor],
    manifest: ModelManifest,
    model_version: str,
    withdrawn_at: datetime,
    config: ReportConfig,
) -> ReportObject:
    """Write the key object that rejects a report, and the pictures that were sent beside it.

    Dated by the withdrawal, as the notice is: written again, it is the same object, byte for byte.

    Parameters
    ----------
    folder : Path
        Where it goes.
    report_file : Path
        The report, from which patient and study are copied.
    rejected : ReportObject
        The same report as the case book has it.
    beside : sequence of Predecessor
        The other objects of the same study and model that the PACS took: they show the same result.
    withdrawn_at : datetime
        Hospital time of the withdrawal.

    Raises
    ------
    PermanentError
        The file is no such report.

    References
    ----------
    IHE RAD TF-2, 4.66.4.1.3 (Rejection Note Stored); DICOM PS3.16, CID 7010 and TID 2010
    """
    context = context_about(
        rejected, report_file, case=case, manifest=manifest, model_version=model_version, config=config, at=withdrawn_at
    )
    document = build_rejection(context, [rejected.as_predecessor(), *beside])
    return write_object(folder, document, ObjectKind.REJECTION)[0]


def build_rejection(context: Context, rejected: Sequence[Predecessor]) -> Dataset:
    """A selection "Rejected for Patient Safety Reasons" of these instances of the study."""
    source = context.sources[0]
    objects = [_header(source, one) for one in rejected]
    ds = KeyObjectSelectionDocument(
        evidence=objects,
        content=KeyObjectSelection(
            document_title=codes.REJECTED_FOR_PATIENT_SAFETY,
            referenced_objects=objects,
            observer_device_context=observer(context.author),
            description=f"The model that made this result was withdrawn on {context.when:%Y-%m-%d}: not to be used",
        ),
        **context.attributes(ObjectKind.REJECTION),
    )
    for item in ds.ContentSequence:
        if item.ValueType in ("IMAGE", "COMPOSITE") and "ConceptNameCodeSequence" in item:
            del item.ConceptNameCodeSequence  # TID 2010, row 8 forbids the purpose that highdicom writes
    ds.copy_patient_and_study_information(source)
    return context.settle(ds)


def _header(source: Dataset, one: Predecessor) -> Dataset:
    """As much of an instance as a reference takes, and the patient and study of the report."""
    ds = Dataset()
    for keyword in (
        *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
        *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"),
    ):
        setattr(ds, keyword, source.get(keyword, ""))
    ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = one.sop_class_uid, one.sop_instance_uid, one.series_uid
    if UID(one.sop_class_uid).keyword in _IMAGES:
        ds.Rows = ds.Columns = 1  # by which highdicom knows an image from another composite object
    return ds
