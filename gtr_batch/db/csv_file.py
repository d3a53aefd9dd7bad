"""An EHR extract as bytes on disk, checked as far as its shape goes. Nothing of a row is ever in a message."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from pathlib import Path

from attrs import field, frozen

from gtr_batch.db.extracts import EXTRACTS, Column, Extract, Kind
from gtr_batch.errors import ExtractRefused

MAX_BYTES = 64 * 1024**2
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,39}")
_INVISIBLE = "\u200b\u2060\ufeff"  # zero width: no blanks to Python, and never a part of a value
_BOUND = re.compile(r"(?:[<>]=?|[≤≥])\s*[0-9]")
_LONG_NUMBER = re.compile(r"[0-9]{1,9}\.[0-9]{10,30}")  # more digits than any laboratory measures: a float as printed


@frozen
class ExtractFile:
    """One extract, read; the rows as CSV without header, ready for COPY.

    Values are without the blanks round them, numbers without the noise of a binary float (3.3000000000000003 is 3.3).
    `set_aside` names the values that are bounds (``<0.5``): loaded as unknown, the rest of their rows as it is.
    """

    extract: Extract
    sha256: str
    rows: int
    body: str = field(repr=False)
    set_aside: tuple[str, ...] = ()


def find(folder: Path) -> list[tuple[Extract, Path]]:
    """The extracts of a folder, in the order in which they are loaded.

    Raises
    ------
    ExtractRefused
        No folder, no CSV in it, or one whose name is not known.
    """
    if not folder.is_dir():
        raise ExtractRefused(f"no folder {folder}: set ehr.folder to where the EHR writes its extracts")
    known = {extract.file: extract for extract in EXTRACTS}
    present = {path.name: path for path in folder.iterdir() if path.suffix.lower() == ".csv"}
    # A file name may hold anything, so only a count of the strange ones is told.
    strange = present.keys() - known.keys()
    if strange:
        raise ExtractRefused(
            f"{len(strange)} CSV file(s) in {folder} with unknown names; known: {', '.join(known)}; nothing was loaded"
        )
    if not present:
        raise ExtractRefused(f"no extracts in {folder}; known: {', '.join(known)}; nothing was loaded")
    return [(extract, present[name]) for name, extract in known.items() if name in present]


def read(extract: Extract, path: Path) -> ExtractFile:
    """Read one extract and check size, encoding, header and the number of fields of every row.

    Raises
    ------
    ExtractRefused
        Names the file and the row (the header is row 1), and for a wrong header the columns expected and found.
    """
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as err:
        raise ExtractRefused(f"{extract.file} cannot be read: {err.strerror}") from err
    if size > MAX_BYTES:
        raise ExtractRefused(f"{extract.file} is {size} bytes long, at most {MAX_BYTES} are taken")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        row = data[: err.start].count(b"\n") + 1
        text, refusal = "", f"{extract.file}, line {row}: not UTF-8 at byte {err.start}; nothing was loaded"
    else:
        refusal = f"{extract.file}: a NUL character; nothing was loaded" if "\x00" in text else ""
    if refusal:  # outside of the except block: the codec's error holds the file
        raise ExtractRefused(refusal)
    body, rows, set_aside = _body(extract, text)
    return ExtractFile(extract, hashlib.sha256(data).hexdigest(), rows, body, set_aside)


def _body(extract: Extract, text: str) -> tuple[str, int, tuple[str, ...]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    row = broken = 0
    set_aside: list[str] = []
    try:
        for fields in reader:
            row += 1
            if row == 1:
                _check_header(extract, fields)
            elif not fields:
                row -= 1  # an empty line is no row
            elif len(fields) != len(extract.columns):
                broken = row
                break
            else:
                values = [_trimmed(value, column) for value, column in zip(fields, extract.columns, strict=True)]
                bounds = _bounds(extract, values)
                set_aside += [f"{extract.file}, row {row}, column {name}: a bound, not a number" for name in bounds]
                pairs = zip(values, extract.header, strict=True)
                writer.writerow(["" if name in bounds else value for value, name in pairs])
    except csv.Error:
        broken = row + 1
    if broken:
        raise ExtractRefused(
            f"{extract.file}, row {broken}: not {len(extract.columns)} fields, or broken quoting; nothing was loaded"
        )
    if row == 0:
        _check_header(extract, [])
    return out.getvalue(), row - 1, tuple(set_aside)


def _bounds(extract: Extract, values: list[str]) -> list[str]:
    """The columns of numbers whose value is a bound."""
    pairs = zip(values, extract.columns, strict=True)
    return [column.name for value, column in pairs if column.kind is Kind.NUMBER and _BOUND.match(value)]


def _trimmed(value: str, column: Column) -> str:
    """A value without what stands round it and means nothing: blanks of any kind, a float's last digits."""
    value = value.strip().strip(_INVISIBLE).strip()
    if column.kind is Kind.NUMBER and _LONG_NUMBER.fullmatch(value):
        return f"{float(value):.9f}".rstrip("0").rstrip(".")
    return value


def _check_header(extract: Extract, found: list[str]) -> None:
    if tuple(found) == extract.header:
        return
    expected = ",".join(extract.header)
    if not found:
        shown = "an empty file"
    elif not set(found) & set(extract.header):
        shown = "a first line that is not a header (not shown: it may be a row)"
    else:
        shown = ",".join(name if _COLUMN.fullmatch(name) else "?" for name in found)
    raise ExtractRefused(f"{extract.file}: header expected {expected}; found {shown}; nothing was loaded")
