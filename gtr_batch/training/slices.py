"""The slices that a run trains on, read from the cache in the order of its cohort."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import IO, Any

import numpy as np

from gtr_batch.domain.cohort import CohortManifest, Member, Split
from gtr_batch.training.cache import Cached, gather
from gtr_batch.training.site import TrainingSite
from gtr_batch.writing import write_with


def prepared(site: TrainingSite, digest: str) -> tuple[Any, Any]:
    """Train and validation slices from the cache, memory-mapped: (PreparedSlices, PreparedSlices)."""
    manifest = site.cohorts.cohort(digest)
    return tuple(_mapped(site, digest, manifest, split) for split in (Split.TRAIN, Split.VALIDATION))  # type: ignore[return-value]


def members_of(site: TrainingSite, manifest: CohortManifest, split: Split) -> list[Member]:
    """The members of a split whose slices could be read, in the order of the arrays."""
    unreadable = json.loads((site.run_folder(manifest.digest) / "slices.json").read_text())["unreadable"]
    return [m for m in manifest.of(split) if m.case_id not in unreadable]


def _mapped(site: TrainingSite, digest: str, manifest: CohortManifest, split: Split) -> Any:
    from gtr_batch.training.loop import PreparedSlices

    members = members_of(site, manifest, split)
    cached, _, _ = gather(site, members, what=str(split))
    path = site.run_folder(digest) / f"{split}.npy"
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
