"""QIDO-RS: nothing lost where the server gives its answers in pages, or fewer than it was asked for.

A page is asked for after another until one is empty: a short page says nothing, since a server may cut any of them. Of
series and instances the server says how many there are, and fewer are never taken for all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydicom import Dataset
from pydicom.tag import Tag

from gtr_batch.dicomweb.client import Server, media_type
from gtr_batch.domain.identifiers import AccessionNumber, Uid
from gtr_batch.domain.series import StudyRecord
from gtr_batch.errors import CaseRejected, ConfigError, PacsBusy, PermanentError, TransientError
from gtr_batch.logs import get_logger
from gtr_batch.query_answers import (
    answers_to,
    in_window,
    integer,
    studies_of_accession,
    study_record,
    text,
    texts,
)

log = get_logger("pacs")

JSON = "application/dicom+json"
MOST_BYTES = 64 * 1024**2  # of one page, or of the header of one instance
MOST_ANSWERS = 1_000_000
OF_STUDY = (
    "StudyInstanceUID", "PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyDate", "StudyTime",
    "StudyDescription", "ModalitiesInStudy", "NumberOfStudyRelatedSeries",
)  # fmt: skip
OF_SERIES = (
    "StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "ProtocolName",
    "BodyPartExamined", "NumberOfSeriesRelatedInstances",
)  # fmt: skip
OF_INSTANCE = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "InstanceNumber")
Query = Sequence[tuple[str, str]]


class Capped(PermanentError):
    """The server stopped before it had given all its answers, and does not give the rest."""


class Finder:
    """Asks one server."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def probe(self) -> int:
        """Ask for one study; how many came."""
        tried = "QIDO-RS of one study"
        return len(self._page("studies", [("limit", "1"), *_fields(["StudyInstanceUID"])], tried, OF_STUDY)[0])

    def studies(self, start: datetime, end: datetime, modality: str) -> list[StudyRecord]:
        """Studies with ``start <= study < end``, oldest first, each once; see `gtr_batch.pacs.find.StudyQuery.run`."""
        if end <= start:
            return []
        first, last = start.date(), (end - timedelta(microseconds=1)).date()
        dates = f"{first:%Y%m%d}" if first == last else f"{first:%Y%m%d}-{last:%Y%m%d}"
        found = self._all("studies", [("StudyDate", dates)], "QIDO-RS of studies", OF_STUDY)
        studies: dict[tuple[str, str], Dataset] = {}
        for ds in found:
            studies.setdefault((text(ds, "StudyInstanceUID"), text(ds, "PatientID")), ds)
        inside = [ds for ds in studies.values() if in_window(ds, start, end)]
        records = [study_record(ds) for ds in inside if self._has(ds, modality)]
        return sorted(records, key=lambda r: (r.study_at or start, r.study_uid))

    def study(self, study_uid: str) -> list[StudyRecord]:
        """A study, once for each patient that it is listed under."""
        records: dict[tuple[str, str], StudyRecord] = {}
        for ds in self._study(Uid(study_uid)):
            record = study_record(ds)
            records.setdefault((record.patient_id, record.issuer_of_patient_id), record)
        return list(records.values())

    def accession(self, wanted: AccessionNumber) -> list[StudyRecord]:
        """The studies of an accession number, which stands in no message and in no log."""
        tried = "QIDO-RS of the studies of an accession number"
        answers = self._all("studies", [("AccessionNumber", wanted)], tried, OF_STUDY)
        return studies_of_accession(wanted, answers, tried, self._server.peer)

    def series(self, study_uid: str) -> list[Dataset]:
        """All series of a study; as many as the server says there are."""
        study, tried = Uid(study_uid), f"QIDO-RS of the series of study {study_uid}"
        told = self._study(study)
        total = max((n for ds in told if (n := integer(ds, "NumberOfStudyRelatedSeries")) is not None), default=None)
        answers = self._all(f"studies/{study}/series", [], tried, OF_SERIES, total)
        own = answers_to({"StudyInstanceUID": study}, answers, tried, self._server.peer)
        return self._complete(own, "SeriesInstanceUID", total, tried)

    def instances(self, study_uid: str, series_uid: str) -> list[Dataset]:
        """All instances of a series; as many as the server says there are."""
        study, series = Uid(study_uid), Uid(series_uid)
        tried = f"QIDO-RS of the instances of series {series_uid}"
        asked = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
        of_series = self._all(f"studies/{study}/series", [("SeriesInstanceUID", series)], tried, OF_SERIES, 1)
        told = [ds for ds in of_series if text(ds, "SeriesInstanceUID") == series]
        total = max(
            (n for ds in told if (n := integer(ds, "NumberOfSeriesRelatedInstances")) is not None), default=None
        )
        answers = self._all(f"studies/{study}/series/{series}/instances", [], tried, OF_INSTANCE, total)
        own = answers_to(asked, answers, tried, self._server.peer)
        return self._complete(own, "SOPInstanceUID", total, tried)

    def header(self, study_uid: str, series_uid: str, sop_uid: str, keywords: Sequence[str]) -> Dataset | None:
        """What WADO-RS shows of an instance's header; None where the server has no such instance."""
        tried = f"WADO-RS of the metadata of instance {sop_uid}"
        path = f"studies/{Uid(study_uid)}/series/{Uid(series_uid)}/instances/{Uid(sop_uid)}/metadata"
        found = self._page(path, [], tried, keywords)[0]
        if len(found) > 1:
            raise PermanentError(f"{tried} at {self._server.peer}: {len(found)} answers to one question; not retried")
        return found[0] if found else None

    def _study(self, study: Uid) -> list[Dataset]:
        tried = f"QIDO-RS of study {study}"
        answers = self._all("studies", [("StudyInstanceUID", study)], tried, OF_STUDY)
        return answers_to({"StudyInstanceUID": study}, answers, tried, self._server.peer)

    def _has(self, ds: Dataset, modality: str) -> bool:
        listed = texts(ds, "ModalitiesInStudy")
        if not listed:  # a server that does not say: look at the series
            try:
                series = self.series(text(ds, "StudyInstanceUID"))
            except (CaseRejected, PacsBusy):
                return True  # intake asks again, and refuses or notes this study alone
            listed = tuple(sorted({value for one in series if (value := text(one, "Modality"))}))
            ds.ModalitiesInStudy = list(listed)
        return modality in listed

    def _all(
        self, path: str, query: Query, tried: str, keywords: Sequence[str], total: int | None = None
    ) -> list[Dataset]:
        """The answers of all pages: until there are `total`, where that is known, or a page is empty."""
        found: list[Dataset] = []
        seen: set[str] = set()
        page_size, at = self._server.config.page, 0
        while total is None or len(found) < total:
            paging = [("limit", str(page_size)), ("offset", str(at))]
            page, more, names = self._page(path, [*query, *_fields(keywords), *paging], tried, keywords)
            if not page:
                break
            new = [ds for ds, name in zip(page, names, strict=True) if name not in seen]
            seen.update(names)
            if not new:  # the same page again: a server that does not page, and that says whether this was all
                if more or len(page) >= page_size:
                    raise self._capped(tried, len(found))
                break
            found += new
            at += len(page)
            if len(found) > MOST_ANSWERS:
                raise PermanentError(f"{tried} at {self._server.peer}: more than {MOST_ANSWERS} answers; not retried")
        return found

    def _page(
        self, path: str, query: Query, tried: str, keywords: Sequence[str]
    ) -> tuple[list[Dataset], bool, list[str]]:
        """One answer: its items, whether the server says that there are more, and a name for each item."""
        with self._server.get(path, tried, JSON, query) as answer:
            if answer.status_code == 204 or (answer.status_code in (404, 410) and path != "studies"):
                return [], False, []
            if answer.status_code == 404:
                raise ConfigError(f"{tried} at {self._server.peer}: HTTP 404, no QIDO-RS is there; check dicomweb.url")
            if answer.status_code != 200:
                raise self._server.refusal(tried, answer.status_code)
            body = self._server.whole_body(answer, tried, MOST_BYTES)
            kind, warned = media_type(answer), _says_that_there_are_more(answer.headers.get("Warning", ""))
        if kind not in (JSON, "application/json"):
            raise PermanentError(
                f"{tried} at {self._server.peer}: the answer is no DICOM JSON (another Content-Type): check that "
                "dicomweb.url is that of the DICOMweb service; not retried"
            )
        items = self._items(body, tried)
        return [self._dataset(item, keywords, tried, path) for item in items], warned, [_name_of(i) for i in items]

    def _items(self, body: bytes, tried: str) -> list[Mapping[str, Any]]:
        try:
            items = json.loads(body)  # nothing at all is no empty list: it may have been cut
        except (ValueError, RecursionError):
            items = None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise PermanentError(f"{tried} at {self._server.peer}: the answer is no DICOM JSON; not retried")
        return items

    def _dataset(self, item: Mapping[str, Any], keywords: Sequence[str], tried: str, path: str) -> Dataset:
        tags = {f"{Tag(keyword):08X}" for keyword in keywords}
        try:
            return Dataset.from_json(
                {tag.upper(): element for tag, element in item.items() if tag.upper() in tags},
                lambda *_: None,  # nothing is fetched from an address that an answer names
            )
        except Exception as err:  # noqa: BLE001 - pydicom raises anything on values of the wrong kind
            if path == "studies":  # one study among many that nobody can read: it has no UID then, and intake says so
                return Dataset()
            raise PermanentError(
                f"{tried} at {self._server.peer}: an answer cannot be decoded ({type(err).__name__}); not retried"
            ) from None

    def _complete(self, answers: Sequence[Dataset], unique: str, total: int | None, tried: str) -> list[Dataset]:
        found = list({text(ds, unique): ds for ds in answers}.values())
        if total is not None and len(found) < total:
            raise TransientError(
                f"{tried} at {self._server.peer}: {len(found)} of {total} were listed; the list would be incomplete "
                "and was not taken. Asked again later; where it stays so, raise the limit of answers in the PACS"
            )
        return found

    def _capped(self, tried: str, count: int) -> Capped:
        return Capped(
            f"{tried} at {self._server.peer}: the server stopped after {count} answers and gives the same ones for the "
            "next page; the list would be incomplete and was not taken. Raise the limit of answers in the PACS"
        )


def _fields(keywords: Iterable[str]) -> list[tuple[str, str]]:
    return [("includefield", f"{Tag(keyword):08X}") for keyword in keywords]


def _says_that_there_are_more(warning: str) -> bool:
    """Whether a *Warning* says so (PS3.18, 10.6.3.1); the same number warns of other things too."""
    return "299" in warning and any(word in warning.lower() for word in ("exceed", "additional"))


def _name_of(item: Mapping[str, Any]) -> str:
    """An answer, to be known again."""
    return json.dumps(item, sort_keys=True)
