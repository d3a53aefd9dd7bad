"""A CT series read from its files: sorted by position, decoded, checked for what would make a volume meaningless."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import CTImageStorage

from gtr_batch.domain.identifiers import Uid
from gtr_batch.domain.reconstruction import image_type_problem
from gtr_batch.domain.refusal import RefusalCode
from gtr_batch.domain.stack import (
    LENGTH_TOLERANCE_MM,
    ORIENTATION_TOLERANCE,
    POSITION_TOLERANCE_MM,
    padding_range,
    set_aside,
)
from gtr_batch.errors import CaseRejected, UnreadableFile
from gtr_batch.preprocess.volume import Volume
from gtr_batch.reading import BROKEN, LIMITS, decode, read_dicom

_TAGS: list[Any] = [
    *("SOPClassUID", "ImageType"),
    *("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "NumberOfFrames"),
    *("Rows", "Columns", "PixelSpacing", "SliceThickness", "ImagePositionPatient", "ImageOrientationPatient"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept"),
    "PixelData",
]


def read_series(folder: Path, sop_uids: Sequence[str] | None = None) -> Volume:
    """Read a CT series from its files; their names and InstanceNumber play no part in the order.

    Parameters
    ----------
    folder : Path
        Holds the series' instances; files that are not DICOM are passed over.
    sop_uids : sequence of str, optional
        Only these instances; the others are passed over.

    Raises
    ------
    CaseRejected
        ``unreadable_pixels``: a file is truncated, cannot be decoded or is not single-frame greyscale.
        ``series_incomplete``: no instances, or some of `sop_uids` are absent.
        ``inconsistent_headers``: more than one series, orientation, matrix or spacing; no position.
        ``duplicate_slices``: two slices at one position.

    References
    ----------
    DICOM PS3.3, C.7.6.2 Image Plane Module (position along the normal of Image Orientation)
    """
    try:
        return _volume(folder, None if sop_uids is None else {str(u) for u in sop_uids})
    except (CaseRejected, OSError):
        raise
    except BROKEN as err:  # values are converted as they are asked for, and break in as many ways as pydicom has
        raise CaseRejected(
            RefusalCode.UNREADABLE_PIXELS, f"A header of the series cannot be read ({type(err).__name__})."
        ) from err


def _volume(folder: Path, wanted: set[str] | None) -> Volume:
    read = [ds for ds in (_read(path) for path in _candidates(folder, wanted)) if ds is not None]
    if wanted is not None:
        read = [ds for ds in read if ds.get("SOPInstanceUID") in wanted]
        absent = wanted - {str(ds.SOPInstanceUID) for ds in read}
        if absent:
            raise CaseRejected(
                RefusalCode.SERIES_INCOMPLETE,
                f"{len(absent)} of {len(wanted)} instances are missing, the first of them {min(absent)}.",
                {"expected": len(wanted), "absent": len(absent)},
            )
    others = set_aside([_is_slice(ds) for ds in read]) if wanted is None else frozenset()
    read = [ds for place, ds in enumerate(read) if place not in others]
    if not read:
        raise CaseRejected(RefusalCode.SERIES_INCOMPLETE, "The series holds no CT image with pixels.", {"instances": 0})
    _same(read, "SeriesInstanceUID")
    _same(read, "FrameOfReferenceUID")
    _same(read, "Rows")
    _same(read, "Columns")
    orientation = _numbers(read[0], "ImageOrientationPatient", 6)
    spacing = _numbers(read[0], "PixelSpacing", 2)
    for ds in read[1:]:
        for keyword, first, tolerance in (
            ("ImageOrientationPatient", orientation, ORIENTATION_TOLERANCE),
            ("PixelSpacing", spacing, LENGTH_TOLERANCE_MM),
        ):
            if np.abs(_numbers(ds, keyword, len(first)) - first).max() > tolerance:
                raise CaseRejected(RefusalCode.INCONSISTENT_HEADERS, f"The series holds more than one {keyword}.")
    normal = np.cross(orientation[:3], orientation[3:])
    if abs(np.linalg.norm(normal) - 1) > 1e-2 or not spacing.min() > 0:
        raise CaseRejected(
            RefusalCode.INCONSISTENT_HEADERS,
            "Image Orientation or Pixel Spacing is not possible.",
            {"orientation": orientation.tolist(), "spacing_mm": spacing.tolist()},
        )
    corners = np.array([_numbers(ds, "ImagePositionPatient", 3) for ds in read])
    along = corners @ (normal / np.linalg.norm(normal))
    order = np.argsort(along, kind="stable")
    positions = along[order]
    if len(positions) > 1 and np.diff(positions).min() <= POSITION_TOLERANCE_MM:
        raise CaseRejected(
            RefusalCode.DUPLICATE_SLICES,
            "Two slices lie at the same position.",
            {"duplicates": int((np.diff(positions) <= POSITION_TOLERANCE_MM).sum())},
        )
    read = [read[i] for i in order]
    thickness = read[0].get("SliceThickness")
    return Volume(
        stored=_stack(read),
        slope=np.array([float(ds.get("RescaleSlope", 1)) for ds in read]),
        intercept=np.array([float(ds.get("RescaleIntercept", 0)) for ds in read]),
        padding=tuple(_padding(ds) for ds in read),
        positions_mm=positions,
        pixel_spacing_mm=(float(spacing[0]), float(spacing[1])),
        sop_instance_uids=tuple(Uid(str(ds.get("SOPInstanceUID", ""))) for ds in read),
        origin_mm=tuple(corners[order[0]].tolist()),
        orientation=tuple(orientation.tolist()),
        thickness_mm=None if thickness is None else float(thickness),
        frame_of_reference_uid=str(read[0].get("FrameOfReferenceUID", "")),
    )


def _candidates(folder: Path, wanted: set[str] | None) -> list[Path]:
    if wanted is not None:
        named = [folder / f"{uid}.dcm" for uid in sorted(wanted)]
        if all(path.is_file() for path in named):
            return named
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _read(path: Path) -> pydicom.Dataset | None:
    """The instance in a file, None where it is not DICOM and does not claim to be."""
    try:
        return read_dicom(path, tags=_TAGS)
    except UnreadableFile as err:
        if path.suffix.lower() != ".dcm" and not err.dicom:
            return None
        raise


def _numbers(ds: pydicom.Dataset, keyword: str, count: int) -> np.ndarray:
    value = ds.get(keyword)
    numbers = np.array([] if value is None else [float(v) for v in np.atleast_1d(value)])
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise CaseRejected(
            RefusalCode.INCONSISTENT_HEADERS,
            f"{keyword} of {ds.get('SOPInstanceUID')} is absent or not {count} numbers",
        )
    return numbers


def _same(read: list[pydicom.Dataset], keyword: str) -> None:
    found = {ds.get(keyword) for ds in read}
    if len(found) > 1:
        raise CaseRejected(
            RefusalCode.INCONSISTENT_HEADERS, f"{len(found)} values of {keyword} in one series", {keyword: len(found)}
        )


def _padding(ds: pydicom.Dataset) -> tuple[int, int] | None:
    return padding_range(ds.get("PixelPaddingValue"), ds.get("PixelPaddingRangeLimit"), ds.PixelRepresentation == 1)


def _is_slice(ds: pydicom.Dataset) -> bool:
    """Whether an instance says that it is a primary axial CT image, or does not say what it is."""
    said = ds.get("ImageType")
    kinds = [] if said is None else [said] if isinstance(said, str) else [str(part) for part in said]
    return ds.get("SOPClassUID") in (None, CTImageStorage) and not image_type_problem(kinds)


def _stack(read: list[pydicom.Dataset]) -> np.ndarray:
    """Stored values of all slices; each dataset's pixel data is let go once it is taken."""
    first = _pixels(read[0])
    if (needed := 2 * first.size * len(read)) > LIMITS.series_bytes:
        raise CaseRejected(
            RefusalCode.SERIES_TOO_LARGE,
            f"{len(read)} slices of {first.shape[0]} x {first.shape[1]} pixels: more than {LIMITS.series_bytes} bytes",
            {"instances": len(read), "bytes": needed, "limit": LIMITS.series_bytes},
        )
    stored = np.empty((len(read), *first.shape), np.int16)
    for place, ds in enumerate(read):
        pixels = first if place == 0 else _pixels(ds)
        if stored.dtype == np.int16 and pixels.dtype != np.int16 and pixels.max(initial=0) > 32767:
            stored = stored.astype(np.int32)
        stored[place] = pixels
        del ds.PixelData
    return stored


def _pixels(ds: pydicom.Dataset) -> np.ndarray:
    """Stored values of one instance, shape (rows, columns)."""
    if int(ds.get("SamplesPerPixel", 1)) != 1 or int(ds.get("NumberOfFrames") or 1) != 1:
        raise _unreadable(ds, "is not a single greyscale frame")
    try:
        return decode(ds)
    except UnreadableFile as err:
        raise _unreadable(ds, err.why) from err


def _unreadable(ds: pydicom.Dataset, why: str) -> CaseRejected:
    return CaseRejected(
        RefusalCode.UNREADABLE_PIXELS, f"instance {ds.get('SOPInstanceUID')} {why}", {"rows": int(ds.get("Rows") or 0)}
    )
