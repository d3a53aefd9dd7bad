"""Which slice is the key slice, and who says so (DESIGN section 4).

In this order: a Key Object Selection of the study, the EHR's reference, the largest cross-section of a gastric tumour
in a segmentation or structure set, the automatic locator. A reference that points outside the series is passed over
and noted; it is never an error. Marks that lie apart are a flag with their distance.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pydicom
from attrs import field, frozen

from gtr_batch.config import KEY_OBJECT_TITLES
from gtr_batch.domain.locating import Location
from gtr_batch.domain.refusal import RefusalCode
from gtr_batch.domain.staging import Flag, KeySliceSource, TStage
from gtr_batch.errors import CaseRejected, UnreadableFile
from gtr_batch.preprocess.cross_section import OUTLINES, CrossSection, largest_cross_section
from gtr_batch.preprocess.key_objects import KeyObject, read_key_object
from gtr_batch.preprocess.volume import Volume
from gtr_batch.reading import read_dicom

APART_MM = 30.0  # marks of one tumour that lie further apart along the normal are told of


@frozen
class KeySlice:
    """The key slice, where it came from, and what was passed over on the way (sentences without PHI).

    `apart_mm`: how far the furthest other mark lies from it along the normal; 0 where there is none. `nearby`: the
    stages of the slices near an automatic one; `tumour_score`: the locator's largest score of any slice, where it was
    asked.
    """

    sop_instance_uid: str
    source: KeySliceSource = field(converter=KeySliceSource)
    detail: tuple[str, ...] = ()
    flags: tuple[Flag, ...] = ()
    apart_mm: float = 0.0
    nearby: tuple[TStage, ...] = ()
    tumour_score: float | None = None


@frozen
class _Marks:
    """The slices of this series that one source marks, by their place in the stack; `by` names the source in words."""

    source: KeySliceSource
    by: str
    places: tuple[int, ...]


def find_key_slice(
    series: Volume | Sequence[str],
    *,
    key_objects: Sequence[Path] = (),
    titles: Collection[str] = KEY_OBJECT_TITLES,
    ehr_sop_uid: str | None = None,
    segmentations: Sequence[Path] = (),
    locator: Callable[[], Location | None] | None = None,
) -> KeySlice:
    """Choose the key slice.

    Parameters
    ----------
    series : Volume or sequence of str
        The series, or its SOP Instance UIDs ascending along the normal; with the volume, outlines that name no source
        instance are placed by position.
    key_objects : sequence of Path
        Key Object Selection documents of the study. The newest that belongs to this series counts, with the first
        slice that it names.
    titles : collection of str
        Document titles that mark a key slice (`gtr_batch.preprocess.key_objects`).
    ehr_sop_uid : str, optional
        The EHR's referenced SOP Instance UID.
    segmentations : sequence of Path
        Segmentations and RT structure sets of the study.
    locator : callable, optional
        Says where the key slice lies in `series`, None where it cannot tell; called only when all else fails.

    Raises
    ------
    CaseRejected
        ``no_key_slice``: nothing points into this series and there is no locator.
    """
    volume = series if isinstance(series, Volume) else None
    sop_uids = tuple(volume.sop_instance_uids if volume else (str(u) for u in series))  # type: ignore[union-attr]
    notes: list[str] = []
    marked = [
        *_from_key_objects(key_objects, titles, sop_uids, notes),
        *_from_ehr(ehr_sop_uid, sop_uids, notes),
        *_from_outlines(segmentations, sop_uids, volume, notes),
    ]
    if marked:
        return _first_of(marked, sop_uids, volume, notes)
    if locator is not None:
        found = locator()
        if found is not None:
            return _automatic(found, sop_uids, notes)
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


def _automatic(found: Location, sop_uids: tuple[str, ...], notes: list[str]) -> KeySlice:
    notes.append(
        f"automatic locator: within two slices with probability {found.p_near:.2f}, expected error "
        f"{found.expected_error_mm:.0f} mm"
    )
    flags = (Flag.KEY_SLICE_UNCERTAIN,) if found.certain is False else ()
    return KeySlice(
        sop_uids[found.index],
        KeySliceSource.AUTOMATIC,
        tuple(notes),
        flags,
        nearby=found.nearby,
        tumour_score=found.best_score,
    )


def _first_of(marked: Sequence[_Marks], sop_uids: tuple[str, ...], volume: Volume | None, notes: list[str]) -> KeySlice:
    """The first source's first mark, with how far the others lie from it."""
    first, chosen = marked[0], marked[0].places[0]
    flags = []
    several = len(set(first.places))
    if several > 1:
        flags.append(Flag.SEVERAL_KEY_SLICES)
        notes.append(
            f"the first of {several} slices of this series that {first.by} marks, {_spread(volume, first.places)}"
        )
    apart_mm = 0.0
    for marks in marked:
        furthest = max(_distance(volume, chosen, place) for place in marks.places)
        if marks is not first and furthest > APART_MM:
            notes.append(f"{marks.by} marks a slice {furthest:.0f} mm away")
        apart_mm = max(apart_mm, furthest)
    if apart_mm > APART_MM:
        flags.append(Flag.KEY_SLICES_APART)
    return KeySlice(sop_uids[chosen], first.source, tuple(notes), tuple(flags), round(apart_mm, 1))


def _distance(volume: Volume | None, one: int, other: int) -> float:
    """Between two slices along the normal, mm; 0 where the positions are not known."""
    return 0.0 if volume is None else abs(float(volume.positions_mm[one] - volume.positions_mm[other]))


def _spread(volume: Volume | None, places: Sequence[int]) -> str:
    return "at unknown positions" if volume is None else f"{_distance(volume, min(places), max(places)):.0f} mm apart"


def _from_key_objects(
    paths: Sequence[Path], titles: Collection[str], sop_uids: tuple[str, ...], notes: list[str]
) -> list[_Marks]:
    """Those of this series, the newest first."""
    found: list[KeyObject] = []
    for ds in _read(paths, notes):
        try:
            one = read_key_object(ds, titles, notes)
        except Exception as err:  # noqa: BLE001 - key objects from elsewhere may lack any attribute; the case goes on
            notes.append(f"a key object selection could not be used ({type(err).__name__})")
            continue
        found += [] if one is None else [one]
    marks: list[_Marks] = []
    for one in sorted(found, reverse=True):
        places = tuple(sop_uids.index(uid) for uid in one.references if uid in sop_uids)
        if places:
            by = "the newest key object selection" if not marks else "an older key object selection"
            marks.append(_Marks(KeySliceSource.KEY_OBJECT, by, places))
        else:
            notes.append("a key object selection points to no instance of this series")
    return marks


def _from_ehr(sop_uid: str | None, sop_uids: tuple[str, ...], notes: list[str]) -> list[_Marks]:
    if not sop_uid:
        return []
    if sop_uid not in sop_uids:
        notes.append("the EHR's key slice reference is not an instance of this series")
        return []
    return [_Marks(KeySliceSource.EHR, "the EHR", (sop_uids.index(sop_uid),))]


def _from_outlines(
    paths: Sequence[Path], sop_uids: tuple[str, ...], volume: Volume | None, notes: list[str]
) -> list[_Marks]:
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
    if best is None:
        return []
    notes.append(f"largest cross-section {best.area_mm2:.0f} mm2 ({best.match.name.lower()})")
    return [_Marks(KeySliceSource.SEGMENTATION, "an outline of the tumour", (best.index,))]
