"""Which slice is the key slice, and who says so (DESIGN section 4).

In this order: a Key Object Selection of the study, the EHR's reference, the largest cross-section of a gastric tumour
in a segmentation or structure set, the automatic locator. A reference that points outside the series is passed over
and noted; it is never an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom
from attrs import field, frozen
from pydicom.uid import KeyObjectSelectionDocumentStorage

from gtr_batch.domain.refusal import RefusalCode
from gtr_batch.domain.staging import KeySliceSource
from gtr_batch.errors import CaseRejected, UnreadableFile
from gtr_batch.preprocess.cross_section import OUTLINES, CrossSection, largest_cross_section
from gtr_batch.preprocess.volume import Volume
from gtr_batch.reading import read_dicom

# CID 7010 titles that mark no finding: rejections and quality notes, and lists of everything there is
_NOT_KEY_TITLES = frozenset(
    {"113001", "113010", "113037", "113038", "113039"}
    | {"113030", "113031", "113032", "113033", "113034", "113035", "113018"}
)
_OBSERVER_TYPE, _DEVICE = "121005", "121007"  # TID 1002


@frozen
class KeySlice:
    """The key slice, where it came from, and what was passed over on the way (sentences without PHI)."""

    sop_instance_uid: str
    source: KeySliceSource = field(converter=KeySliceSource)
    detail: tuple[str, ...] = ()


def find_key_slice(
    series: Volume | Sequence[str],
    *,
    key_objects: Sequence[Path] = (),
    ehr_sop_uid: str | None = None,
    segmentations: Sequence[Path] = (),
    locator: Callable[[], np.ndarray] | None = None,
) -> KeySlice:
    """Choose the key slice.

    Parameters
    ----------
    series : Volume or sequence of str
        The series, or its SOP Instance UIDs ascending along the normal; with the volume, outlines that name no source
        instance are placed by position.
    key_objects : sequence of Path
        Key Object Selection documents of the study. The newest that belongs to this series counts; what rejects or
        merely lists images does not, nor what a device observed: this service writes such a document every night.
    ehr_sop_uid : str, optional
        The EHR's referenced SOP Instance UID.
    segmentations : sequence of Path
        Segmentations and RT structure sets of the study.
    locator : callable, optional
        Returns a score per slice, in the order of `series`; called only when all else fails.

    Raises
    ------
    CaseRejected
        ``no_key_slice``: nothing points into this series and there is no locator.
    """
    sop_uids = tuple(series.sop_instance_uids) if isinstance(series, Volume) else tuple(str(u) for u in series)
    notes: list[str] = []
    marked = _from_key_objects(key_objects, sop_uids, notes)
    if marked is not None:
        return KeySlice(marked, KeySliceSource.KEY_OBJECT, tuple(notes))
    if ehr_sop_uid:
        if ehr_sop_uid in sop_uids:
            return KeySlice(str(ehr_sop_uid), KeySliceSource.EHR, tuple(notes))
        notes.append("the EHR's key slice reference is not an instance of this series")
    section = _from_outlines(segmentations, sop_uids, series if isinstance(series, Volume) else None, notes)
    if section is not None:
        notes.append(f"largest cross-section {section.area_mm2:.0f} mm2 ({section.match.name.lower()})")
        return KeySlice(sop_uids[section.index], KeySliceSource.SEGMENTATION, tuple(notes))
    if locator is not None:
        scores = np.asarray(locator(), float)
        assert scores.shape == (len(sop_uids),), "the locator gives one score a slice"
        if np.isfinite(scores).all():
            best = int(scores.argmax())
            notes.append(f"automatic locator: score {scores[best]:.3f}, median {np.median(scores):.3f}")
            return KeySlice(sop_uids[best], KeySliceSource.AUTOMATIC, tuple(notes))
        notes.append("the automatic locator gave scores that are not finite")
    raise CaseRejected(
        RefusalCode.NO_KEY_SLICE,
        "No key object, EHR reference, segmentation or locator points to a slice of this series"
        + (f" ({'; '.join(notes)})" if notes else ""),
        {
            "slices": len(sop_uids),
            "key_objects": len(key_objects),
            "ehr_reference": bool(ehr_sop_uid),
            "segmentations": len(segmentations),
            "locator": locator is not None,
        },
    )


def _read(paths: Sequence[Path], notes: list[str]) -> list[pydicom.Dataset]:
    read = []
    for path in paths:
        try:
            read.append(read_dicom(path))
        except UnreadableFile as err:
            notes.append(f"an object beside the series {err.why}")
    return read


def _from_key_objects(paths: Sequence[Path], sop_uids: tuple[str, ...], notes: list[str]) -> str | None:
    found = []
    for ds in _read(paths, notes):
        try:
            marks = _marks(ds, notes)
        except Exception as err:  # noqa: BLE001 - key objects from elsewhere may lack any attribute; the case goes on
            notes.append(f"a key object selection could not be used ({type(err).__name__})")
            continue
        found += [] if marks is None else [marks]
    for _, _, references in sorted(found, reverse=True):
        inside = [uid for uid in references if uid in sop_uids]
        if inside:
            if len(references) > 1:
                notes.append(f"first of {len(inside)} marked slices of this series, {len(references)} marked in all")
            return inside[0]
        notes.append("a key object selection points to no instance of this series")
    return None


def _marks(ds: pydicom.Dataset, notes: list[str]) -> tuple[str, str, list[str]] | None:
    """When a key object selection was written, its UID and the images that it names; None where it marks no finding."""
    if ds.get("SOPClassUID") != KeyObjectSelectionDocumentStorage:
        return None
    title = ds.get("ConceptNameCodeSequence")
    if title and title[0].get("CodeValue") in _NOT_KEY_TITLES:
        notes.append(f"a key object selection titled {title[0].CodeValue} was passed over")
        return None
    if _observers(ds) == {_DEVICE}:
        notes.append("a key object selection by a device was passed over")
        return None
    written = f"{ds.get('ContentDate') or ''}{ds.get('ContentTime') or ''}"
    return written, str(ds.get("SOPInstanceUID")), list(_referenced(ds))


def _observers(ds: pydicom.Dataset) -> set[str]:
    """Code values of the document's observer types, none where it names no observer."""
    return {
        str(item.ConceptCodeSequence[0].CodeValue)
        for item in ds.get("ContentSequence", [])
        if item.get("ValueType") == "CODE" and item.ConceptNameCodeSequence[0].CodeValue == _OBSERVER_TYPE
    }


def _referenced(item: pydicom.Dataset) -> Iterator[str]:
    """Images that the content tree names, in its order (TID 2010)."""
    for child in item.get("ContentSequence", []):
        if child.get("ValueType") == "IMAGE":
            yield from (str(ref.ReferencedSOPInstanceUID) for ref in child.ReferencedSOPSequence)
        yield from _referenced(child)


def _from_outlines(
    paths: Sequence[Path], sop_uids: tuple[str, ...], volume: Volume | None, notes: list[str]
) -> CrossSection | None:
    best: CrossSection | None = None
    for ds in _read(paths, notes):
        try:
            if ds.get("SOPClassUID") not in OUTLINES:
                continue
            section = largest_cross_section(ds, sop_uids, volume)
        except Exception as err:  # noqa: BLE001 - outlines from elsewhere may lack any attribute; the case goes on
            notes.append(f"a segmentation or structure set could not be used ({type(err).__name__})")
            continue
        if section is None:
            notes.append("a segmentation or structure set shows no gastric tumour on a slice of this series")
        elif best is None or (section.match, section.area_mm2) > (best.match, best.area_mm2):
            best = section
    return best
