"""Reading what C-FIND answers: any element may be absent, empty, padded or not what the standard says."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from typing import Any

from pydicom import Dataset
from pydicom.config import disable_value_validation
from pydicom.multival import MultiValue

from gtr_batch.domain.series import StudyRecord


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
    )
