"""The one reader of DICOM files that others wrote: what they may cost is judged before it is spent.

A file is opened only where it is a regular file of its own folder, and read up to a limit. Deflated data sets are
inflated up to a limit. Before a decoder runs, the header's rows, columns, frames and bits are judged, and then what
each frame's own codestream says of itself: a header may lie, and a decoder believes the codestream. Whatever is wrong
with a file, what is raised is `UnreadableFile`.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from attrs import frozen
from pydicom import Dataset, FileDataset, uid
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.filereader import read_dataset
from pydicom.pixels import iter_pixels
from pydicom.tag import Tag

from gtr_batch.errors import UnreadableFile

MIB = 1024**2


@frozen
class ReadLimits:
    """What one file may cost. A CT slice of 512 x 512 is 0.5 MiB; a segmentation of 1000 slices 32 MiB."""

    file_bytes: int = 256 * MIB  # on disk, and inflated
    side: int = 2048  # rows or columns of an image that is decoded
    frames: int = 65_535
    frame_bytes: int = 64 * MIB  # decoded
    element_bytes: int = 65_536  # an element of the header that is neither pixels nor a sequence nor long text
    reads: int = 1_000_000  # two or three for each element, nested ones too
    fragments: int = 4096  # of encapsulated pixels, beside 16 a frame
    tiles: int = 4096  # of a JPEG 2000 codestream
    series_bytes: int = 4096 * MIB  # decoded, of all slices that are held at once


LIMITS = ReadLimits()

_NATIVE = frozenset(
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    }
)
_LITTLE_ENDIAN = frozenset({uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian})
_OTHER_PIXELS = frozenset({0x7FE00008, 0x7FE00009})  # Float and Double Float Pixel Data
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010, 0x7FE00001, 0x7FE00002})
_LONG = frozenset(
    {"SQ", "UN", "UT", "UC", "UR", "OB", "OW", "OF", "OD", "OL", "OV"}
)  # and nothing is made of them here
# pydicom's parser and converters raise any of these on damaged bytes, and RecursionError (a RuntimeError) on sequences
# within sequences. Not MemoryError: that is the machine's trouble, and may pass.
BROKEN = (
    OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, RuntimeError, ArithmeticError,
    AssertionError, struct.error, zlib.error, pydicom.errors.InvalidDicomError, pydicom.errors.BytesLengthException,
)  # fmt: skip


class _Counted(BytesIO):
    """Bytes that may be read a limited number of times: millions of empty elements are no image."""

    left = LIMITS.reads

    def read(self, size: int | None = -1) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise UnreadableFile(f"holds more elements than {LIMITS.reads} reads can take in")
        return super().read(size)


def read_dicom(
    path: Path, *, tags: Sequence[Any] | None = None, stop_before_pixels: bool = False, force: bool = False
) -> FileDataset:
    """Read a DICOM file.

    Parameters
    ----------
    path : Path
        A regular file; a link may point only to a file of the same folder.
    tags : sequence, optional
        Only these elements.
    stop_before_pixels : bool
        Leave the pixels out.
    force : bool
        Also a file without preamble and file meta information.

    Raises
    ------
    UnreadableFile
        It is no DICOM file (`dicom` False), broken, or larger in any way than `LIMITS` allows.
    """
    return parse_dicom(read_file(path), tags=tags, stop_before_pixels=stop_before_pixels, force=force)


def parse_dicom(
    body: bytes, *, tags: Sequence[Any] | None = None, stop_before_pixels: bool = False, force: bool = False
) -> FileDataset:
    """As `read_dicom`, of a file's bytes."""
    if len(body) > LIMITS.file_bytes:
        raise UnreadableFile(f"has {len(body)} bytes; the limit is {LIMITS.file_bytes}")
    try:
        ds = _dataset(body, tags, stop_before_pixels, force)
        _check_elements(ds)
    except UnreadableFile:
        raise
    except BROKEN as err:
        raise UnreadableFile(f"is not readable DICOM ({type(err).__name__})", dicom=body[128:132] == b"DICM") from err
    return ds


def read_file(path: Path, limit: int = LIMITS.file_bytes) -> bytes:
    """All bytes of a regular file of its own folder.

    Raises
    ------
    UnreadableFile
        Not there, no regular file, a link out of its folder, larger than `limit`, or written to meanwhile.
    """
    path = Path(path)
    try:
        if path.is_symlink():
            path = _within_its_folder(path)
        # O_NONBLOCK: opening a fifo that nobody writes to would not end
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            before = os.fstat(handle)
            if not stat.S_ISREG(before.st_mode):
                raise UnreadableFile("is not a regular file", dicom=False)
            if before.st_size > limit:
                raise UnreadableFile(f"has {before.st_size} bytes; the limit is {limit}")
            body = file.read(limit + 1)
            after = os.fstat(handle)
    except OSError as err:
        raise UnreadableFile(f"cannot be read ({errno.errorcode.get(err.errno or 0, 'OSError')})", dicom=False) from err
    if len(body) != before.st_size or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise UnreadableFile("was written to while it was read")
    return body


