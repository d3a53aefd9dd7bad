"""Prepared slices, kept: an epoch must not pay N4 again, nor the next retraining the PACS.

A series is looked for 1) in the cache, 2) among the files of its night, while they are there, 3) in the PACS, from
where it is fetched, prepared by the contract and deleted again. Keys are (series, key slice, contract); files are 0600
and appear intact or not at all; one that was damaged is noticed by its checksums and made anew.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import attrs
import numpy as np
from attrs import field, frozen

from gtr_batch.domain.case import Step
from gtr_batch.domain.cohort import Member, digest_of
from gtr_batch.domain.identity import SeriesIdentity
from gtr_batch.domain.model import PreprocessingContract
from gtr_batch.errors import CaseRejected, PermanentError, RetrieveIncomplete
from gtr_batch.training.site import TrainingSite
from gtr_batch.writing import full_disk_is_transient, make_folder, scratch_folder, write_with


class Origin(StrEnum):
    """Where a member's slices came from."""

    CACHE = "cache"
    NIGHT = "night"
    PACS = "pacs"


@frozen(eq=False)
class Cached:
    """A member's slices.

    `slices` (3, size, size), float16; `lesion` (3, size, size), bool, or None where nobody outlined it; `stack`
    (n, size, size), float16, every axial slice as the locator sees it, or None; `key_index` the key slice's place
    in it, `heights_mm` (n,) the slices' heights, rising towards the head.
    """

    slices: np.ndarray = field(repr=False)
    lesion: np.ndarray | None = field(default=None, repr=False)
    stack: np.ndarray | None = field(default=None, repr=False)
    key_index: int = -1
    heights_mm: np.ndarray | None = field(default=None, repr=False)


class SliceCache:
    """The cache of one contract.

    Parameters
    ----------
    folder : Path
        Made where it is absent, 0700.
    contract : PreprocessingContract
    """

    def __init__(self, folder: Path, contract: PreprocessingContract) -> None:
        self.contract = contract
        self.digest = contract_digest(contract)
        self.folder = Path(folder) / self.digest[:16]

    def read(self, member: Member) -> Cached | None:
        """What is kept of a member; None where there is nothing, or it is damaged."""
        try:
            with np.load(self._path(member), allow_pickle=False) as kept:
                value = {name: kept[name] for name in kept.files}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        if "slices" not in value:
            return None
        return Cached(
            value["slices"],
            value.get("lesion"),
            value.get("stack"),
            int(value["key_index"]) if "key_index" in value else -1,
            value.get("heights_mm"),
        )

    def write(self, member: Member, cached: Cached) -> None:
        """Keep a member's slices.

        Raises
        ------
        StorageFull
            Nothing is left under the name.
        """
        arrays = {k: v for k, v in attrs.asdict(cached, recurse=False).items() if v is not None}
        path = self._path(member)
        with full_disk_is_transient(path.parent):
            make_folder(path.parent)
        write_with(path, lambda file: np.savez(file, allow_pickle=False, **arrays))

    def _path(self, member: Member) -> Path:
        return self.folder / f"{digest_of([member.series_uid, list(member.slices)])[:32]}.npz"


def contract_digest(contract: PreprocessingContract) -> str:
    """SHA-256 of a contract's numbers."""
    return digest_of(attrs.asdict(contract))


def fetch(site: TrainingSite, member: Member, cache: SliceCache, *, stack: bool = False) -> tuple[Cached, Origin]:
    """A member's slices, from the nearest place that has them; kept in the cache.

    Parameters
    ----------
    stack : bool
        Where they must come from the PACS, every axial slice as well, for the locator.

    Raises
    ------
    CaseRejected
        The series cannot be read or prepared.
    TransientError
        The PACS does not answer; `StorageFull`.
    """
    kept = cache.read(member)
    if kept is not None:
        return kept, Origin.CACHE
    found = _from_night(site, member, cache)
    if found is not None:
        cache.write(member, found)
        return found, Origin.NIGHT
    made = _from_pacs(site, member, cache.contract, stack)
    cache.write(member, made)
    return made, Origin.PACS


