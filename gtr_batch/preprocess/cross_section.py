"""Where a segmentation or an RT structure set shows the gastric tumour largest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pydicom
from attrs import field, frozen
from pydicom.uid import UID, RTStructureSetStorage, SegmentationStorage

from gtr_batch.preprocess.tumour_names import Match, match_gastric_tumour
from gtr_batch.preprocess.volume import Volume
from gtr_batch.reading import decode_frames

# Segmentation types BINARY and FRACTIONAL share one SOP class; LABELMAP has its own
_LABEL_MAP_SEGMENTATION = UID("1.2.840.10008.5.1.4.1.1.66.7")
OUTLINES = (SegmentationStorage, _LABEL_MAP_SEGMENTATION, RTStructureSetStorage)

Locate = Callable[[str | None, Any], int | None]


@frozen
class CrossSection:
    """A tumour's largest cross-section: how surely it is the gastric tumour, which slice, and its area there."""

    match: Match
    index: int
    area_mm2: float
    name: str = field(repr=False)  # as the reader typed it: may hold anything, so it is kept out of logs


def largest_cross_section(ds: pydicom.Dataset, sop_uids: tuple[str, ...], volume: Volume | None) -> CrossSection | None:
    """The slice on which a SEG or RTSTRUCT shows the gastric tumour largest.

    Parameters
    ----------
    ds : pydicom.Dataset
        A Segmentation or an RT Structure Set.
    sop_uids : tuple of str
        The series' instances, ascending along the normal.
    volume : Volume or None
        The series' geometry, for outlines that name no source instance but share its frame of reference.

    Returns
    -------
    CrossSection or None
        None where nothing in it is a gastric tumour on a slice of this series. The surest match goes first, then the
        largest area, then the lowest slice.

    References
    ----------
    DICOM PS3.3, C.8.20 Segmentation; C.8.8.5 and C.8.8.6 Structure Set and ROI Contour Modules
    """
    place = {uid: index for index, uid in enumerate(sop_uids)}
    in_frame = volume is not None and volume.frame_of_reference_uid in _frames_of_reference(ds)

    def locate(uid: str | None, point_mm: Any) -> int | None:
        if uid in place:
            return place[uid]
        if uid or point_mm is None or volume is None or not in_frame:
            return None
        along = float(np.dot(np.asarray(point_mm, float), volume.normal))
        nearest = int(np.abs(volume.positions_mm - along).argmin())
        near = abs(float(volume.positions_mm[nearest]) - along) <= volume.spacing[0] / 2
        return nearest if near else None

    sections = _contours(ds, locate) if ds.SOPClassUID == RTStructureSetStorage else _segments(ds, locate)
    best = None
    for match, name, areas in sections:
        for index in sorted(areas):
            found = CrossSection(match, index, areas[index], name)
            if areas[index] > 0 and (best is None or (match, areas[index]) > (best.match, best.area_mm2)):
                best = found
    return best


def _frames_of_reference(ds: pydicom.Dataset) -> set[str]:
    found = {str(ds.get("FrameOfReferenceUID", ""))}
    for item in ds.get("StructureSetROISequence", []):
        found.add(str(item.get("ReferencedFrameOfReferenceUID", "")))
    return found - {""}


def _codes(item: pydicom.Dataset, keyword: str) -> list[tuple[str, str]]:
    return [
        (str(code.get("CodeValue", code.get("LongCodeValue", ""))), str(code.get("CodeMeaning", "")))
        for code in item.get(keyword, [])
    ]


def _segments(ds: pydicom.Dataset, locate: Locate) -> Iterator[tuple[Match, str, dict[int, float]]]:
    """Of each segment that may be the tumour: match, label, area in mm^2 by slice."""
    wanted = _wanted(ds)
    if not wanted:
        return
    areas: dict[int, dict[int, float]] = {number: defaultdict(float) for number in wanted}
    shared = ds.SharedFunctionalGroupsSequence[0]
    for groups, number, inside in _frames(ds, wanted):
        index = locate(*_frame_source(groups, shared))
        if index is not None:
            measures = (groups.get("PixelMeasuresSequence") or shared.PixelMeasuresSequence)[0]
            pixel_mm2 = float(measures.PixelSpacing[0]) * float(measures.PixelSpacing[1])
            areas[number][index] += float(inside.sum()) * pixel_mm2
    for number, (match, name) in wanted.items():
        yield match, name, areas[number]


