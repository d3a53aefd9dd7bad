"""A series on disk as plain facts: one row per instance, and the geometry of the stack; nothing names a person."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from attrs import define, field, frozen
from pydicom.tag import Tag

from gtr_batch.config import ValidateConfig
from gtr_batch.domain.identifiers import Uid
from gtr_batch.domain.identity import SeriesIdentity
from gtr_batch.domain.reconstruction import image_type_problem, kernel_kind, kernel_shown
from gtr_batch.domain.scanner_name import manufacturer_shown, model_shown
from gtr_batch.domain.stack import POSITION_TOLERANCE_MM, set_aside
from gtr_batch.errors import CaseRejected, UnreadableFile
from gtr_batch.identity import identity_of
from gtr_batch.reading import read_dicom

# Everything that is read of a file; what decoding needs, and no more of the patient than PatientID and its issuer.
_KEYWORDS = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID",
    "IssuerOfPatientID", "Modality", "ImageType", "Manufacturer", "ManufacturerModelName", "KVP", "CTDIvol", "Exposure",
    "InstanceNumber", "AcquisitionNumber",
    "SliceThickness", "GantryDetectorTilt", "ConvolutionKernel", "ContrastBolusAgent", "BurnedInAnnotation",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SamplesPerPixel",
    "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "RescaleSlope", "RescaleIntercept",
    "RescaleType", "LossyImageCompression", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData",
    "PixelPaddingRangeLimit", "SmallestImagePixelValue", "LargestImagePixelValue",
)  # fmt: skip
_CT = "CT Image Storage"
_TAGS = [Tag(k) for k in _KEYWORDS]
# Values that may be shown as they are. Whatever else stands in these fields may be a sentence about a person.
OTHER = "another value"
_MODALITIES = (
    *("CT", "MR", "PT", "NM", "US", "CR", "DX", "MG", "XA", "RF", "SC", "OT", "SR", "KO", "PR", "SEG", "REG", "DOC"),
    *("RTSTRUCT", "RTDOSE", "RTPLAN", "RTIMAGE", "ES", "GM", "SM", "XC", "IO", "PX", "OP", "OCT", "ECG", "AU", "RG"),
)
_PHOTOMETRIC = (
    *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420"),
    *("YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT", "HSV", "ARGB", "CMYK"),
)
_RESCALE_TYPES = (  # PS3.3, C.11.1.1.2
    *("HU", "HU_MOD", "US", "OD", "MGML", "Z_EFF", "ED", "EDW", "PCT"),
    *("NORMALIZED", "UNSPECIFIED", "OFFSET", "GML", "CNTS", "BQML"),
)
_UNSAFE = re.compile(r"[^A-Za-z0-9 ._+/^-]")


@frozen
class Numbered:
    """Where a slice lies along the normal, mm, and how it is numbered: acquisition and instance."""

    along: float
    acquisition: int
    instance: int


@define
class Series:
    """What was read of one case: rows for the header suite, placed slices, and the identities only as counts.

    `set_aside` counts the instances that are no slices and were left out of `rows` and of the geometry.
    """

    rows: list[dict[str, Any]] = field(factory=list)
    placed: list[tuple[float, float, float]] = field(factory=list)  # along the normal, and off it in two directions
    numbered: list[Numbered] = field(factory=list)
    sop_uids: list[str] = field(factory=list)
    patients: set[tuple[str, str]] = field(factory=set, repr=False)
    studies: set[str] = field(factory=set)
    series: set[str] = field(factory=set)
    frames: set[str] = field(factory=set)
    orientations: set[tuple[float, ...]] = field(factory=set)
    foreign: int = 0  # instances that are not of the case's patient, study and series
    differs: set[str] = field(factory=set)  # DICOM keywords in which they are not
    set_aside: int = 0


@frozen
class Place:
    """Where one instance lies: its frame of reference, and orientation and position where it has both."""

    frame: str
    orientation: tuple[float, ...] = ()
    at: tuple[float, float, float] | None = None
    numbered: Numbered | None = None


def read_series(
    folder: Path,
    limits: ValidateConfig,
    look: Callable[[pydicom.Dataset, dict[str, Any]], dict[str, Any]],
    identity: SeriesIdentity | None = None,
) -> Series:
    """Read every ``*.dcm`` of a folder, in the order of their names.

    Parameters
    ----------
    folder : Path
        The case's ``retrieve`` folder.
    limits : ValidateConfig
        Names this site's further soft-tissue kernels.
    look : callable
        Called with each readable slice and its row; returns the pixel columns of the row.
    identity : SeriesIdentity, optional
        What every instance must say of itself; None: not compared.

    Returns
    -------
    Series
        `rows` in file order. A file that is no DICOM image has the column ``readable`` False and no other. A localizer
        or a dose page among the slices is no row: see `gtr_batch.domain.stack.set_aside`.
    """
    found = Series()
    places: list[Place | None] = []
    for path in sorted(folder.glob("*.dcm")):
        try:
            ds = read_dicom(path, tags=_TAGS)
            _compare(found, ds, identity)
            if "PixelData" not in ds and _class_name(ds) in ("", _CT):  # cut off before its pixels
                found.rows.append({"readable": False})
                places.append(None)
                continue
            row = _row(ds, limits)
            row |= {"readable": True} | (look(ds, row) if _is_slice(row) else {})
            place = _place(ds)
            _note(found, ds)
            found.rows.append(row)
            places.append(place)
        except MemoryError:  # the machine's trouble may pass; it is no property of the file
            raise
        except Exception:  # noqa: BLE001 - a broken file breaks pydicom in many ways, each the same to us: unreadable
            found.rows.append({"readable": False})
            places.append(None)
    others = set_aside([not row["readable"] or _is_slice(row) for row in found.rows])
    found.set_aside = len(others)
    found.rows = [row for index, row in enumerate(found.rows) if index not in others]
    for place in (p for index, p in enumerate(places) if index not in others and p is not None):
        found.frames.add(place.frame)
        if place.at is not None:
            found.orientations.add(place.orientation)
            found.placed.append(place.at)
        if place.numbered is not None:
            found.numbered.append(place.numbered)
    return found


def _is_slice(row: dict[str, Any]) -> bool:
    """Whether an instance says that it is a primary axial CT image, not a localizer or a page beside the slices."""
    return row["sop_class"] == _CT and not row["image_type_problem"]


def _row(ds: pydicom.Dataset, limits: ValidateConfig) -> dict[str, Any]:
    orientation = numbers(ds, "ImageOrientationPatient", 6)
    spacing = numbers(ds, "PixelSpacing", 2)
    slope, intercept = number(ds, "RescaleSlope"), number(ds, "RescaleIntercept")
    thickness = number(ds, "SliceThickness")
    kernel = ds.get("ConvolutionKernel")
    kernel_name = safe(kernel[0] if isinstance(kernel, pydicom.multival.MultiValue) and kernel else kernel)
    manufacturer = str(ds.get("Manufacturer") or "")
    return {
        "uids_valid": all(_valid(ds.get(k)) for k in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")),
        "frame_valid": _valid(ds.get("FrameOfReferenceUID")),
        "modality": known(ds.get("Modality"), _MODALITIES),
        "sop_class": _class_name(ds),
        "image_type_problem": safe(image_type_problem(_texts(ds, "ImageType"))),
        "grey_single_frame": int(ds.get("SamplesPerPixel") or 1) == 1 and int(ds.get("NumberOfFrames") or 1) == 1,
        "photometric": known(ds.get("PhotometricInterpretation"), _PHOTOMETRIC),
        "rows": int(ds.get("Rows") or 0),
        "columns": int(ds.get("Columns") or 0),
        "placed": orientation is not None and numbers(ds, "ImagePositionPatient", 3) is not None,
        "off_axis_degrees": None if orientation is None else round(_off_axis(orientation), 2),
        "turned_degrees": None if orientation is None else round(_turned(orientation), 2),
        "header_tilt_degrees": abs(number(ds, "GantryDetectorTilt") or 0.0),
        "thickness_mm": 0.0 if thickness is None else round(thickness, 4),
        "pixel_spacing_mm": 0.0 if spacing is None else round(spacing[0], 4),
        "pixel_aspect": 0.0 if spacing is None or not spacing[1] else round(spacing[0] / spacing[1], 4),
        "kernel": kernel_shown(kernel_name),
        "kernel_kind": str(kernel_kind(kernel_name, manufacturer, limits.kernels)),
        "slope": slope,
        "intercept": intercept,
        "rescale_known": slope is not None and intercept is not None and slope != 0,
        "rescale_type": known(ds.get("RescaleType"), _RESCALE_TYPES) or "HU",
        "burned_in": known(ds.get("BurnedInAnnotation"), ("YES", "NO")) or "NO",
        "manufacturer": safe(manufacturer_shown(manufacturer)),
        "model": safe(model_shown(str(ds.get("ManufacturerModelName") or ""))),
        "kvp": number(ds, "KVP"),
        "ctdi_vol_mgy": number(ds, "CTDIvol"),
        "exposure_mas": number(ds, "Exposure"),
        "contrast_agent": bool(str(ds.get("ContrastBolusAgent") or "").strip()),
        "transfer_syntax": _known_uid(ds.file_meta.get("TransferSyntaxUID")),
    }


def _compare(found: Series, ds: pydicom.Dataset, identity: SeriesIdentity | None) -> None:
    if identity is None:
        return
    said = identity_of(ds)
    if identity.is_lost(said):
        raise UnreadableFile("does not say of which study it is")
    differs = identity.differences(said)
    found.foreign += bool(differs)
    found.differs.update(differs)


def _note(found: Series, ds: pydicom.Dataset) -> None:
    found.sop_uids.append(str(ds.get("SOPInstanceUID") or ""))
    patient = identity_of(ds).patient
    found.patients.add((patient.patient_id, patient.issuer))
    found.studies.add(str(ds.get("StudyInstanceUID") or ""))
    found.series.add(str(ds.get("SeriesInstanceUID") or ""))


def _place(ds: pydicom.Dataset) -> Place:
    frame = str(ds.get("FrameOfReferenceUID") or "")
    orientation, position = numbers(ds, "ImageOrientationPatient", 6), numbers(ds, "ImagePositionPatient", 3)
    if orientation is None or position is None:
        return Place(frame)
    row, column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    along, across, down = (float(np.dot(axis, position)) for axis in (np.cross(row, column), row, column))
    instance, acquisition = number(ds, "InstanceNumber"), number(ds, "AcquisitionNumber")
    numbered = None if instance is None else Numbered(along, int(acquisition or 0), int(instance))
    return Place(frame, tuple(orientation), (along, across, down), numbered)


def geometry(series: Series) -> dict[str, Any]:
    """The stack as one row: spacing, gaps, duplicates and shear, along the slice normal; mm and degrees.

    The order of the files does not matter. Two slices nearer than 0.01 mm are one position, counted in
    ``duplicate_positions``; gaps are judged between positions that differ.

    References
    ----------
    DICOM PS3.3, C.7.6.2.1.1 (position and orientation).
    """
    facts: dict[str, Any] = {
        "slices": len(series.placed),
        "duplicate_uids": len(series.sop_uids) - len(set(series.sop_uids)),
        "duplicate_positions": 0,
        "spacing_mm": 0.0,
        "smallest_step_mm": 0.0,
        "largest_step_mm": 0.0,
        "gap_share": 0.0,
        "missing_positions": 0,
        "shear_degrees": 0.0,
        "largest_shift_mm": 0.0,
        "coverage_mm": 0.0,
        "out_of_order": out_of_order(series.numbered),
    }
    if len(series.placed) < 2:
        return facts
    placed = np.asarray(sorted(series.placed))
    steps = np.diff(placed[:, 0])
    distinct = steps > POSITION_TOLERANCE_MM
    facts["duplicate_positions"] = int((~distinct).sum())
    if not distinct.any():
        return facts
    real = steps[distinct]
    median = float(np.median(real))
    sideways = np.diff(placed[:, 1:], axis=0)[distinct]
    shifts = np.linalg.norm(sideways - np.median(sideways, axis=0), axis=1)  # a leaning stack shifts evenly
    drift = np.linalg.norm(placed[-1, 1:] - placed[0, 1:])
    facts |= {
        "spacing_mm": round(median, 4),
        "smallest_step_mm": round(float(real.min()), 4),
        "largest_step_mm": round(float(real.max()), 4),
        "gap_share": round(float(np.abs(real - median).max() / median), 4),
        "missing_positions": int(np.maximum(np.round(real / median) - 1, 0).sum()),
        "shear_degrees": round(float(np.degrees(np.arctan2(drift, placed[-1, 0] - placed[0, 0]))), 3),
        "largest_shift_mm": round(float(shifts.max()), 2),
        "coverage_mm": round(float(placed[-1, 0] - placed[0, 0]), 2),
    }
    return facts


def out_of_order(slices: Sequence[Numbered]) -> int:
    """How many slices lie elsewhere in the stack than their instance numbers say; 0 where these say nothing.

    Numbers may run either way, and each acquisition may count for itself. Where two slices have one number the numbers
    are not judged.

    References
    ----------
    DICOM PS3.3, C.7.6.1 (Instance Number identifies an image; no order is promised)
    """
    acquisitions: dict[int, list[Numbered]] = {}
    for one in slices:
        acquisitions.setdefault(one.acquisition, []).append(one)
    counts = [_out_of_order(slices)]
    if min(map(len, acquisitions.values()), default=0) >= 3:  # not an acquisition a slice, as in sequential scanning
        counts.append(sum(_out_of_order(group) or 0 for group in acquisitions.values()))
    return min((count for count in counts if count is not None), default=0)


def _out_of_order(slices: Sequence[Numbered]) -> int | None:
    upward = [one.instance for one in sorted(slices, key=lambda one: one.along)]
    if len(set(upward)) < len(upward):
        return None
    return len(upward) - max(_longest_rise(upward), _longest_rise(upward[::-1]))


def _longest_rise(values: Sequence[int]) -> int:
    """Length of the longest subsequence that rises."""
    ends: list[int] = []  # the smallest end of a rise of each length
    for value in values:
        place = bisect_left(ends, value)
        ends[place : place + 1] = [value]
    return len(ends)


def number(ds: pydicom.Dataset, keyword: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(ds.get(keyword))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return value if np.isfinite(value) else None


def numbers(ds: pydicom.Dataset, keyword: str, count: int) -> list[float] | None:
    """That many finite numbers, or None."""
    value = ds.get(keyword)
    if value is None or isinstance(value, str) or not isinstance(value, Sequence | pydicom.multival.MultiValue):
        return None
    try:
        values = [float(v) for v in value]
    except (TypeError, ValueError):
        return None
    return values if len(values) == count and bool(np.isfinite(values).all()) else None


def known(value: Any, values: Sequence[str]) -> str:
    """A value of a closed list; empty where there is none, and "another value" for whatever else was written there."""
    text = safe(value, 64)
    return text if not text or text in values else OTHER


def safe(value: Any, longest: int = 24) -> str:
    """A short code-like text: at most 24 harmless characters, so that a misused field cannot carry a sentence."""
    return _UNSAFE.sub("", str(value if value is not None else "")).strip()[:longest]


def _texts(ds: pydicom.Dataset, keyword: str) -> list[str]:
    value = ds.get(keyword)
    if value is None:
        return []
    return [str(value)] if isinstance(value, str) else [str(v) for v in value]


def _known_uid(value: object) -> str:
    """A UID of the standard; of any other one its class alone: a number that was typed may be a person's."""
    text = str(value or "")
    return text if not text or text in pydicom.uid.UID_dictionary else OTHER


def _class_name(ds: pydicom.Dataset) -> str:
    value = pydicom.uid.UID(str(ds.get("SOPClassUID") or ""))
    return safe(value.name, 48) if not value or value in pydicom.uid.UID_dictionary else "another SOP class"


def _valid(value: Any) -> bool:
    try:
        Uid(str(value or ""))
    except CaseRejected:
        return False
    return True


def _off_axis(orientation: Sequence[float]) -> float:
    """Angle between the slice normal and the patient's head-feet axis, degrees."""
    normal = np.cross(orientation[:3], orientation[3:])
    length = float(np.linalg.norm(normal))
    return 90.0 if length < 0.5 else float(np.degrees(np.arccos(np.clip(abs(normal[2]) / length, 0, 1))))


def _turned(orientation: Sequence[float]) -> float:
    """Angle of the rows from the patient's left, and of the columns from posterior, degrees; 180 for a prone stack."""
    x = np.clip(orientation[0] / max(float(np.linalg.norm(orientation[:3])), 1e-6), -1, 1)
    in_plane = np.hypot(orientation[3], orientation[4])
    y = np.clip(orientation[4] / max(float(in_plane), 1e-6), -1, 1)
    return float(np.degrees(max(np.arccos(x), np.arccos(y))))