def _within_its_folder(link: Path) -> Path:
    target = link.resolve(strict=True)
    if target.parent != link.parent.resolve():
        raise UnreadableFile("is a link out of its folder", dicom=False)
    return target


def _dataset(body: bytes, tags: Sequence[Any] | None, stop_before_pixels: bool, force: bool) -> FileDataset:
    if body[128:132] == b"DICM":
        file = _Counted(body)
        file.seek(132)
        meta = FileMetaDataset(read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2))
        if meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
            return _deflated(file.read(), body[:128], meta, tags, stop_before_pixels)
    return pydicom.dcmread(
        _Counted(body), specific_tags=_tags(tags), stop_before_pixels=stop_before_pixels, force=force
    )


def _deflated(
    packed: bytes, preamble: bytes, meta: FileMetaDataset, tags: Sequence[Any] | None, stop_before_pixels: bool
) -> FileDataset:
    plain = _inflated(memoryview(packed))
    stop = (lambda tag, _vr, _length: tag >= 0x7FE00000) if stop_before_pixels else None
    read = read_dataset(_Counted(plain), False, True, stop_when=stop, specific_tags=_tags(tags))
    ds = FileDataset(BytesIO(plain), read, preamble, meta, False, True)
    ds.set_original_encoding(False, True, read._character_set)
    return ds


def _inflated(packed: memoryview) -> bytes:
    engine, parts, size = zlib.decompressobj(-zlib.MAX_WBITS), [], 0
    for start in range(0, len(packed), 65_536):
        rest: bytes | memoryview = packed[start : start + 65_536]
        while rest and not engine.eof:
            parts.append(engine.decompress(rest, MIB))
            size, rest = size + len(parts[-1]), engine.unconsumed_tail
            if size > LIMITS.file_bytes:
                raise UnreadableFile(f"inflates to more than {LIMITS.file_bytes} bytes")
    if not engine.eof:
        raise UnreadableFile("ends before its deflated data set does")
    return b"".join(parts)


def _tags(tags: Sequence[Any] | None) -> list[Any] | None:
    """As `pydicom.dcmread` turns them into tags; its reader of a data set does not."""
    return None if tags is None else [Tag(tag) for tag in tags]


def _check_elements(ds: Dataset) -> None:
    """A position of a million numbers is no position, and to turn it into numbers is what takes the memory."""
    for tag in list(ds.keys()):
        raw = ds.get_item(tag)
        if not isinstance(raw, RawDataElement) or tag in _PIXELS or raw.value is None:
            continue
        if len(raw.value) > LIMITS.element_bytes and _vr(raw) not in _LONG:
            raise UnreadableFile(f"element {tag} has {len(raw.value)} bytes; the limit is {LIMITS.element_bytes}")


def _vr(raw: RawDataElement) -> str:
    if raw.VR is not None and raw.VR != "UN":
        return str(raw.VR)
    try:
        return dictionary_VR(raw.tag)
    except KeyError:
        return "UN"


def decode(ds: Dataset) -> np.ndarray:
    """Stored values of all frames, as ``pixel_array``, once what they cost is judged.

    Raises
    ------
    UnreadableFile
        No pixels, too large by header or codestream, or not decodable.
    """
    rows, columns, frames, sample_bytes = check_pixels(ds)
    if rows * columns * frames * sample_bytes > LIMITS.file_bytes:
        raise UnreadableFile(f"{frames} frames of {rows} x {columns} pixels take more than {LIMITS.file_bytes} bytes")
    if (stored := _uncompressed(ds, rows, columns)) is not None:
        return stored
    return np.asarray(_or_unreadable(lambda: ds.pixel_array))


