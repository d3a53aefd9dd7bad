"""Valid DICOM files, ways to damage them, and every reader that meets a file from elsewhere."""

from __future__ import annotations

import random
import struct
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import pydicom
from attrs import frozen
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
)

from gtr_batch.config import ValidateConfig
from gtr_batch.dicom_file import is_intact
from gtr_batch.domain.series import SeriesEvidence, SeriesRecord
from gtr_batch.errors import CaseRejected
from gtr_batch.intake import select_portal_venous
from gtr_batch.intake.probe import read_probe
from gtr_batch.preprocess import read_series
from gtr_batch.preprocess.key_slice import find_key_slice
from gtr_batch.preprocess.outline import lesion_on_grid
from gtr_batch.validate import headers
from gtr_batch.validate.pixels import PixelLook
from tests.builders import a_geometry, a_series
from tests.hostile_files import saved, slice_of, with_codestream
from tests.unit.preprocess import outlines

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
LENGTHS = (0, 1, 3, 0xFF, 0xFFFE, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
VRS = (b"ZZ", b"SQ", b"UN", b"OB", b"PN", b"DS", b"IS", b"UI", b"US", b"FD", b"AT", b"\0\0")
TEXTS = (
    b"",
    b"nan",
    b"inf",
    b"1e999",
    b"-0",
    b"1,5",
    b"\xff\xfe",
    b"\\" * 9,
    b"9" * 400,
    b"\x1b$B\x1b(B",
    b"CT\0\0",
    b"..",
)
KINDS = ("flip", "cut", "insert", "drop", "length", "vr", "value", "double")


@frozen
class Damage:
    """One change of a file's bytes: what, where (share of the file, or of its elements), and with what."""

    kind: str
    where: float
    what: int


@cache
def valid_files() -> dict[str, bytes]:
    """Valid files by name: our phantoms in every transfer syntax taken, objects beside a series, public files."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        paths = a_series(folder / "series", size=48)
        sources = outlines.headers(paths)
        found["ct"] = paths[0].read_bytes()
        for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
            found[f"ct {syntax.keyword}"] = _converted(folder / "converted.dcm", syntax)
        for syntax in (JPEG2000Lossless, JPEGLSLossless, RLELossless, JPEGExtended12Bit):
            found[f"ct {syntax.keyword}"] = saved(folder / "compressed.dcm", with_codestream(syntax)).read_bytes()
        found["key objects"] = outlines.key_objects(folder / "ko.dcm", sources[:1]).read_bytes()
        areas = {"Gastric tumour": [9, 25, 4], "Liver": [100, 100, 100]}
        found["segmentation"] = outlines.segmentation(folder / "seg.dcm", sources, areas).read_bytes()
        found["structure set"] = outlines.structure_set(
            folder / "rt.dcm", sources, {"GTV stomach": {0: [4.0], 1: [8.0]}}
        ).read_bytes()
    public = {path.name: path.read_bytes() for path in sorted(BUNDLED.glob("*.dcm"))}
    return found | {name: body for name, body in public.items() if len(body) < 1_000_000}


def _converted(path: Path, syntax: UID) -> bytes:
    ds = slice_of()
    ds.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = b"".join(ds.PixelData[i : i + 2][::-1] for i in range(0, len(ds.PixelData), 2))
    return saved(path, ds).read_bytes()


def damaged(body: bytes, damages: Sequence[Damage]) -> bytes:
    """`body` after one change after another."""
    for damage in damages:
        body = _CHANGES[damage.kind](body, damage)
    return body


def _flip(body: bytes, d: Damage) -> bytes:
    at = int(d.where * max(0, len(body) - 1))
    return body[:at] + bytes([(body[at] if body else 0) ^ (1 + d.what % 255)]) + body[at + 1 :]


def _insert(body: bytes, d: Damage) -> bytes:
    at = int(d.where * len(body))
    return body[:at] + random.Random(d.what).randbytes(1 + d.what % 64) + body[at:]


def _drop(body: bytes, d: Damage) -> bytes:
    at = int(d.where * len(body))
    return body[:at] + body[at + 1 + d.what % 64 :]


def _elements(body: bytes) -> list[tuple[int, int, int]]:
    """Where each explicit little endian element of the top level begins, where its value begins, and its length."""
    found, at = [], 132 if body[128:132] == b"DICM" else 0
    while at + 8 <= len(body):
        vr = body[at + 4 : at + 6]
        if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"UC", b"UR", b"OD", b"OL"):
            value, length = at + 12, struct.unpack_from("<L", body.ljust(at + 12, b"\0"), at + 8)[0]
        elif vr.isalpha():
            value, length = at + 8, struct.unpack_from("<H", body, at + 6)[0]
        else:
            value, length = at + 8, struct.unpack_from("<L", body, at + 4)[0]
        found.append((at, value, length))
        at = value + length
    return found or [(0, 0, 0)]


def _element(body: bytes, d: Damage) -> tuple[int, int, int]:
    known = _elements(body)
    return known[int(d.where * (len(known) - 1))]


def _length(body: bytes, d: Damage) -> bytes:
    at, value, _ = _element(body, d)
    size = max(2, value - at - 8)
    new = LENGTHS[d.what % len(LENGTHS)] & ((1 << 8 * size) - 1)
    return body[: value - size] + new.to_bytes(size, "little") + body[value:]


def _vr(body: bytes, d: Damage) -> bytes:
    at = _element(body, d)[0]
    return body[: at + 4] + VRS[d.what % len(VRS)] + body[at + 6 :]


def _value(body: bytes, d: Damage) -> bytes:
    at, value, length = _element(body, d)
    text = TEXTS[d.what % len(TEXTS)]
    text += b" " * (len(text) % 2)
    size = max(2, value - at - 8)
    return body[: value - size] + len(text).to_bytes(size, "little") + text + body[value + length :]


def _double(body: bytes, d: Damage) -> bytes:
    at, value, length = _element(body, d)
    return body[:at] + body[at : value + length] + body[at:]


_CHANGES = {
    "flip": _flip,
    "cut": lambda body, d: body[: int(d.where * len(body))],
    "insert": _insert,
    "drop": _drop,
    "length": _length,
    "vr": _vr,
    "value": _value,
    "double": _double,
}


def drawn(seed: int) -> tuple[str, list[Damage]]:
    """A file's name and what befalls it, the same for the same seed."""
    chance = random.Random(seed)
    name = chance.choice(sorted(valid_files()))
    count = chance.randint(1, 4)
    return name, [Damage(chance.choice(KINDS), chance.random(), chance.randrange(1 << 16)) for _ in range(count)]


def read_by_everyone(folder: Path) -> None:
    """Give the one file ``a.dcm`` of a folder to every reader; a refusal is an answer, any other exception a fault.

    Raises
    ------
    Exception
        Whatever a reader raised that is no `CaseRejected`.
    """
    path, beside = folder / "a.dcm", folder / "beside"
    good = sorted(beside.glob("*.dcm")) or a_series(beside, size=48)
    rows = headers.read_series(folder, ValidateConfig(), look := PixelLook())
    headers.geometry(rows)
    look.facts()
    look.phase()
    evidence = SeriesEvidence(SeriesRecord("1.2", "1.2.3", "CT"), *read_probe([path], instances=40))
    select_portal_venous([evidence]).sentence()
    is_intact(path, slice_of().SOPInstanceUID)
    with suppress(CaseRejected):
        read_series(folder).hu()
    volume = read_series(beside)
    with suppress(CaseRejected):
        find_key_slice(volume, key_objects=[path], segmentations=[path])
    lesion_on_grid([path], a_geometry(good))


def a_meta_of_vr(vr: bytes) -> bytes:
    """A valid slice whose transfer syntax (0002,0010) has another VR, as one public file has it."""
    body = valid_files()["ct"]
    at = body.index(struct.pack("<HH", 0x0002, 0x0010))
    return body[: at + 4] + vr + body[at + 6 :]


def a_group_length(value: int) -> bytes:
    """A valid slice whose file meta says another length of itself."""
    body = valid_files()["ct"]
    at = body.index(struct.pack("<HH2sH", 0x0002, 0x0000, b"UL", 4))
    return body[: at + 8] + struct.pack("<L", value) + body[at + 12 :]


def without(keyword: str) -> bytes:
    """A valid slice without an element."""
    with tempfile.TemporaryDirectory() as scratch:
        ds = slice_of()
        ds["PixelData"].VR = "OW"  # or it could not be written without the elements that decide it
        delattr(ds, keyword)
        return saved(Path(scratch) / "a.dcm", ds).read_bytes()


def a_name_of_bytes() -> bytes:
    """A valid slice whose name is no text in any character set that it states."""
    body = valid_files()["ct"]
    return body.replace(b"Phantom^Test", b"\x80\xff^\x00\xc3\x28\x1b$A\\=")
