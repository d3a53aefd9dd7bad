"""The port `ImageArchive` over datasets in memory: a PACS that arrives at, and falls silent, when a test says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydicom import Dataset

from gtr_batch.domain.identity import SeriesIdentity
from gtr_batch.domain.series import InstanceRecord, SeriesRecord, StudyRecord
from gtr_batch.errors import PacsUnreachable
from gtr_batch.ports import Progress


class ArchiveOfFiles:
    """Holds what `arrive` is given; `promised` is told as the number of instances of a series, where it is set."""

    def __init__(self) -> None:
        self.held: list[Dataset] = []
        self.promised: dict[str, int] = {}
        self.fetched = 0
        self.silent_for: set[str] = set()  # Study Instance UIDs; "*" for everything
        self.asked: list[str] = []  # studies below whose level something was asked

    def arrive(self, *instances: Dataset) -> None:
        self.held += instances

    @contextmanager
    def connected(self, to_store: Sequence[Path] = ()) -> Iterator[None]:
        yield

    def echo(self) -> None:
        self._answer("*")

    def refused_services(self, *, pdf: bool = False, retrieve: bool = True, store: bool = True) -> list[str]:
        return []

    def find_studies(self, start: datetime, end: datetime, modality: str = "CT") -> list[StudyRecord]:
        self._answer("*")
        studies = {ds.StudyInstanceUID: ds for ds in reversed(self.held)}
        found = []
        for uid, ds in sorted(studies.items()):
            at = datetime.strptime(f"{ds.StudyDate}{ds.StudyTime[:6]}", "%Y%m%d%H%M%S")
            if start <= at < end:
                found.append(StudyRecord(uid, ds.PatientID, ds.AccessionNumber, at, "", ("CT",)))
        return found

    def find_series(self, study_uid: str) -> list[SeriesRecord]:
        self.asked.append(study_uid)
        self._answer(study_uid)
        of_study = {ds.SeriesInstanceUID: ds for ds in self.held if ds.StudyInstanceUID == study_uid}
        return [
            SeriesRecord(study_uid, uid, ds.Modality, ds.SeriesDescription, instances=self._told(uid))
            for uid, ds in sorted(of_study.items())
        ]

    def find_instances(self, study_uid: str, series_uid: str) -> list[InstanceRecord]:
        self.asked.append(study_uid)
        self._answer(study_uid)
        return [InstanceRecord(ds.SOPInstanceUID, ds.SOPClassUID, ds.InstanceNumber) for ds in self._of(series_uid)]

    def find_study(self, study_uid: str) -> list[StudyRecord]:
        self._answer(study_uid)
        return [study for study in self.find_studies(datetime.min, datetime.max) if study.study_uid == study_uid]

    def find_accession(self, accession_number: str) -> list[StudyRecord]:
        found = self.find_studies(datetime.min, datetime.max)
        return [study for study in found if study.accession_number == accession_number]

    def retrieve(
        self,
        study_uid: str,
        series_uid: str,
        expected: Sequence[str],
        folder: Path,
        progress: Progress | None = None,
        *,
        identity: SeriesIdentity | None = None,
    ) -> list[Path]:
        self._answer(study_uid)
        self.fetched += len(expected)
        for ds in self._of(series_uid):
            if ds.SOPInstanceUID in expected:
                ds.save_as(folder / f"{ds.SOPInstanceUID}.dcm", enforce_file_format=True)
        return [folder / f"{uid}.dcm" for uid in expected]

    def _told(self, series_uid: str) -> int:
        return self.promised.get(series_uid, len(self._of(series_uid)))

    def _of(self, series_uid: str) -> list[Dataset]:
        return [ds for ds in self.held if ds.SeriesInstanceUID == series_uid]

    def _answer(self, study_uid: str) -> None:
        if self.silent_for & {study_uid, "*"}:
            raise PacsUnreachable("no answer from AE 'PACS'; tried again later")