def _uncompressed(ds: Dataset, rows: int, columns: int) -> np.ndarray | None:
    """Stored values of what nearly every CT slice is: one grey frame of 16 bits, not compressed. None for all else.

    The same values as ``pixel_array``, read-only, for a tenth of the time: the bits above *Bits Stored* may hold an
    old-style overlay (PS3.5, 8.1.1) and are no part of them.
    """
    try:
        bits, signed = int(ds.BitsStored), int(ds.PixelRepresentation)
        usual = (
            ds.file_meta.TransferSyntaxUID in _LITTLE_ENDIAN
            and (int(ds.BitsAllocated), int(ds.HighBit), int(ds.SamplesPerPixel)) == (16, bits - 1, 1)
            and int(ds.get("NumberOfFrames") or 1) == 1
            and 0 < bits <= 16
            and signed in (0, 1)
            and ds.PhotometricInterpretation in ("MONOCHROME1", "MONOCHROME2")
            and len(ds.PixelData) == 2 * rows * columns
            and not _OTHER_PIXELS & ds.keys()
        )
    except BROKEN:
        return None
    if not usual:
        return None
    stored = np.frombuffer(ds.PixelData, "<u2").reshape(rows, columns)
    if not signed:
        return stored if bits == 16 else stored & np.uint16((1 << bits) - 1)
    if bits == 16:
        return stored.view("<i2")
    return np.asarray((stored << np.uint16(16 - bits)).view(np.int16) >> np.int16(16 - bits))


def decode_frames(ds: Dataset, indices: Sequence[int]) -> Iterator[np.ndarray]:
    """Stored values of some frames, one after the other; raises as `decode`."""
    frames = check_pixels(ds)[2]
    if indices and max(indices) >= frames:
        raise UnreadableFile(f"has {frames} frames, not {max(indices) + 1}")
    for index in indices:
        one = [index]
        yield _or_unreadable(lambda one=one: next(iter(iter_pixels(ds, indices=one))))  # type: ignore[misc]


def _or_unreadable(decoder: Callable[[], Any]) -> Any:
    try:
        return decoder()
    except (UnreadableFile, MemoryError):
        raise
    except BaseException as err:
        # Every decoder raises its own errors on damaged data; each means the same. One written in Rust panics, which is
        # no Exception: an out-of-bounds RLE frame would end the whole task.
        if not isinstance(err, Exception) and type(err).__name__ != "PanicException":
            raise
        raise UnreadableFile(f"cannot be decoded ({type(err).__name__})") from err


def check_pixels(ds: Dataset) -> tuple[int, int, int, int]:
    """Rows, columns, frames and bytes a pixel, where `LIMITS` allow them and each codestream says the same.

    Raises
    ------
    UnreadableFile
        They do not.
    """
    try:
        return _checked_pixels(ds)
    except UnreadableFile:
        raise
    except BROKEN as err:
        raise UnreadableFile(f"cannot be decoded ({type(err).__name__})") from err


def _checked_pixels(ds: Dataset) -> tuple[int, int, int, int]:
    if "PixelData" not in ds:
        raise UnreadableFile("has no pixels")
    rows, columns = int(ds.Rows), int(ds.Columns)
    frames, samples = int(ds.get("NumberOfFrames") or 1), int(ds.get("SamplesPerPixel") or 1)
    bits = int(ds.BitsAllocated)
    if not (0 < rows <= LIMITS.side and 0 < columns <= LIMITS.side and 0 < frames <= LIMITS.frames):
        raise UnreadableFile(f"has {frames} frames of {rows} x {columns} pixels; the limit is {LIMITS.side} a side")
    if samples not in (1, 3) or bits not in (1, 8, 16, 32):
        raise UnreadableFile(f"has {samples} samples a pixel of {bits} bits")
    sample_bytes = samples * max(1, bits // 8)
    size = rows * columns * sample_bytes
    if size > LIMITS.frame_bytes:
        raise UnreadableFile(f"has frames of {size} bytes; the limit is {LIMITS.frame_bytes}")
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax in _NATIVE:
        stored = rows * columns * samples * frames * bits // 8
        if len(ds.PixelData) > 2 * stored + MIB:
            raise UnreadableFile(f"has {len(ds.PixelData)} bytes of pixels where {stored} are enough")
    else:
        _check_codestreams(ds, syntax, (rows, columns, frames, size))
    return rows, columns, frames, sample_bytes


def _check_codestreams(ds: Dataset, syntax: str, shape: tuple[int, int, int, int]) -> None:
    sizes = next((reader for known, reader in _SIZES if syntax in known), None)
    if sizes is None:
        named = uid.UID(syntax).name if syntax in uid.UID_dictionary else "not one of the standard"
        raise UnreadableFile(f"has pixels in a transfer syntax that is not decoded here ({named})")
    rows, columns, frames, size = shape
    _check_fragments(ds.PixelData, frames)
    offsets = (ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths) if "ExtendedOffsetTable" in ds else None
    for codestream in generate_frames(ds.PixelData, number_of_frames=frames, extended_offsets=offsets):
        if len(codestream) > 2 * size + MIB:
            raise UnreadableFile(f"has a frame of {len(codestream)} bytes that shall decode to {size}")
        for found in sizes(codestream):
            if found != (rows, columns):
                raise UnreadableFile(
                    f"has a codestream of {found[0]} x {found[1]} pixels, where the header says {rows} x {columns}"
                )


def _check_fragments(pixels: bytes, frames: int) -> None:
    at, count = 0, 0
    while at + 8 <= len(pixels):
        group, element, length = struct.unpack_from("<HHL", pixels, at)
        if (group, element) != (0xFFFE, 0xE000) or length == 0xFFFFFFFF:
            return  # the delimiter, or what the decoder will say is wrong
        at, count = at + 8 + length, count + 1
        if count > LIMITS.fragments + 16 * frames:
            raise UnreadableFile(f"has more than {count} fragments of pixels for {frames} frames")


def _jpeg2000_size(stream: bytes) -> list[tuple[int, int]]:
    """Rows and columns of the image, from *SIZ*.

    References
    ----------
    ISO/IEC 15444-1, A.5.1; a JP2 box around it (Annex I) must not be in DICOM (PS3.5, A.4.4) and is met all the same.
    """
    start = _contiguous_codestream(stream)
    if stream[start : start + 4] != b"\xff\x4f\xff\x51":
        raise UnreadableFile("has pixels that are no JPEG 2000 codestream")
    x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0 = struct.unpack_from(">8L", stream, start + 8)
    columns, rows = x1 - x0, y1 - y0
    if columns <= 0 or rows <= 0 or tile_x == 0 or tile_y == 0:
        raise UnreadableFile("has a JPEG 2000 codestream of no size")
    if -(-(x1 - tile_x0) // tile_x) * -(-(y1 - tile_y0) // tile_y) > LIMITS.tiles:
        raise UnreadableFile(f"has a JPEG 2000 codestream of more than {LIMITS.tiles} tiles")
    return [(rows, columns)]


def _contiguous_codestream(stream: bytes) -> int:
    at = 0
    if stream[4:8] != b"jP  ":
        return at
    while at + 8 <= len(stream):
        length, kind = struct.unpack_from(">L4s", stream, at)
        if kind == b"jp2c":
            return at + (16 if length == 1 else 8)
        if length < 8:
            break
        at += length
    raise UnreadableFile("has pixels in a JP2 file without a codestream")


_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC3, 0xF7})  # baseline, extended, lossless, JPEG-LS: what DICOM has not retired
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xDE, 0xF7}) - {0xC4, 0xC8, 0xCC}  # SOFn, DHP, SOF55
_LATER_FRAME = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf\xde\xf7]")


