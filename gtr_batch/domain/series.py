"""What the PACS told us about studies, series and instances (C-FIND), before any pixel."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import field, frozen

from gtr_batch.domain.identity import PatientIdentity


@frozen
class StudyRecord:
    """One study as C-FIND returned it."""

    study_uid: str
    patient_id: str = field(repr=False)
    accession_number: str = field(default="", repr=False)
    study_at: datetime | None = None  # naive, the PACS's own wall clock
    description: str = ""
    modalities: tuple[str, ...] = ()
    issuer_of_patient_id: str = field(default="", repr=False)  # empty where the PACS does not say

    @property
    def patient(self) -> PatientIdentity:
        """Whose study it is."""
        return PatientIdentity(self.patient_id, self.issuer_of_patient_id)


@frozen
class SeriesRecord:
    """One series as C-FIND returned it; the PACS may leave any text empty."""

    study_uid: str
    series_uid: str
    modality: str
    description: str = ""
    protocol: str = ""
    body_part: str = ""
    series_number: int | None = None
    instances: int | None = None  # NumberOfSeriesRelatedInstances, where the PACS tells


@frozen
class InstanceRecord:
    """One instance as C-FIND returned it."""

    sop_instance_uid: str
    sop_class_uid: str = ""
    instance_number: int | None = None


@frozen
class SeriesEvidence:
    """A candidate series with what a few probe instances showed.

    `headers` holds plain values by DICOM keyword of one probe (``"SeriesDescription"``, ``"ImageType"`` as a list,
    ``"ContrastBolusAgent"``, ``"ConvolutionKernel"``, ``"SliceThickness"``, …), identity left out.
    `contrast` holds HU evidence where pixels were looked at (`gtr_batch.intake` says which keys).
    """

    record: SeriesRecord
    headers: Mapping[str, Any] = field(factory=dict, repr=False)
    contrast: Mapping[str, float] = field(factory=dict)
    coverage_mm: float | None = None
