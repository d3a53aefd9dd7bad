"""What every object of a case shares."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from attrs import frozen
from pydicom import Dataset

from gtr_batch.config import ReportConfig
from gtr_batch.domain.case import Case
from gtr_batch.domain.delivery import ObjectKind
from gtr_batch.domain.model import ModelManifest
from gtr_batch.report.identity import NO_UID, Author, series_description, series_number, series_uid, written_at
from gtr_batch.report.sources import character_set


@frozen
class Context:
    """Case, author, date and the source headers (in the order below, key, above; one for a refusal)."""

    case: Case
    author: Author
    sources: tuple[Dataset, ...]
    when: datetime
    config: ReportConfig

    @classmethod
    def of(
        cls,
        case: Case,
        *,
        manifest: ModelManifest,
        model_version: str,
        sources: Sequence[Dataset],
        config: ReportConfig,
        written: datetime | None,
    ) -> Context:
        """`written` where the caller has a stable moment to give, else `written_at`."""
        author = Author.of(manifest, model_version, config.manufacturer, config.institution)
        return cls(case, author, tuple(sources), written or written_at(case, sources), config)

    @property
    def evidence(self) -> list[Dataset]:
        """The source headers, each instance once (a neighbour is used twice at the end of a series)."""
        return list({ds.SOPInstanceUID: ds for ds in self.sources}.values())

    def attributes_of_study(self) -> dict[str, Any]:
        """Patient and study, as highdicom's constructors that take no source images want them."""
        study = self.sources[0]
        return {
            "study_instance_uid": study.StudyInstanceUID,
            "patient_id": study.PatientID,
            "patient_name": study.PatientName,
            "patient_birth_date": study.PatientBirthDate or None,
            "patient_sex": study.PatientSex,
            "accession_number": study.AccessionNumber,
            "study_id": study.StudyID,
            "study_date": study.StudyDate or None,
            "study_time": study.StudyTime or None,
            "referring_physician_name": study.ReferringPhysicianName,
        }

    def attributes(self, kind: ObjectKind) -> dict[str, Any]:
        """What highdicom's constructors take for all kinds alike."""
        source, author = self.sources[0], self.author
        day, clock = self.when.strftime("%Y%m%d"), self.when.strftime("%H%M%S")
        optional = {"institution_name": author.institution} if author.institution else {}
        return {
            "series_instance_uid": series_uid(source.StudyInstanceUID, author.model_version, kind),
            "series_number": series_number(self.config.series_number_base, kind),
            "series_description": series_description(kind),
            "series_date": day,
            "series_time": clock,
            "content_date": day,
            "content_time": clock,
            "sop_instance_uid": NO_UID,
            "instance_number": 1,
            "manufacturer": author.manufacturer,
            "manufacturer_model_name": author.name,
            "device_serial_number": author.serial_number,
            "software_versions": list(author.software_versions),
            "specific_character_set": None,  # see `settle`: highdicom knows only some of those that are valid
            **optional,
        }

    def settle(self, ds: Dataset) -> Dataset:
        """Replace what the libraries took from the clock, and set the character set; returns `ds`."""
        day, clock = self.when.strftime("%Y%m%d"), self.when.strftime("%H%M%S")
        ds.InstanceCreationDate, ds.InstanceCreationTime = day, clock
        for keyword, value in (("DateOfSecondaryCapture", day), ("TimeOfSecondaryCapture", clock)):
            if keyword in ds:
                setattr(ds, keyword, value)
        for item in ds.get("ContributingEquipmentSequence") or []:
            if item.get("ManufacturerModelName") == "highdicom":
                del item.ContributionDateTime
        author = self.author
        own_text = (author.manufacturer, author.name, author.institution, *_texts(ds))
        characters = character_set(self.sources[0], own_text)
        if characters:
            ds.SpecificCharacterSet = characters
        elif "SpecificCharacterSet" in ds:
            del ds.SpecificCharacterSet
        return ds


def _texts(item: Dataset) -> list[str]:
    children = item.get("ContentSequence") or []
    own = (str(item.get(keyword, "") or "") for keyword in ("TextValue", "PersonName"))
    return [*own, *(text for child in children for text in _texts(child))]


def reference_to(source: Dataset) -> Dataset:
    """An item of a sequence of references that names an instance by its SOP class and UID."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return item
