"""What the Key Object Selections of a study mark: which of them are about our tumour, and which was written last.

A key object selection has a purpose, its document title (PS3.16, CID 7010). One for teaching, or one that rejects
images, marks no key slice; which titles do is a setting. Nor does one whose words name another organ, nor one by a
device: this service writes such a document every night.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import pydicom
from attrs import frozen
from pydicom.uid import KeyObjectSelectionDocumentStorage

from gtr_batch.preprocess.tumour_names import METASTASIS, other_organ

_OBSERVER_TYPE, _DEVICE = "121005", "121007"  # TID 1002


@frozen(order=True)
class KeyObject:
    """One accepted key object selection, and the images that it names in its order; the newest is the largest."""

    written: str  # date and time of the content, as digits
    series_number: int
    instance_number: int
    sop_instance_uid: str
    references: tuple[str, ...]


def read_key_object(ds: pydicom.Dataset, titles: Collection[str], notes: list[str]) -> KeyObject | None:
    """A document's marks; None where it marks no key slice, and then `notes` says why.

    Parameters
    ----------
    ds : pydicom.Dataset
    titles : collection of str
        Accepted document titles: code values of DCM, or ``scheme:value`` of another coding scheme.
    notes : list of str
        Gets a sentence without PHI: of a document's own words only an organ of a known list.
    """
    if ds.get("SOPClassUID") != KeyObjectSelectionDocumentStorage:
        return None
    why = _why_not(ds, titles)
    if why:
        notes.append(f"a key object selection {why} was passed over")
        return None
    written = f"{_digits(ds.get('ContentDate'), 8)}{_digits(ds.get('ContentTime'), 12)}"
    series_number, instance_number = (int(ds.get(name) or 0) for name in ("SeriesNumber", "InstanceNumber"))
    return KeyObject(written, series_number, instance_number, str(ds.get("SOPInstanceUID")), tuple(_referenced(ds)))


def _why_not(ds: pydicom.Dataset, titles: Collection[str]) -> str:
    """Why a key object selection marks no key slice; empty where it may."""
    title = _title(ds)
    if title not in titles:
        known = re.fullmatch(r"\d{6}", title)  # a code of DCM; what else was typed is not repeated
        return f"titled {title}" if known else "with a title that is not accepted"
    if _observers(ds) == {_DEVICE}:
        return "by a device"
    organ = next(filter(None, map(other_organ, _descriptions(ds))), "")
    if not organ and other_organ(str(ds.get("SeriesDescription") or "")) == METASTASIS:
        organ = METASTASIS  # of a series' name no more: many protocols are called after the liver
    return f"about another organ ({organ})" if organ else ""


def _title(ds: pydicom.Dataset) -> str:
    """The document title as the setting names it; empty where there is none."""
    for code in ds.get("ConceptNameCodeSequence") or ():
        value, scheme = str(code.get("CodeValue") or ""), str(code.get("CodingSchemeDesignator") or "")
        return value if scheme == "DCM" else f"{scheme}:{value}"
    return ""


def _observers(ds: pydicom.Dataset) -> set[str]:
    """Code values of the document's observer types, none where it names no observer."""
    return {
        str(item.ConceptCodeSequence[0].CodeValue)
        for item in ds.get("ContentSequence", [])
        if item.get("ValueType") == "CODE" and item.ConceptNameCodeSequence[0].CodeValue == _OBSERVER_TYPE
    }


def _descriptions(ds: pydicom.Dataset) -> list[str]:
    """What a person wrote about the selection (TID 2010, row 7)."""
    return [
        str(item.get("TextValue") or "") for item in ds.get("ContentSequence", []) if item.get("ValueType") == "TEXT"
    ]


def _referenced(item: pydicom.Dataset) -> Iterator[str]:
    """Images that the content tree names, in its order (TID 2010)."""
    for child in item.get("ContentSequence", []):
        if child.get("ValueType") == "IMAGE":
            yield from (str(ref.ReferencedSOPInstanceUID) for ref in child.ReferencedSOPSequence)
        yield from _referenced(child)


def _digits(value: object, length: int) -> str:
    """A DICOM date or time as digits, filled up: ``0930`` and ``09:30`` (ACR-NEMA) are before ``093000.5``."""
    return re.sub(r"\D", "", str(value or "")).ljust(length, "0")[:length]
