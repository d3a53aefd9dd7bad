"""Who wrote an object, when, and under which UIDs: the same every time the same answer is written.

* Series Instance UID from (study, model digest, kind).
* SOP Instance UID from the series, the content digest and the predecessors. The content digest is the SHA-256 of the
  encoded object before it has a UID or predecessors, so that equal UIDs mean equal bytes.
* Dates come from the data, never from a clock: see `written_at`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime, time
from io import BytesIO
from pathlib import Path

from attrs import evolve, frozen
from pydicom import Dataset
from pydicom.uid import UID

from gtr_batch import __version__
from gtr_batch.domain.case import Case
from gtr_batch.domain.delivery import ObjectKind, Predecessor, ReportObject
from gtr_batch.domain.identifiers import Uid, derived_uid
from gtr_batch.domain.model import ModelManifest
from gtr_batch.reading import read_dicom
from gtr_batch.report.codes import NOT_VERIFIED
from gtr_batch.writing import full_disk_is_transient, make_folder, write_bytes

NO_UID = "2.25.1"  # stands in for the SOP Instance UID while the content digest is taken

_SERIES: dict[ObjectKind, tuple[int, str]] = {
    ObjectKind.STRUCTURED_REPORT: (1, "gastric T stage"),
    ObjectKind.PARAMETRIC_MAP: (2, "heat map"),
    ObjectKind.SECONDARY_CAPTURE: (3, "heat map overlay"),
    ObjectKind.KEY_OBJECTS: (4, "key slice"),
    ObjectKind.REJECTION: (5, "withdrawn result"),
    ObjectKind.ENCAPSULATED_PDF: (6, "page of the case"),
    ObjectKind.READER_WORD: (7, "Reader's word on an AI result"),
}
_DOCUMENTS = (  # which name what they replace
    ObjectKind.STRUCTURED_REPORT,
    ObjectKind.ENCAPSULATED_PDF,
    ObjectKind.READER_WORD,
)


@frozen
class Author:
    """The device that made the objects, as the General Equipment Module and the SR's device observer name it."""

    uid: Uid
    name: str
    manufacturer: str
    model_version: str
    institution: str

    @classmethod
    def of(cls, manifest: ModelManifest, model_version: str, manufacturer: str, institution: str) -> Author:
        """The author for a model; `model_version` is the SHA-256 digest of the artefact."""
        name = f"{manifest.name} (demo, not for patients)" if manifest.demo else manifest.name
        return cls(derived_uid("device", model_version), name[:64], manufacturer[:64], model_version, institution[:64])

    @property
    def software_versions(self) -> tuple[str, ...]:
        """*Software Versions* (0018,1020): this service's version and the model digest (LO, 64 characters each)."""
        return __version__, self.model_version[:64]

    @property
    def serial_number(self) -> str:
        """*Device Serial Number* (0018,1000): the head of the model digest."""
        return self.model_version[:16]


def series_uid(study_uid: str, model_version: str, kind: ObjectKind) -> Uid:
    """Series Instance UID of the objects of one kind that one model wrote for a study."""
    return derived_uid("series", study_uid, model_version, kind)


def series_description(kind: ObjectKind) -> str:
    """*Series Description* (0008,103E); of an AI's result it says first that no one has verified it."""
    return _SERIES[kind][1] if kind is ObjectKind.READER_WORD else f"{NOT_VERIFIED}: {_SERIES[kind][1]}"


def series_number(base: int, kind: ObjectKind) -> int:
    """*Series Number* (0020,0011)."""
    return base + _SERIES[kind][0]


def written_at(case: Case, sources: Sequence[Dataset]) -> datetime:
    """The date and time that every object of a case carries, the same on every retry.

    The last second of the night's date, or the source instances' latest acquisition or content time where that is
    later (a window may reach into the next day): an object is never dated before what it is about.
    """
    moments = [datetime.combine(case.night, time(23, 59, 59))]
    for ds in sources:
        for what in ("Study", "Series", "Acquisition", "Content"):
            with contextlib.suppress(ValueError):
                day = str(ds.get(f"{what}Date", "") or "")
                clock = (str(ds.get(f"{what}Time", "") or "") + "000000")[:6]
                moments.append(datetime.strptime(f"{day}{clock}", "%Y%m%d%H%M%S"))  # noqa: DTZ007 (DICOM: local time)
    return max(moments)


