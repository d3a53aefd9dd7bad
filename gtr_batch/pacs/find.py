"""C-FIND, Study Root: nothing lost where the PACS caps its answers.

A night is asked for by date alone, and filtered by time on our side: a range of StudyDate and a range of StudyTime
together mean "these times of each of these days" to some PACS and "from this moment to that" to others (PS3.4,
C.2.2.2.5), and a range of StudyTime hides studies that have none. Only where the PACS caps its answers is the window
split: at midnight first, then into ranges of StudyTime within one date, down to a minute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import date, datetime, timedelta

from pydicom import Dataset
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND

from gtr_batch.domain.identifiers import AccessionNumber, Uid
from gtr_batch.domain.series import InstanceRecord, SeriesRecord, StudyRecord
from gtr_batch.errors import AssociationLost, CaseRejected, ConfigError, PacsBusy, PermanentError
from gtr_batch.logs import get_logger
from gtr_batch.pacs.association import Caller, OpenAssociation, refusal
from gtr_batch.query_answers import (
    answers_to,
    in_window,
    instance_records,
    series_records,
    studies_of_accession,
    study_record,
    study_time,
    text,
    texts,
)

log = get_logger("pacs")

PENDING = (0xFF00, 0xFF01)
_DAY = 24 * 60  # minutes


class Capped(PermanentError):
    """The PACS stopped before it had given all its answers, and the question cannot be made smaller."""


class StudyQuery:
    """One search for studies.

    Parameters
    ----------
    caller : Caller
        Opens the associations: one, and another after each answer that did not end in Success. Some PACS send Success
        after a warning; on the same association it would be taken for the end of the next answer.
    start, end : datetime
        Naive, the PACS's own wall clock; ``start <= study < end``.
    modality : str
        Studies without a series of it are left out.
    answer_cap : int
        Answers after which this PACS is known to stop; 0 where it says so by its status.
    """

    def __init__(self, caller: Caller, start: datetime, end: datetime, modality: str, answer_cap: int) -> None:
        self._caller, self._start, self._end = caller, start, end
        self._modality, self._cap = modality, answer_cap
        self._stack = ExitStack()
        self._open: OpenAssociation | None = None
        self._found: dict[tuple[str, str], Dataset] = {}

    def run(self) -> list[StudyRecord]:
        """All studies of the window, oldest first, each once.

        A study of unknown time belongs to the window where its date does. Two patients under one Study Instance UID
        (a PACS that keeps them apart lists both) are two records: that is for intake to refuse, not for us to hide.
        """
        if self._end <= self._start:
            return []
        with self._stack:
            self._days(self._start.date(), (self._end - timedelta(microseconds=1)).date())
            inside = [
                ds for ds in self._found.values() if in_window(ds, self._start, self._end) and self._of_modality(ds)
            ]
        return sorted(map(study_record, inside), key=lambda r: (r.study_at or self._start, r.study_uid))

    def _line(self) -> OpenAssociation:
        if self._open is None or self._open.spent:
            self._stack.close()
            self._open = self._stack.enter_context(self._caller.associate([build_context(FIND)]))
        return self._open

    def _days(self, first: date, last: date) -> None:
        dates = f"{first:%Y%m%d}" if first == last else f"{first:%Y%m%d}-{last:%Y%m%d}"
        if not self._ask(dates, ""):
            return
        if first < last:
            middle = first + (last - first) // 2
            self._days(first, middle)
            self._days(middle + timedelta(days=1), last)
            return
        timeless = sum(1 for ds in self._found.values() if text(ds, "StudyDate") == dates and study_time(ds) is None)
        if timeless:
            # A range of StudyTime cannot find these; the ones seen are kept, others of the day may stay unseen.
            log.warning("pacs.find.studies_without_time", date=dates, seen=timeless, peer=self._caller.peer)
        low, high = 0, _DAY
        if first == self._start.date():
            low = self._start.hour * 60 + self._start.minute
        if first == self._end.date():
            high = min(
                _DAY, self._end.hour * 60 + self._end.minute + (self._end.second > 0 or self._end.microsecond > 0)
            )
        if (low, high) == (0, _DAY):
            self._minutes(dates, 0, _DAY // 2)
            self._minutes(dates, _DAY // 2, _DAY)
        else:
            self._minutes(dates, low, high)

    def _minutes(self, day: str, low: int, high: int) -> None:
        """Studies of one date with ``low <= minute of the day < high``."""
        last = high - 1
        # Lower bound without seconds: PACS that compare text would miss a StudyTime that is stored as HHMM.
        span = f"{low // 60:02}{low % 60:02}-{last // 60:02}{last % 60:02}59.999999"
        if not self._ask(day, span):
            return
        if high - low <= 1:
            raise Capped(
                f"C-FIND of studies at {self._caller.peer} on {day}, times {span}: the PACS caps its answers "
                "even within one minute; nothing of this night was taken. Raise the limit of answers in the PACS"
            )
        middle = (low + high) // 2
        self._minutes(day, low, middle)
        self._minutes(day, middle, high)

    def _ask(self, dates: str, times: str) -> bool:
        """Ask once and keep the answers; whether the PACS capped them."""
        query = identifier(
            "STUDY", StudyDate=dates, StudyTime=times, StudyInstanceUID="", PatientID="", IssuerOfPatientID="",
            AccessionNumber="", StudyDescription="", ModalitiesInStudy="",
        )  # fmt: skip
        answers, capped = find(self._line(), query, "C-FIND of studies", self._cap)
        for ds in answers:
            self._found.setdefault((text(ds, "StudyInstanceUID"), text(ds, "PatientID")), ds)
        log.debug("pacs.find.asked", dates=dates, times=times, answers=len(answers), capped=capped)
        return capped

    def _of_modality(self, ds: Dataset) -> bool:
        listed = texts(ds, "ModalitiesInStudy")
        if not listed:  # an optional key that this PACS does not know: look at the series
            try:
                series = find_series(self._line(), text(ds, "StudyInstanceUID"))
            except (CaseRejected, PacsBusy):
                return True  # intake asks again, and refuses or notes this study alone
            except AssociationLost:
                self._line().spent = True
                return True
            except ConfigError:
                raise
            except PermanentError:
                return True
            listed = tuple(sorted({record.modality for record in series if record.modality}))
            ds.ModalitiesInStudy = list(listed)
        return self._modality in listed


def find_study(line: OpenAssociation, study_uid: str) -> list[StudyRecord]:
    """A study as the PACS lists it now, once for each patient that it is listed under; empty where it is not.

    Raises
    ------
    CaseRejected
        Code ``invalid_uid``, or ``identity_mismatch`` where every answer names another study.
    """
    query = identifier(
        "STUDY", StudyInstanceUID=Uid(study_uid), PatientID="", IssuerOfPatientID="", AccessionNumber="",
        StudyDate="", StudyTime="", StudyDescription="",
    )  # fmt: skip
    tried = f"C-FIND of study {study_uid}"
    records: dict[tuple[str, str], StudyRecord] = {}
    for ds in _own(line, _complete(line, query, tried, 0), query, tried):
        record = study_record(ds)
        records.setdefault((record.patient_id, record.issuer_of_patient_id), record)
    return list(records.values())


def find_accession(line: OpenAssociation, wanted: AccessionNumber, answer_cap: int = 0) -> list[StudyRecord]:
    """The studies of an accession number, each once for each patient that it is listed under; empty where none is.

    The number stands in no message and in no log.

    Raises
    ------
    PermanentError
        Every answer has another accession number: the PACS does not look at it.
    """
    query = identifier(
        "STUDY", AccessionNumber=wanted, StudyInstanceUID="", PatientID="", IssuerOfPatientID="", StudyDate="",
        StudyTime="", StudyDescription="", ModalitiesInStudy="",
    )  # fmt: skip
    tried = "C-FIND of the studies of an accession number"
    return studies_of_accession(wanted, _complete(line, query, tried, answer_cap), tried, line.peer)


def find_series(line: OpenAssociation, study_uid: str, answer_cap: int = 0) -> list[SeriesRecord]:
    """All series of a study, by series number.

    Raises
    ------
    CaseRejected
        Code ``invalid_uid``: an empty UID in a query would mean "all studies". Code ``identity_mismatch``: every answer
        names another study.
    """
    query, tried = series_query(Uid(study_uid)), f"C-FIND of the series of study {study_uid}"
    return series_records(study_uid, _own(line, _complete(line, query, tried, answer_cap), query, tried))


def series_query(study_uid: Uid, **keys: str) -> Dataset:
    """Identifier that asks for the series of a study; `keys` that they must match."""
    asked = dict.fromkeys(
        ("SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "ProtocolName", "BodyPartExamined",
         "NumberOfSeriesRelatedInstances"), "",
    )  # fmt: skip
    return identifier("SERIES", StudyInstanceUID=study_uid, **{**asked, **keys})


def find_instances(line: OpenAssociation, study_uid: str, series_uid: str, answer_cap: int = 0) -> list[InstanceRecord]:
    """All instances of a series, by instance number.

    Raises
    ------
    CaseRejected
        Code ``invalid_uid``, or ``identity_mismatch`` where every answer names another study or series.
    """
    query, tried = instance_query(Uid(study_uid), Uid(series_uid)), f"C-FIND of the instances of series {series_uid}"
    return instance_records(_own(line, _complete(line, query, tried, answer_cap), query, tried))


def instance_query(study_uid: Uid, series_uid: Uid, InstanceNumber: str = "") -> Dataset:
    """Identifier that asks for the instances of a series, of one number where it is given."""
    return identifier(
        "IMAGE", StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid, SOPInstanceUID="", SOPClassUID="",
        InstanceNumber=InstanceNumber,
    )  # fmt: skip


def find(line: OpenAssociation, query: Dataset, tried: str, answer_cap: int = 0) -> tuple[list[Dataset], bool]:
    """Send one C-FIND.

    Parameters
    ----------
    query : Dataset
        The identifier.
    tried : str
        For messages.
    answer_cap : int
        See `StudyQuery`.

    Returns
    -------
    answers : list of Dataset
    capped : bool
        The PACS stopped early: any failure, warning or cancel after answers, or exactly `answer_cap` answers.

    Raises
    ------
    PermanentError, TransientError
        A failure without any answer, or a lost association.
    """
    line.require(FIND, "C-FIND (Study Root)", "allow it for our AE title in the PACS")
    answers: list[Dataset] = []
    for answer, found in line.assoc.send_c_find(query, FIND):
        status = line.status(answer, tried)
        if status in PENDING:
            if found is None and query.QueryRetrieveLevel != "STUDY":
                raise PermanentError(
                    f"{tried} at {line.peer}: answer {len(answers) + 1} cannot be decoded; not retried"
                )
            # One study among many that nobody can read: it has no UID then, and intake says so.
            answers.append(Dataset() if found is None else found)
            continue
        line.spent = status != 0x0000
        if status == 0x0000:
            return answers, 0 < answer_cap <= len(answers)
        if answers:
            return answers, True
        raise refusal(tried, line.peer, status)
    raise line.lost(tried)


def _complete(line: OpenAssociation, query: Dataset, tried: str, answer_cap: int) -> list[Dataset]:
    """Answers to a question that cannot be split; `Capped` where they are not all."""
    answers, capped = find(line, query, tried, answer_cap)
    if capped:
        raise Capped(
            f"{tried} at {line.peer}: the PACS stopped after {len(answers)} answers; the list would be incomplete and "
            "was not taken. Raise the limit of answers in the PACS, or pacs.answer_cap if it is set too low"
        )
    return answers


def find_own(
    line: OpenAssociation, query: Dataset, tried: str, answer_cap: int = 0, *, part: bool = False
) -> tuple[list[Dataset], bool]:
    """`find`, and of its answers those to this very question.

    Parameters
    ----------
    part : bool
        The question is a part of one that was answered: where nothing of ours comes, nothing is said of the PACS.
    """
    answers, capped = find(line, query, tried, answer_cap)
    return _own(line, answers, query, tried, part=part), capped


def _own(
    line: OpenAssociation, answers: Sequence[Dataset], query: Dataset, tried: str, *, part: bool = False
) -> list[Dataset]:
    """The answers to this very question; see `gtr_batch.query_answers.answers_to`."""
    asked = {k: str(query.get(k)) for k in ("StudyInstanceUID", "SeriesInstanceUID") if query.get(k)}
    return answers_to(asked, answers, tried, line.peer, part=part)


def identifier(level: str, **keys: str) -> Dataset:
    """An identifier with these keys; empty ones are to be returned."""
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


def series_identifier(study_uid: Uid, series_uid: Uid) -> Dataset:
    """Identifier of C-GET or C-MOVE for a whole series."""
    return identifier("SERIES", StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid)


def image_identifiers(study_uid: Uid, series_uid: Uid, sop_uids: list[Uid], batch: int) -> Iterator[Dataset]:
    """Identifiers of C-GET or C-MOVE for single instances, `batch` of them at once (list of UID matching)."""
    for begin in range(0, len(sop_uids), batch):
        ds = identifier("IMAGE", StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid)
        ds.SOPInstanceUID = list(sop_uids[begin : begin + batch])
        yield ds
