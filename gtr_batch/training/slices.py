"""The slices that a run trains on, read from the cache in the order of its cohort."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from gtr_batch.domain.cohort import CohortManifest, Member, Split
from gtr_batch.training.cache import Cached, gather
from gtr_batch.training.site import TrainingSite
from gtr_batch.training.split import folds_of, stopping_and_fits
from gtr_batch.writing import make_folder, write_with


def prepared(site: TrainingSite, digest: str) -> tuple[Any, Any]:
    """Slices of the train patients, and of those who choose the epoch, from the cache, memory-mapped."""
    manifest = site.cohorts.cohort(digest)
    stopping, _ = validation_parts(site, manifest)
    training = members_of(site, manifest, Split.TRAIN)
    return _mapped(site, digest, training, "train"), _mapped(site, digest, stopping, "validation")


def validation_parts(site: TrainingSite, manifest: CohortManifest) -> tuple[list[Member], list[Member]]:
    """Of the validation patients: who chooses the epoch, and whom temperature, thresholds and nomogram are of."""
    settings = site.config.training
    return stopping_and_fits(members_of(site, manifest, Split.VALIDATION), settings.stopping_share, settings.seed)


def members_of(site: TrainingSite, manifest: CohortManifest, split: Split) -> list[Member]:
    """The members of a split whose slices could be read, in the order of the arrays."""
    unreadable = json.loads((site.run_folder(manifest.digest) / "slices.json").read_text())["unreadable"]
    return [m for m in manifest.of(split) if m.case_id not in unreadable]


def fold_folder(site: TrainingSite, digest: str, fold: int) -> Path:
    """Where the network that never saw this fold is trained."""
    return make_folder(site.run_folder(digest) / f"fold-{fold}")


def fold_slices(site: TrainingSite, digest: str, training: Any, stopping: Any) -> Iterator[tuple[int, Path, Any]]:
    """For each fold: its number, the folder of its network, and the train patients of all other folds."""
    from gtr_batch.training.loop import PreparedSlices

    settings = site.config.training
    if not settings.folds:
        return
    members = members_of(site, site.cohorts.cohort(digest), Split.TRAIN)
    folds = folds_of(members, settings.folds, settings.seed)
    for fold in range(settings.folds):
        rest, here = np.flatnonzero(folds != fold), fold_folder(site, digest, fold)
        write_with(here / "train.npy", partial(write_array, training.slices[rest]))
        write_with(here / "validation.npy", partial(write_array, np.asarray(stopping.slices)))
        centres = None if training.centres is None else training.centres[rest]
        yield fold, here, PreparedSlices(np.load(here / "train.npy", mmap_mode="r"), training.stages[rest], centres)


def _mapped(site: TrainingSite, digest: str, members: Sequence[Member], name: str) -> Any:
    from gtr_batch.training.loop import PreparedSlices

    cached, _, _ = gather(site, members, what=name)
    path = site.run_folder(digest) / f"{name}.npy"
    write_with(path, partial(write_array, np.stack([cached[m.case_id].slices for m in members])))
    stages = np.array([m.label.position for m in members])
    return PreparedSlices(np.load(path, mmap_mode="r"), stages, centres_of([cached[m.case_id] for m in members]))


def centres_of(cached: Sequence[Cached]) -> np.ndarray | None:
    """Row and column of each outlined lesion on its key slice; None where more than half were never outlined."""
    size = cached[0].slices.shape[-1]
    found = np.full((len(cached), 2), (size - 1) / 2)
    outlined = 0
    for k, one in enumerate(cached):
        if one.lesion is not None and one.lesion[1].any():
            found[k] = np.argwhere(one.lesion[1]).mean(axis=0)
            outlined += 1
    return found if 2 * outlined >= len(cached) else None


def write_array(array: np.ndarray, file: IO[bytes]) -> None:
    """As `numpy.save` does, but for a full disk: `numpy.ndarray.tofile` raises an OSError without its reason."""
    contiguous = np.ascontiguousarray(array)
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(contiguous))
    file.write(contiguous.data)