def _jpeg_sizes(stream: bytes) -> list[tuple[int, int]]:
    """Rows and columns of every frame header before the first scan, of JPEG and JPEG-LS.

    References
    ----------
    ITU-T T.81, B.2.2 (SOFn); ITU-T T.87, C.2.2 (SOF55) and C.2.4.1.4 (a size in *LSE*)
    """
    if stream[:2] != b"\xff\xd8":
        raise UnreadableFile("has pixels that are no JPEG codestream")
    at, found = 2, []
    while True:
        while stream[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        prefix, marker, length = struct.unpack_from(">BBH", stream, at)
        if prefix != 0xFF or length < 2:
            raise UnreadableFile("has a JPEG codestream whose markers cannot be followed")
        if marker == 0xDA:
            break
        if marker in _FRAMES:
            if marker not in _SEQUENTIAL:
                raise UnreadableFile("has a progressive or hierarchical JPEG codestream, which DICOM does not know")
            found.append(struct.unpack_from(">HH", stream, at + 5))
        if marker == 0xF8 and stream[at + 4] == 4:
            raise UnreadableFile("has a JPEG-LS codestream that gives its size twice")
        at += 2 + length
    scans = stream.count(b"\xff\xda", at)
    if not found or scans > 4 or _LATER_FRAME.search(stream, at):
        raise UnreadableFile("has a JPEG codestream of no size, of several sizes or of too many scans")
    return [(int(rows), int(columns)) for rows, columns in found]


def _run_length_sizes(stream: bytes) -> list[tuple[int, int]]:
    """Nothing: run lengths take their size from the header; but two bytes may become 128 (PS3.5, G.3.1)."""
    if len(stream) < 64 or not 0 < struct.unpack_from("<L", stream)[0] <= 15:
        raise UnreadableFile("has pixels that are no RLE frame")
    if len(stream) * 64 > 4 * LIMITS.frame_bytes:
        raise UnreadableFile(f"has an RLE frame of {len(stream)} bytes")
    return []


_SIZES: tuple[tuple[frozenset[str], Callable[[bytes], list[tuple[int, int]]]], ...] = (
    (
        frozenset({uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1})
        | {uid.JPEGLSLossless, uid.JPEGLSNearLossless},
        _jpeg_sizes,
    ),
    (
        frozenset({uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K}),
        _jpeg2000_size,
    ),
    (frozenset({uid.RLELossless}), _run_length_sizes),
)
