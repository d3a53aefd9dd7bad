"""Small DICOM files that claim, or become, far more than they hold."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
)

from tests.phantoms import abdomen_hu, ct_dataset

HUGE = 10_000


def slice_of(size: int = 48) -> Dataset:
    """A CT slice that nothing is wrong with."""
    return ct_dataset(0, abdomen_hu(1, size)[0])


def saved(path: Path, ds: Dataset) -> Path:
    """`ds` as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def with_codestream(syntax: UID, change: Callable[[bytes], bytes] = bytes, size: int = 48) -> Dataset:
    """A compressed CT slice whose one codestream was changed."""
    ds = slice_of(size)
    if syntax == JPEGExtended12Bit:
        source = pydicom.dcmread(Path(pydicom.__file__).parent / "data" / "test_files" / "JPGExtended.dcm")
        for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
            setattr(ds, keyword, source[keyword].value)
        ds.PixelData, ds.file_meta.TransferSyntaxUID = source.PixelData, syntax
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    else:
        ds.compress(syntax, generate_instance_uid=False)
    codestream = next(generate_frames(ds.PixelData, number_of_frames=1))
    ds.PixelData = encapsulate([change(codestream)])
    ds["PixelData"].is_undefined_length = True
    return ds


def siz_of(rows: int, columns: int, tile: int | None = None) -> Callable[[bytes], bytes]:
    """A JPEG 2000 codestream that says another size."""

    def change(stream: bytes) -> bytes:
        assert stream[:4] == b"\xff\x4f\xff\x51"
        size = struct.pack(">8L", columns, rows, 0, 0, tile or columns, tile or rows, 0, 0)
        return stream[:8] + size + stream[40:]

    return change


def sof_of(rows: int, columns: int, marker: int | None = None) -> Callable[[bytes], bytes]:
    """A JPEG or JPEG-LS codestream whose frame header says another size, or is of another process."""

    def change(stream: bytes) -> bytes:
        at = next(i for i in range(2, len(stream)) if stream[i] == 0xFF and stream[i + 1] in (0xC0, 0xC1, 0xC3, 0xF7))
        kind = stream[at : at + 2] if marker is None else bytes([0xFF, marker])
        return stream[:at] + kind + stream[at + 2 : at + 5] + struct.pack(">HH", rows, columns) + stream[at + 9 :]

    return change


def deflated(path: Path, megabytes: int) -> Path:
    """A deflated instance whose last element inflates to so many MiB; a few kB on disk for each hundred."""
    ds = slice_of()
    del ds.PixelData
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    saved(path, ds)
    whole = path.read_bytes()
    at = 132
    length = struct.unpack_from("<L", whole, at + 8)[0]
    head, body = whole[: at + 12 + length], zlib.decompress(whole[at + 12 + length :], -zlib.MAX_WBITS)
    body += struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, megabytes << 20)
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = engine.compress(body) + engine.flush(zlib.Z_FULL_FLUSH)
    one = engine.compress(bytes(1 << 20)) + engine.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(head + start + one * megabytes + engine.flush())
    return path


def nested(path: Path, depth: int, *, undefined: bool) -> Path:
    """Sequences within sequences, of undefined length (a parser follows them) or of explicit length (it need not)."""
    ds = slice_of()
    del ds.PixelData
    body, start = b"", struct.pack("<HH2sH", 0x0008, 0x1110, b"SQ", 0)
    for _ in range(depth):
        if undefined:
            item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + body + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
            body = start + struct.pack("<L", 0xFFFFFFFF) + item + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
        else:
            item = struct.pack("<HHL", 0xFFFE, 0xE000, len(body)) + body
            body = start + struct.pack("<L", len(item)) + item
    whole = saved(path, ds).read_bytes()
    at = whole.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
    path.write_bytes(whole[:at] + body + whole[at:])
    return path


LYING = {
    "jpeg2000": lambda: with_codestream(JPEG2000Lossless, siz_of(HUGE, HUGE)),
    "jpeg2000-tiles": lambda: with_codestream(JPEG2000Lossless, siz_of(512, 512, tile=4), 512),
    "jpeg": lambda: with_codestream(JPEGExtended12Bit, sof_of(HUGE, HUGE)),
    "jpeg-progressive": lambda: with_codestream(JPEGExtended12Bit, sof_of(1024, 256, marker=0xC2)),
    "jpeg-ls": lambda: with_codestream(JPEGLSLossless, sof_of(HUGE, HUGE)),
    "rle": lambda: with_codestream(RLELossless, lambda stream: stream + bytes(5 << 20)),
}
