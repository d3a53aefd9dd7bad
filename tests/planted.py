"""A patient whose name, number and birth date are searched for, in every spelling and container that may hold them."""

from __future__ import annotations

import base64
import re
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

FAMILY, GIVEN, WHOSE = "Zweigstein", "Ottokara", "planted7391"
BORN = "19370417"
#: The family and the given name alone, what PatientID and accession number have in common, the birth date as DICOM,
#: ISO 8601, ACR-NEMA and people write it.
TRACES = (FAMILY, GIVEN, WHOSE, BORN, "1937-04-17", "1937.04.17", "17.04.1937", "17/04/1937")
_FREE_TEXT = (
    "StudyDescription", "ProtocolName", "ImageComments", "PatientComments", "OtherPatientNames", "OperatorsName",
    "ReferringPhysicianName", "RequestedProcedureDescription", "ContrastBolusAgent", "AdditionalPatientHistory",
)  # fmt: skip

_LARGEST, _DEEPEST = 64 * 2**20, 6
_NUMBERS = (".pt", ".safetensors")  # weights, which nothing packs: what stands in them stands there as it is
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
_GZIP = re.compile(rb"\x1f\x8b\x08")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}")
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2}){16,}")
_ASCII85 = re.compile(rb"stream\r?\n(.*?)\r?\n?endstream", re.DOTALL)


def plant(ds: Dataset) -> None:
    """Give an instance the patient's name and birth date, and write the name into every field of free text."""
    ds.PatientName, ds.PatientBirthDate = f"{FAMILY}^{GIVEN}", BORN
    ds.SeriesDescription = f"{ds.SeriesDescription} {FAMILY}"[:64]
    for keyword in _FREE_TEXT:
        setattr(ds, keyword, f"{FAMILY} {BORN}")


def plant_unreadable(ds: Dataset) -> None:
    """Write the name where a number and a code are expected, and the birth date as the Standard does not have it."""
    for tag, vr, text in (
        ("AcquisitionNumber", "IS", FAMILY),
        ("PatientSex", "CS", FAMILY),
        ("PatientBirthDate", "DA", "1937.04.17"),
        ("ContentDate", "DA", "17.04.1937"),
        ("KVP", "DS", FAMILY),
    ):
        value = text.encode() + b" " * (len(text) % 2)
        ds._dict[Tag(tag)] = RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)


def traces_in(data: bytes, depth: int = 0) -> set[str]:
    """Which traces stand in some bytes: as text of any encoding, as base64 or hexadecimal, in what is packed in it."""
    lower = data.lower()
    found = {trace for trace in TRACES if any(spelling in lower for spelling in _spellings(trace))}
    found |= {trace for trace in TRACES if any(spelling in data for spelling in _in_base64(trace))}
    if depth < _DEEPEST:
        for inner in _unpacked(data):
            found |= traces_in(inner, depth + 1)
    return found


def files_with_traces(root: Path) -> dict[Path, set[str]]:
    """Every file below a folder in whose name or content a trace stands."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = traces_in(str(path.relative_to(root)).encode())
        body = _traces_in_file(path) if path.is_file() and not path.is_symlink() else set()
        if name | body:
            found[path.relative_to(root)] = name | body
    return found


def _traces_in_file(path: Path) -> set[str]:
    data = path.read_bytes()
    if path.suffix in _NUMBERS:
        return {trace for trace in TRACES if trace.encode() in data}
    return traces_in(data)


def tables_with_traces(dsn: str) -> dict[str, set[str]]:
    """Every column of every table of a database, of whatever type, in which a trace stands."""
    found: dict[str, set[str]] = {}
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select table_schema, table_name from information_schema.tables where table_type = 'BASE TABLE'"
            " and table_schema not in ('pg_catalog', 'information_schema')"
        )
        for schema, table in cursor.fetchall():
            cursor.execute(sql.SQL("select * from {}").format(sql.Identifier(schema, table)))
            columns = [column.name for column in cursor.description or ()]
            for row in cursor.fetchall():
                for column, value in zip(columns, row, strict=True):
                    if traces := traces_in(_as_bytes(value)):
                        found.setdefault(f"{table}.{column}", set()).update(traces)
    connection.close()
    return found


def _as_bytes(value: Any) -> bytes:
    return bytes(value) if isinstance(value, memoryview | bytes) else str(value).encode()


def _spellings(trace: str) -> list[bytes]:
    text = trace.lower()
    plain = [text.encode(code) for code in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le")]  # the last is NumPy's
    return [*plain, text.encode().hex().encode()]


def _in_base64(trace: str) -> list[bytes]:
    """The trace within a longer text in base64: its own digits in the three places where it may begin."""
    found = []
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + trace.encode())
        found.append(coded[-(-before * 8 // 6) : len(coded.rstrip(b"=")) - 1])
    return found


def _unpacked(data: bytes) -> Iterator[bytes]:
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        data = _without_pixels(data)
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(BytesIO(data)) as packed:
            yield from (packed.read(name) for name in packed.namelist())
    if data[:5] == b"%PDF-":  # text is drawn in glyphs of embedded fonts
        yield subprocess.run(["pdftotext", "-", "-"], input=data, capture_output=True, check=True).stdout
        for stream in _ASCII85.finditer(data):
            if (body := _from_ascii85(stream[1])) is not None:
                yield body
    view = memoryview(data)
    for pattern, bits in ((_GZIP, 31), (_ZLIB, 15)):
        for begins in pattern.finditer(data):
            yield from _inflated(view[begins.start() :], bits)
    if data[128:132] == b"DICM" and b"1.2.840.10008.1.2.1.99" in data[:1000]:
        yield from _inflated(data[144 + int.from_bytes(data[140:144], "little") :], -15)
    for run in _BASE64.finditer(data):
        digits = run[0].replace(b"-", b"+").replace(b"_", b"/")
        yield base64.b64decode(digits[: len(digits) // 4 * 4])
    for run in _HEX.finditer(data):
        yield bytes.fromhex(run[0].decode())


def _from_ascii85(text: bytes) -> bytes | None:
    try:
        return base64.a85decode(text.strip().removeprefix(b"<~").removesuffix(b"~>"))
    except ValueError:
        return None


def _without_pixels(png: bytes) -> bytes:
    """All of a picture but its pixels, which hold no text and are large."""
    kept, at = [], 8
    while at + 12 <= len(png):
        size = int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] != b"IDAT":
            kept.append(png[at : at + 12 + size])
        at += 12 + size
    return b"".join(kept)


def _inflated(data: memoryview | bytes, bits: int) -> Iterator[bytes]:
    try:
        zlib.decompressobj(bits).decompress(data[:100], 100)  # most that looks like the beginning of a stream is none
        yield zlib.decompressobj(bits).decompress(data, _LARGEST)
    except zlib.error:
        return
