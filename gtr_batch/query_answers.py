"""What a PACS answers to a query (C-FIND, QIDO-RS): any element may be absent, empty, padded or not standard."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from pydicom import Dataset
from pydicom.config import disable_value_validation
from pydicom.multival import MultiValue

from gtr_batch.domain.identifiers import AccessionNumber
from gtr_batch.domain.identity import mismatch
from gtr_batch.domain.series import InstanceRecord, SeriesRecord, StudyRecord
from gtr_batch.errors import PermanentError
from gtr_batch.logs import get_logger

log = get_logger("pacs")


def texts(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """All values of an element without their padding; empty ones left out."""
    with disable_value_validation():  # its warnings would show the values
        try:
            value: Any = ds.get(keyword)
        except Exception:  # noqa: BLE001 - pydicom raises anything on bytes that are no such value: as good as absent
            return ()
    values = value if isinstance(value, MultiValue | list) else [value]
    return tuple(stripped for v in values if v is not None and (stripped := str(v).strip(" \0")))


def text(ds: Dataset, keyword: str) -> str:
    """The value of an element without its padding; several joined as they came."""
    return "\\".join(texts(ds, keyword))


def integer(ds: Dataset, keyword: str) -> int | None:
    """A whole number, or None."""
    value = text(ds, keyword)
    return int(value) if re.fullmatch(r"[+-]?\d{1,18}", value) else None  # an IS has 12 characters (PS3.5, 6.2)


def study_date(ds: Dataset) -> date | None:
    """StudyDate, also in the form of ACR-NEMA (``1999.12.31``)."""
    digits = text(ds, "StudyDate").replace(".", "")
    try:
        return datetime.strptime(digits, "%Y%m%d").date()  # noqa: DTZ007 - the PACS's own wall clock has no zone
    except ValueError:
        return None


def study_time(ds: Dataset) -> time | None:
    """StudyTime: HH, HHMM, HHMMSS, with a fraction or with colons; None where absent or nonsense."""
    match = re.fullmatch(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d{1,6}))?)?)?", text(ds, "StudyTime"))
    if not match:
        return None
    hour, minute, second = (int(part or 0) for part in match.groups()[:3])
    try:
        return time(hour, minute, min(second, 59), int((match[4] or "0").ljust(6, "0")))  # :60 is a leap second
    except ValueError:
        return None


def study_record(ds: Dataset) -> StudyRecord:
    """A study as we keep it; of unknown time, at the beginning of its date."""
    day = study_date(ds)
    return StudyRecord(
        study_uid=text(ds, "StudyInstanceUID"),
        patient_id=text(ds, "PatientID"),
        accession_number=text(ds, "AccessionNumber"),
        study_at=None if day is None else datetime.combine(day, study_time(ds) or time()),
        description=text(ds, "StudyDescription"),
        modalities=texts(ds, "ModalitiesInStudy"),
        issuer_of_patient_id=text(ds, "IssuerOfPatientID"),
    )


def series_records(study_uid: str, answers: Sequence[Dataset]) -> list[SeriesRecord]:
    """Series as we keep them, by series number, each once."""
    records: dict[str, SeriesRecord] = {}
    for ds in answers:
        uid = text(ds, "SeriesInstanceUID")
        records.setdefault(
            uid,
            SeriesRecord(
                study_uid=study_uid,
                series_uid=uid,
                modality=text(ds, "Modality"),
                description=text(ds, "SeriesDescription"),
                protocol=text(ds, "ProtocolName"),
                body_part=text(ds, "BodyPartExamined"),
                series_number=integer(ds, "SeriesNumber"),
                instances=integer(ds, "NumberOfSeriesRelatedInstances"),
            ),
        )
    return sorted(records.values(), key=lambda r: (r.series_number is None, r.series_number, r.series_uid))


def instance_records(answers: Sequence[Dataset]) -> list[InstanceRecord]:
    """Instances as we keep them, by instance number."""
    records = {
        uid: InstanceRecord(uid, text(ds, "SOPClassUID"), integer(ds, "InstanceNumber"))
        for ds in answers
        for uid in [text(ds, "SOPInstanceUID")]
    }
    return sorted(records.values(), key=lambda r: (r.instance_number is None, r.instance_number, r.sop_instance_uid))


def in_window(ds: Dataset, start: datetime, end: datetime) -> bool:
    """Whether a study is of ``start <= study < end``; one of unknown time is of every window that its date is in."""
    day, clock = study_date(ds), study_time(ds)
    if day is None:
        return True  # it matched the dates that we asked for, so the PACS says
    if clock is None:
        return start < datetime.combine(day + timedelta(days=1), time()) and datetime.combine(day, time()) < end
    return start <= datetime.combine(day, clock) < end


def answers_to(
    asked: Mapping[str, str], answers: Sequence[Dataset], tried: str, peer: str, *, part: bool = False
) -> list[Dataset]:
    """The answers to this very question: one that names another study or series is dropped, and said so.

    One that leaves the UID out stays: what arrives for it is compared by its header.

    Parameters
    ----------
    asked : mapping
        UIDs by DICOM keyword.
    tried, peer : str
        For messages.
    part : bool
        The question is a part of one that was answered: where nothing of ours comes, nothing is said of the PACS.

    Raises
    ------
    CaseRejected
        Code ``identity_mismatch``: nothing else came, so the PACS does not look at the UID that it was asked for.
    """
    differs = [[k for k, uid in asked.items() if text(ds, k) not in ("", uid)] for ds in answers]
    own = [ds for ds, names in zip(answers, differs, strict=True) if not names]
    dropped = len(answers) - len(own)
    if not dropped:
        return own
    keywords = sorted({name for names in differs for name in names})
    log.error("pacs.find.answers_of_others", tried=tried, peer=peer, dropped=dropped, differs=keywords)
    if not (own or part):
        raise mismatch(
            f"{tried} at {peer}: all {dropped} answers have another {' and '.join(keywords)} than was asked "
            f"for; none was taken. The PACS does not look at it: whatever it sends may be of another patient",
            keywords,
        )
    return own


def studies_of_accession(
    wanted: AccessionNumber, answers: Sequence[Dataset], tried: str, peer: str
) -> list[StudyRecord]:
    """The studies that have this accession number, each once for each patient that it is listed under.

    Raises
    ------
    PermanentError
        Every answer has another accession number: the PACS does not look at it.
    """
    found = [study_record(ds) for ds in answers]
    own = [record for record in found if record.accession_number == wanted]
    if len(own) < len(found):
        log.error("pacs.find.answers_of_others", tried=tried, peer=peer, dropped=len(found) - len(own))
    if found and not own:
        raise PermanentError(
            f"{tried} at {peer}: all {len(found)} answers have another one, so this PACS does not look at it; "
            "name the study by its Study Instance UID"
        )
    return list({(one.study_uid, one.patient_id, one.issuer_of_patient_id): one for one in own}.values())