def gather(
    site: TrainingSite,
    members: Sequence[Member],
    *,
    stacks: int = 0,
    what: str = "slices",
    contract: PreprocessingContract | None = None,
) -> tuple[dict[str, Cached], dict[str, str], dict[str, int]]:
    """Cache all members' slices.

    Parameters
    ----------
    stacks : int
        So many of the members that must come from the PACS with every axial slice, for the locator.
    contract : PreprocessingContract, optional
        By which they are prepared; default the champion's.

    Returns
    -------
    dict of case_id to Cached
    dict of case_id to str
        Who could not be read, and why.
    dict of Origin to int
        How many came from where.

    Raises
    ------
    PermanentError
        More than `training.unreadable_share` could not be read.
    """
    cache = SliceCache(site.config.training.folder / "cache", contract or site.champion.contract)
    found: dict[str, Cached] = {}
    unreadable: dict[str, str] = {}
    origins = {str(o): 0 for o in Origin}
    for number, member in enumerate(members, 1):
        try:
            one, origin = fetch(site, member, cache, stack=stacks > 0)
            found[member.case_id] = one
            stacks -= one.stack is not None
            origins[origin] += 1
        except (CaseRejected, RetrieveIncomplete) as err:
            unreadable[member.case_id] = str(err)
        site.progress(what, number, len(members))
    limit = site.config.training.unreadable_share
    if len(unreadable) > limit * len(members):
        first = next(iter(unreadable.values()))
        raise PermanentError(
            f"{len(unreadable)} of {len(members)} series cannot be read, more than training.unreadable_share "
            f"({limit:.0%}); the first: {first}"
        )
    return found, unreadable, origins


def _from_night(site: TrainingSite, member: Member, cache: SliceCache) -> Cached | None:
    """What the night prepared, if it did so by the same contract, of the same slices."""
    try:
        at = (site.cases.get(member.case_id).night, member.case_id, Step.PREPROCESS)
        if digest_of(site.files.read_json(*at, "contract")) != cache.digest:
            return None
        if tuple(site.files.read_json(*at, "geometry")["sop_instance_uids"]) != tuple(member.slices):
            return None
        arrays = site.files.read_arrays(*at, "prepared")
    except (FileNotFoundError, KeyError, ValueError, zipfile.BadZipFile, OSError):
        return None
    lesion = arrays.get("lesion")
    return Cached(arrays["slices"].astype(np.float16), None if lesion is None else lesion.astype(bool))


def _from_pacs(site: TrainingSite, member: Member, contract: PreprocessingContract, stack: bool) -> Cached:
    from gtr_batch.preprocess import prepare_all_for_locator, prepare_volume, read_series
    from gtr_batch.preprocess.outline import lesion_on_grid

    with scratch_folder(site.config.training.folder) as folder:
        expected = [i.sop_instance_uid for i in site.archive.find_instances(member.study_uid, member.series_uid)]
        if member.slices[1] not in expected:
            raise CaseRejected("series_incomplete", "the PACS no longer lists the key slice", {"listed": len(expected)})
        identity = _identity(site, member)
        site.archive.retrieve(member.study_uid, member.series_uid, expected, folder, identity=identity)
        volume = read_series(folder, expected)
        key = volume.index(member.slices[1])
        slices, geometry = prepare_volume(volume, key, contract, member.key_slice_source)
        lesion = lesion_on_grid(_segmentations(site, member, folder), geometry)
        whole = prepare_all_for_locator(volume, contract).astype(np.float16) if stack else None
    if whole is None:
        return Cached(slices.astype(np.float16), lesion)
    return Cached(slices.astype(np.float16), lesion, whole, key, volume.heights_mm)


def _segmentations(site: TrainingSite, member: Member, folder: Path) -> list[Path]:
    """The study's segmentations, fetched; a help, so those that do not arrive are gone without."""
    found: list[Path] = []
    for series in site.archive.find_series(member.study_uid):
        if series.modality == "SEG":
            place = make_folder(folder / "SEG")
            try:
                uids = [i.sop_instance_uid for i in site.archive.find_instances(member.study_uid, series.series_uid)]
                found += site.archive.retrieve(
                    member.study_uid, series.series_uid, uids, place, identity=_identity(site, member)
                )
            except (RetrieveIncomplete, CaseRejected):
                continue
    return found


def _identity(site: TrainingSite, member: Member) -> SeriesIdentity | None:
    """Whose the images must be: another patient's would be learnt under this one's label."""
    try:
        return site.cases.get(member.case_id).identity()
    except KeyError:
        return None  # of a cohort whose cases are elsewhere: study and series are compared all the same
