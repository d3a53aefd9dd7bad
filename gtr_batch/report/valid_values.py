"""Values of a source element as the standard allows them: kept where valid, else cut or left out with a remark.

Scanners and PACS write what no standard allows: two values where one belongs, texts that are too long, control
characters, dates of year 0. An object that copied such a value could not be written, or would be refused. Words are cut
to the length that their VR allows; an identifier never is, because a part of an identifier is another identifier.

References
----------
DICOM PS3.5, 6.2 (value representations), 6.4 (value multiplicity); PS3.6, 6 (the dictionary)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from attrs import frozen
from pydicom import Dataset
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.multival import MultiValue
from pydicom.valuerep import MAX_VALUE_LEN, STR_VR_REGEXES, PersonName, format_number_as_ds

from gtr_batch.domain.identifiers import Uid
from gtr_batch.errors import CaseRejected

_ONE_TEXT = ("LT", "ST", "UT")  # a backslash is no separator there
_BINARY = ("US", "SS", "UL", "SL", "FL", "FD")
_INTEGERS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"US": (0, 2**16 - 1), "SS": (-(2**15), 2**15 - 1), "UL": (0, 2**32 - 1), "SL": (-(2**31), 2**31 - 1)}
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_IN_TEXT = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")  # tabs, line and form feeds are text (PS3.5, 6.2)
_UNDECODABLE = "�"  # what a decoder leaves where bytes are not of the character set
_NAME_GROUPS, _NAME_COMPONENTS, _NAME_LENGTH = 3, 5, 64


@frozen
class Checked:
    """The valid values of an element, and what a reader of the log should know where they are not the source's."""

    values: tuple[Any, ...] = ()
    remark: str = ""


@frozen
class _One:
    """One valid value, or None where there is none; `remark` says what was changed or why."""

    value: Any
    remark: str = ""


def checked(ds: Dataset, keyword: str, *, identifier: bool = False, allowed: frozenset[str] = frozenset()) -> Checked:
    """The valid values of an element.

    Parameters
    ----------
    identifier : bool
        Taken as it is or not at all: two values, a character too many or one that cannot be read leave it out.
    allowed : frozenset of str
        Enumerated values, where the standard has them.

    Returns
    -------
    Checked
        No values where the element is absent or empty (without a remark) or has none that is valid (with one). A remark
        never shows a value.
    """
    vr = dictionary_VR(keyword)
    found = _read(ds, keyword, vr)
    if found is None:
        return Checked(remark="left out: it cannot be read")
    found = [value for value in found if value not in ("", None)]
    most = _most(keyword)
    remarks = []
    if most is not None and len(found) > most:
        if identifier:
            return Checked(remark=f"left out: {len(found)} values where {most} is expected")
        remarks.append(f"{len(found)} values where {most} is expected")
        found = found[:most]
    ones = [_CHECKS.get(vr, _as_words)(value, vr) for value in found]
    remarks += [one.remark for one in ones if one.remark]
    values = () if identifier and remarks else tuple(one.value for one in ones if one.value is not None)
    if allowed and not {str(value) for value in values} <= allowed:
        return Checked(remark="left out: none of the values that the standard knows")
    if values and len(values) < _least(keyword):
        return Checked(remark=f"left out: {len(values)} of {_least(keyword)} values")
    if not remarks:
        return Checked(values)
    return Checked(values, f"{'changed' if values else 'left out'}: {', '.join(dict.fromkeys(remarks))}")


def texts(ds: Dataset, keyword: str, *, empty: bool = False) -> list[str]:
    """The values of an element of characters as they stand there; none where it cannot be read or holds no text."""
    found = _read(ds, keyword, "UC") or []
    return [value for value in map(str, found) if (value or empty) and not _CONTROL.search(value)]


def _most(keyword: str) -> int | None:
    """How many values the dictionary allows; None for any number."""
    last = dictionary_VM(keyword).split("-")[-1]
    return None if "n" in last else int(last)


def _least(keyword: str) -> int:
    return int(dictionary_VM(keyword).split("-")[0])


def _read(ds: Dataset, keyword: str, vr: str) -> list[Any] | None:
    """The values of an element, texts as `str` whatever VR the file claims; None where nothing can be made of it."""
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in ds:
        return []
    try:
        element = ds.get_item(tag)
        if isinstance(element, RawDataElement):
            wanted = vr if vr in _BINARY or vr == "PN" else "UT" if vr in _ONE_TEXT else "UC"
            ds[tag] = element._replace(VR=wanted)
        value = ds[tag].value
        values = list(value) if isinstance(value, MultiValue | list | tuple) else [value]
        if vr in _BINARY:
            return values
        return [str(v).strip(" \0") for v in values if v is not None]
    except Exception:  # noqa: BLE001 - the libraries fail in many ways on malformed bytes; each means the same here
        return None


