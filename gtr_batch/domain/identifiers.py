"""Identifiers that are checked once, where they enter, and trusted after."""

from __future__ import annotations

import re
from uuid import UUID, uuid5

from gtr_batch.errors import CaseRejected, ConfigError, InputRefused

# UUIDv5 namespace of this service; changing it changes every case_id and every UID ever derived.
NAMESPACE = UUID("6f1d2c1e-0b5c-5e53-9a3d-5f0c1f8f6a10")

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_NUMBER = re.compile(r"[0-9.]*")
_ONE_VALUE = re.compile(r"[^*?\\\x00-\x1f\x7f]{1,64}")
_AE = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")


class Uid(str):
    """A valid DICOM UID: digits and dots, at most 64 characters (PS3.5, 9.1).

    Raises
    ------
    CaseRejected
        Code ``invalid_uid``: an empty or malformed UID never becomes a path or a key.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Uid:
        text = str(value)
        if len(text) > 64 or not _UID.fullmatch(text):
            # What is no number may be a name that was typed into the wrong field: it is not repeated.
            shown = repr(text[:80]) if _NUMBER.fullmatch(text) else f"A text of {len(text)} characters"
            raise CaseRejected("invalid_uid", f"{shown} is not a valid DICOM UID (PS3.5, 9.1)", {"length": len(text)})
        return super().__new__(cls, text)


class AccessionNumber(str):
    """An accession number as a PACS can be asked for it: one value without wildcards (PS3.4, C.2.2.2.4).

    Raises
    ------
    InputRefused
        Empty, longer than 64 characters, or with a wildcard, a backslash or a control character: it would mean other
        studies too. The value is not repeated.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> AccessionNumber:
        text = str(value).strip(" ")
        if not _ONE_VALUE.fullmatch(text):
            raise InputRefused(
                f"a text of {len(text)} characters is no single accession number: 1 to 64 characters without *, ?, "
                "backslash or control characters"
            )
        return super().__new__(cls, text)


class AETitle(str):
    """A DICOM application entity title, 1 to 16 printable characters, no backslash (PS3.5, 6.2)."""

    __slots__ = ()

    def __new__(cls, value: str) -> AETitle:
        text = str(value).strip(" ")
        if not _AE.fullmatch(text):
            raise ConfigError(f"{value!r} is not an AE title: 1 to 16 printable characters without backslash")
        return super().__new__(cls, text)


def case_id(study_uid: str, series_uid: str = "") -> str:
    """UUIDv5 of (StudyInstanceUID, SeriesInstanceUID); series empty where a study has no usable series."""
    return str(uuid5(NAMESPACE, f"{study_uid}|{series_uid}"))


def derived_uid(*parts: str) -> Uid:
    """A ``2.25.`` UID that stands for `parts` and is the same whenever they are (PS3.5, B.2)."""
    return Uid(f"2.25.{uuid5(NAMESPACE, '|'.join(parts)).int}")
