"""Read whose an instance is from its header, without its pixels; PatientIDs stay in memory."""

from __future__ import annotations

from pathlib import Path

from pydicom import Dataset
from pydicom.config import disable_value_validation
from pydicom.tag import Tag

from gtr_batch.domain.identity import InstanceIdentity, PatientIdentity, normalised
from gtr_batch.reading import parse_dicom, read_dicom

KEYWORDS = (
    "PatientID", "IssuerOfPatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID",
)  # fmt: skip
_TAGS = [Tag(keyword) for keyword in KEYWORDS]


def read_identity(path: Path) -> InstanceIdentity | None:
    """What a file says of itself; None where it cannot be read that far."""
    try:
        return identity_of(read_dicom(path, tags=_TAGS, stop_before_pixels=True))
    except Exception:  # noqa: BLE001 - a broken file breaks pydicom in many ways: it does not say whose it is
        return None


def parse_identity(body: bytes) -> InstanceIdentity | None:
    """As `read_identity`, of a file's bytes."""
    try:
        return identity_of(parse_dicom(body, tags=_TAGS, stop_before_pixels=True))
    except Exception:  # noqa: BLE001 - as there
        return None


def identity_of(ds: Dataset) -> InstanceIdentity:
    """What a data set says of itself; an element that is absent is empty."""
    with disable_value_validation():  # its warnings would show the values
        patient_id, issuer, study, series, instance, sop_class = (normalised(ds.get(name)) for name in KEYWORDS)
    return InstanceIdentity(PatientIdentity(patient_id, issuer), study, series, instance, sop_class)