def _as_words(value: str, vr: str) -> _One:
    """A text, without control characters, cut to the length of its VR."""
    text = (_CONTROL_IN_TEXT if vr in _ONE_TEXT else _CONTROL).sub("", value).strip(" ")
    remark = "" if text == value.strip(" ") else "control characters"
    if _UNDECODABLE in text:
        text, remark = text.replace(_UNDECODABLE, "?"), "bytes that are not of its character set"
    longest = MAX_VALUE_LEN.get(vr, 0)
    if longest and len(text) > longest:
        text, remark = text[:longest].rstrip(" "), f"{len(text)} characters where {longest} are allowed"
    return _One(text or None, remark)


def _as_name(value: str, vr: str) -> _One:
    """A person's name: three groups of 64 characters and five components at most."""
    words = _as_words(value, vr)
    if words.value is None:
        return words
    groups = words.value.split("=")[:_NAME_GROUPS]
    name = "=".join("^".join(g.split("^")[:_NAME_COMPONENTS])[:_NAME_LENGTH].rstrip(" ") for g in groups)
    if not name.strip("=^ "):
        return _One(None, "no name")
    same = name.replace(" ", "") == words.value.replace(" ", "")
    return _One(PersonName(name), words.remark if same else f"longer than {_NAME_LENGTH} characters or five parts")


def _as_code_string(value: str, vr: str) -> _One:
    return _if_valid(value.upper(), vr)


def _as_uid(value: str, vr: str) -> _One:
    try:
        return _One(str(Uid(value)))
    except CaseRejected:
        return _One(None, "no valid UID")


def _as_date(value: str, vr: str) -> _One:
    digits = value.replace(".", "") if re.fullmatch(r"\d{4}\.\d\d\.\d\d", value) else value  # the form of ACR-NEMA
    try:
        if len(digits) != 8:
            raise ValueError
        return _One(f"{datetime.strptime(digits, '%Y%m%d').date():%Y%m%d}".rjust(8, "0"))  # noqa: DTZ007
    except ValueError:
        return _One(None, "no date")


def _as_time(value: str, vr: str) -> _One:
    digits = value.replace(":", "") if re.fullmatch(r"\d\d:\d\d(:\d\d(\.\d+)?)?", value) else value
    whole, _, fraction = digits.partition(".")
    text = f"{whole}.{fraction[:6]}" if fraction else whole
    return _One(text) if "-" not in text and STR_VR_REGEXES["TM"].fullmatch(text) else _One(None, "no time")


def _as_age(value: str, vr: str) -> _One:
    return _if_valid(value.upper().rjust(4, "0"), vr)


def _as_decimal(value: str, vr: str) -> _One:
    """A decimal string; one of more than 16 characters is rounded to what fits."""
    try:
        number = float(value)
    except ValueError:
        return _One(None, "no number")
    if not math.isfinite(number):
        return _One(None, "no number")
    fits = len(value) <= MAX_VALUE_LEN["DS"] and STR_VR_REGEXES["DS"].fullmatch(value)
    return _One(value if fits else format_number_as_ds(number))


def _as_integer(value: str, vr: str) -> _One:
    if not re.fullmatch(r"[+-]?\d{1,11}", value) or not -(2**31) <= int(value) < 2**31:
        return _One(None, "no whole number")
    return _One(value)


def _as_binary(value: Any, vr: str) -> _One:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return _One(None, "no number")
    if vr in _INTEGERS and not (isinstance(value, int) and _INTEGERS[vr][0] <= value <= _INTEGERS[vr][1]):
        return _One(None, "no whole number of its range")
    return _One(value)


def _if_valid(value: str, vr: str) -> _One:
    fits = len(value) <= MAX_VALUE_LEN.get(vr, 64) and STR_VR_REGEXES[vr].fullmatch(value)
    return _One(value) if fits else _One(None, f"not a value of VR {vr}")


_CHECKS: Mapping[str, Callable[[Any, str], _One]] = MappingProxyType(
    {
        "PN": _as_name,
        "CS": _as_code_string,
        "UI": _as_uid,
        "DA": _as_date,
        "TM": _as_time,
        "AS": _as_age,
        "DS": _as_decimal,
        "IS": _as_integer,
        **dict.fromkeys(_BINARY, _as_binary),
    }
)


def element(keyword: str, values: tuple[Any, ...]) -> DataElement:
    """An element of these values."""
    value = values[0] if len(values) == 1 else list(values)
    return DataElement(tag_for_keyword(keyword) or 0, dictionary_VR(keyword), value)