def write_object(
    folder: Path, ds: Dataset, kind: ObjectKind, previous: Sequence[ReportObject] = ()
) -> tuple[ReportObject, Dataset]:
    """Give an object its UIDs and write it, unless the same answer is there already.

    Parameters
    ----------
    folder : Path
        Where the file goes, as ``<kind>-<SOP Instance UID>.dcm``; it appears under its name only when it is intact.
    ds : Dataset
        The object, with `NO_UID` for its own; changed in place.
    previous : sequence of ReportObject
        What was written for this case before. An unchanged answer keeps its file and UID, and is the same object again
        where its file was lost; a changed one names those of its own kind as predecessors, where the object is a
        document that can (PS3.3, C.17.2 and C.24.2).

    Returns
    -------
    ReportObject and its dataset
    """
    digest = hashlib.sha256(_encoded(ds)).hexdigest()
    before = [p for p in previous if p.kind is kind]
    for old in before:
        if old.content_digest == digest and old.series_uid == ds.SeriesInstanceUID:
            if is_as_written(folder, old):
                _name(ds, old.sop_instance_uid)
                return old, ds
            if _instance_uid(old) == old.sop_instance_uid:  # its file is gone or cut
                return _written(folder, ds, old), ds
    predecessors = tuple(p.as_predecessor() for p in before if kind in _DOCUMENTS and p.content_digest != digest)
    new = ReportObject(kind, str(ds.SOPClassUID), "", str(ds.SeriesInstanceUID), "", digest, predecessors)
    uid = _instance_uid(new)
    return _written(folder, ds, evolve(new, sop_instance_uid=uid, file=f"{kind}-{uid}.dcm")), ds


def _instance_uid(one: ReportObject) -> Uid:
    return derived_uid(
        "instance", one.series_uid, one.content_digest, *sorted(p.sop_instance_uid for p in one.predecessors)
    )


def _written(folder: Path, ds: Dataset, one: ReportObject) -> ReportObject:
    """Write a dataset as this object: with its UID, and the predecessors that it names."""
    if one.predecessors:
        ds.PredecessorDocumentsSequence = [_reference(str(ds.StudyInstanceUID), p) for p in one.predecessors]
    _name(ds, one.sop_instance_uid)
    with full_disk_is_transient(folder):
        make_folder(folder)
    write_bytes(folder / one.file, _encoded(ds))
    return one


@contextlib.contextmanager
def all_or_none(folder: Path) -> Iterator[list[ReportObject]]:
    """A list for the objects of one answer; where the block raises, those in it that were not there before are removed.

    A heat map without the report that says what it shows must not lie about.
    """
    before = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    objects: list[ReportObject] = []
    try:
        yield objects
    except BaseException:
        for one in objects:
            if one.file not in before:
                (folder / one.file).unlink(missing_ok=True)
        raise


def is_as_written(folder: Path, written: ReportObject) -> bool:
    """Whether an object's file is there and has the content that was written, by its digest."""
    try:
        ds = read_dicom(folder / written.file)
        uid = str(ds.SOPInstanceUID)
        _name(ds, NO_UID)
        if "PredecessorDocumentsSequence" in ds:
            del ds.PredecessorDocumentsSequence
        return uid == written.sop_instance_uid and hashlib.sha256(_encoded(ds)).hexdigest() == written.content_digest
    except Exception:  # noqa: BLE001 - a cut file breaks pydicom in many ways; it is written again
        return False


def _name(ds: Dataset, uid: str) -> None:
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(uid)


def _reference(study_uid: str, previous: Predecessor) -> Dataset:
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID = previous.sop_class_uid
    instance.ReferencedSOPInstanceUID = previous.sop_instance_uid
    series.SeriesInstanceUID, series.ReferencedSOPSequence = previous.series_uid, [instance]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = study_uid, [series]
    return study


def _encoded(ds: Dataset) -> bytes:
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
