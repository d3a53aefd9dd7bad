"""Probes: a few instances of a candidate series, read for header and HU evidence before the series is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from attrs import field, frozen

from gtr_batch.domain.aorta_liver import GridSlice, MeasuredSlice
from gtr_batch.domain.contrast import phase_of
from gtr_batch.domain.stack import hounsfield, padding_range
from gtr_batch.errors import fault_of
from gtr_batch.logs import get_logger
from gtr_batch.reading import decode, read_dicom

# What selection reads, by DICOM keyword. Nothing that identifies a person, institution or operator.
KEYWORDS = (
    "SOPClassUID",
    "ImageType",
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "BodyPartExamined",
    "ScanOptions",
    "SliceThickness",
    "SpacingBetweenSlices",
    "KVP",
    "GantryDetectorTilt",
    "ConvolutionKernel",
    "ContrastBolusAgent",
    "ContrastBolusRoute",
    "ContrastBolusVolume",
    "ContrastBolusStartTime",
    "ContrastFlowRate",
    "ContrastFlowDuration",
    "ContrastBolusTotalDose",
    "AcquisitionDate",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "SeriesTime",
    "AcquisitionNumber",
    "SeriesNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PatientPosition",
    "Rows",
    "Columns",
    "PixelSpacing",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "BurnedInAnnotation",
    "DerivationDescription",
)


@frozen
class Probe:
    """What probe instances showed; unpacks as ``headers, contrast, coverage_mm``.

    `contrast` holds ``aorta_hu``, ``liver_hu``, ``aorta_slices``, ``liver_slices``, ``slices_measured`` (what was
    found of them) and one ``score_<phase>`` per judged phase of `gtr_batch.domain.contrast.Phase`; empty where no
    pixels could be read. `measured` is what each probe showed, for validation, which need not measure it again.
    """

    headers: dict[str, Any] = field(factory=dict, repr=False)
    contrast: dict[str, float] = field(factory=dict)
    coverage_mm: float | None = None
    measured: tuple[MeasuredSlice, ...] = field(default=(), repr=False)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter((self.headers, self.contrast, self.coverage_mm))


def probe_indices(n: int, probes: int = 3) -> tuple[int, ...]:
    """Which of `n` instances, ordered by Instance Number, to fetch as probes.

    Spread evenly around the middle (25, 50 and 75% for three), so that one of them meets the liver whichever end of the
    stack the numbers begin at. Ascending, each once; empty where there is nothing.
    """
    if n <= 0 or probes <= 0:
        return ()
    count = min(n, probes)
    return tuple(sorted({min(n - 1, round((k + 1) / (count + 1) * (n - 1))) for k in range(count)}))


def read_probe(paths: Sequence[Path], instances: int | None = None) -> Probe:
    """Read probe instances.

    Parameters
    ----------
    paths : sequence of Path
        One to a few DICOM files of one series. What cannot be read is left out; nothing readable gives an empty probe.
    instances : int, optional
        How many instances the series has: with two probes or more this gives the coverage.

    Returns
    -------
    Probe
        `headers` of the middle readable probe; `coverage_mm` along the slice normal, None where it cannot be told.
    """
    read: list[tuple[dict[str, Any], str, GridSlice | None]] = []
    for path in paths:
        try:
            ds = read_dicom(path)
            headers, uid = _header_values(ds), str(ds.get("SOPInstanceUID") or "")
        except Exception as err:  # noqa: BLE001 - a broken file breaks pydicom in many ways; a probe is only evidence
            get_logger("intake").warning("probe.unreadable", error=fault_of(err))
            continue
        read.append((headers, uid, _supine_slice(ds, headers)))
    if not read:
        return Probe()
    headers = read[len(read) // 2][0]
    contrast: dict[str, float] = {}
    measured = tuple(MeasuredSlice.of(uid, image) for _, uid, image in read if image is not None)
    if measured:
        evidence = phase_of([one.measure for one in measured])
        contrast = evidence.numbers() | {f"score_{phase}": score for phase, score in evidence.scores.items()}
    return Probe(headers, contrast, _coverage([h for h, _, _ in read], instances), measured)


def _header_values(ds: pydicom.Dataset) -> dict[str, Any]:
    """Values of KEYWORDS as str, int, float or a list of them; empty ones left out."""
    values: dict[str, Any] = {}
    for keyword in KEYWORDS:
        value = ds.get(keyword)
        if value is None or value == "":
            continue
        if isinstance(value, list | pydicom.multival.MultiValue):
            values[keyword] = [_scalar(v) for v in value]
        else:
            values[keyword] = _scalar(value)
    return values


def _scalar(value: Any) -> str | int | float:
    if isinstance(value, bool | int | float):
        return int(value) if isinstance(value, int) else float(value)
    return str(value)


def _supine_slice(ds: pydicom.Dataset, headers: dict[str, Any]) -> GridSlice | None:
    """The slice as it is measured, rows towards posterior and columns towards left; None where that cannot be had."""
    spacing = _numbers(headers, "PixelSpacing", 2)
    if spacing is None or not all(0.1 < mm < 10 for mm in spacing):
        return None
    orientation = _numbers(headers, "ImageOrientationPatient", 6)
    slope, intercept = _numbers({"RescaleSlope": 1, **headers}, "RescaleSlope"), _numbers(headers, "RescaleIntercept")
    if "PixelData" not in ds or orientation is None or slope is None or intercept is None:
        return None
    if headers.get("SamplesPerPixel") != 1:
        return None
    if abs(abs(orientation[0]) - 1) > 0.05 or abs(abs(orientation[4]) - 1) > 0.05:
        return None  # not axial
    try:
        if int(ds.get("NumberOfFrames") or 1) != 1:
            return None
        stored = decode(ds)
        signed = ds.get("PixelRepresentation") == 1
        padding = padding_range(ds.get("PixelPaddingValue"), ds.get("PixelPaddingRangeLimit"), signed)
    except Exception as err:  # noqa: BLE001 - a probe is only evidence
        get_logger("intake").warning("probe.undecodable", error=fault_of(err))
        return None
    image = hounsfield(stored, slope[0], intercept[0], padding)
    image = image[:: 1 if orientation[4] > 0 else -1, :: 1 if orientation[0] > 0 else -1]
    return GridSlice.of(image, (spacing[0], spacing[1]))


def _coverage(headers: Sequence[dict[str, Any]], instances: int | None) -> float | None:
    """Length of the series from the probes' positions and instance numbers, mm."""
    if not instances or instances < 2:
        return None
    placed = []
    for h in headers:
        position, orientation = _numbers(h, "ImagePositionPatient", 3), _numbers(h, "ImageOrientationPatient", 6)
        number = _numbers(h, "InstanceNumber")
        if position is not None and orientation is not None and number is not None:
            normal = np.cross(orientation[:3], orientation[3:])
            placed.append((number[0], float(np.dot(normal, position))))
    if len(placed) >= 2:
        placed.sort()
        (first, low), (last, high) = placed[0], placed[-1]
        if last > first:
            return round(abs(high - low) / (last - first) * (instances - 1), 1)
    between = _numbers(headers[0], "SpacingBetweenSlices")
    return round(abs(between[0]) * (instances - 1), 1) if between and between[0] else None


def _numbers(headers: Mapping[str, Any], keyword: str, count: int = 1) -> list[float] | None:
    """That many finite numbers, or None."""
    value = headers.get(keyword, "")
    try:
        found = [float(v) for v in (value if isinstance(value, list) else [value])]
    except (TypeError, ValueError, OverflowError):
        return None
    return found if len(found) == count and bool(np.isfinite(found).all()) else None