def tumour_frames(ds: pydicom.Dataset, sop_uids: set[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Masks (rows, columns), bool, of the surest gastric tumour of a Segmentation, by the source instance they name."""
    if ds.SOPClassUID not in OUTLINES or ds.SOPClassUID == RTStructureSetStorage:
        return
    wanted = _wanted(ds)
    if not wanted:
        return
    surest = max(match for match, _ in wanted.values())
    shared = ds.SharedFunctionalGroupsSequence[0]
    for groups, number, inside in _frames(ds, wanted):
        uid, _ = _frame_source(groups, shared)
        if uid in sop_uids and wanted[number][0] == surest:
            yield str(uid), inside


def _wanted(ds: pydicom.Dataset) -> dict[int, tuple[Match, str]]:
    """Segments that may be the tumour, by number: how surely, and their label."""
    wanted = {}
    for segment in ds.SegmentSequence:
        types = _codes(segment, "SegmentedPropertyTypeCodeSequence")
        names = [str(segment.get("SegmentLabel", "")), str(segment.get("SegmentDescription", ""))]
        match = match_gastric_tumour(
            [*names, *(meaning for _, meaning in types)],
            types=[value for value, _ in types],
            regions=_codes(segment, "AnatomicRegionSequence"),
        )
        if match:
            wanted[int(segment.SegmentNumber)] = (match, names[0])
    return wanted


def _frames(
    ds: pydicom.Dataset, wanted: dict[int, tuple[Match, str]]
) -> Iterator[tuple[pydicom.Dataset, int, np.ndarray]]:
    """Each frame of the wanted segments: its functional groups, the segment's number, what lies inside."""
    half = int(ds.get("MaximumFractionalValue", 1)) / 2 if ds.get("SegmentationType") == "FRACTIONAL" else 0.5
    shared = ds.SharedFunctionalGroupsSequence[0]
    labelled = ds.get("SegmentationType") == "LABELMAP"
    every = list(ds.PerFrameFunctionalGroupsSequence)
    if len(every) != int(ds.get("NumberOfFrames") or 1):
        raise ValueError(f"{len(every)} functional groups for {ds.get('NumberOfFrames')} frames")
    numbers = {} if labelled else {place: _segment_number(groups, shared) for place, groups in enumerate(every)}
    places = [place for place in range(len(every)) if labelled or numbers[place] in wanted]
    for place, frame in zip(places, decode_frames(ds, places), strict=True):
        for number in wanted if labelled else [numbers[place]]:
            yield every[place], number, frame == number if labelled else frame >= half


def _segment_number(groups: pydicom.Dataset, shared: pydicom.Dataset) -> int:
    item = groups.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence
    return int(item[0].ReferencedSegmentNumber)


def _frame_source(groups: pydicom.Dataset, shared: pydicom.Dataset) -> tuple[str | None, Any]:
    """The one source instance of a frame where it names exactly one, else None and its position."""
    uids = {
        str(source.ReferencedSOPInstanceUID)
        for derivation in groups.get("DerivationImageSequence", [])
        for source in derivation.get("SourceImageSequence", [])
    }
    position = groups.get("PlanePositionSequence") or shared.get("PlanePositionSequence")
    point = position[0].ImagePositionPatient if position else None
    return (uids.pop(), point) if len(uids) == 1 else (None, point)


def _contours(ds: pydicom.Dataset, locate: Locate) -> Iterator[tuple[Match, str, dict[int, float]]]:
    """Of each region of interest that may be the tumour: match, name, area in mm^2 by slice."""
    observed = {
        int(item.ReferencedROINumber): str(item.get("RTROIInterpretedType") or "").upper()
        for item in ds.get("RTROIObservationsSequence", [])
    }
    wanted = {}
    for roi in ds.StructureSetROISequence:
        kind = observed.get(int(roi.ROINumber), "")
        match = match_gastric_tumour([str(roi.get("ROIName", ""))], gtv=kind == "GTV")
        if match and kind not in ("ORGAN", "AVOIDANCE", "EXTERNAL"):
            wanted[int(roi.ROINumber)] = (match, str(roi.get("ROIName", "")))
    for item in ds.get("ROIContourSequence", []):
        if int(item.ReferencedROINumber) not in wanted:
            continue
        polygons: dict[int, list[np.ndarray]] = defaultdict(list)
        for contour in item.get("ContourSequence", []):
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            images = {str(image.ReferencedSOPInstanceUID) for image in contour.get("ContourImageSequence", [])}
            index = locate(images.pop() if len(images) == 1 else None, points[0])
            if index is not None and contour.ContourGeometricType == "CLOSED_PLANAR" and len(points) > 2:
                polygons[index].append(points)
        yield *wanted[int(item.ReferencedROINumber)], {i: enclosed_area(found) for i, found in polygons.items()}


def enclosed_area(polygons: list[np.ndarray]) -> float:
    """Area in mm^2 of closed planar contours of one slice; a contour within another is a hole (PS3.3, C.8.8.6.3)."""
    total = 0.0
    for place, polygon in enumerate(polygons):
        area = float(np.linalg.norm(np.cross(polygon - polygon[0], np.roll(polygon, -1, 0) - polygon[0]).sum(0)) / 2)
        depth = sum(_contains(other, polygon[0]) for k, other in enumerate(polygons) if k != place)
        total += -area if depth % 2 else area
    return total


def _contains(polygon: np.ndarray, point: np.ndarray) -> bool:
    """Even-odd rule in the two axes across which the polygon extends most."""
    a, b = np.argsort(np.ptp(polygon, axis=0))[1:]
    x, y = polygon[:, a], polygon[:, b]
    x2, y2 = np.roll(x, -1), np.roll(y, -1)
    crosses = (y > point[b]) != (y2 > point[b])
    with np.errstate(divide="ignore", invalid="ignore"):
        left = point[a] < x + (point[b] - y) / (y2 - y) * (x2 - x)
    return bool((crosses & left).sum() % 2)
