"""The demo model's cohorts: drawn, prepared by the contract, kept in a cache; and the same with the stomach blanked."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from attrs import astuple, field, frozen

from gtr_batch.domain.locating import lung_share_of
from gtr_batch.domain.model import PreprocessingContract
from gtr_batch.preprocess import Volume, prepare_all_for_locator
from gtr_batch.simulation.hospital.cohort import PreparedPatient, draw_phantom, prepare_family, prepare_patient
from gtr_batch.simulation.phantom.ranges import USUAL, Ranges
from gtr_batch.training.loop import PreparedSlices
from gtr_batch.writing import write_with


class Say:
    """Progress on stderr: one line that rewrites itself on a terminal, one line every tenth elsewhere."""

    def __call__(self, text: str) -> None:
        """A line that stays."""
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def bar(self, what: str, items: list[Any]) -> Iterable[Any]:
        """The items, told as they go by."""
        terminal = sys.stderr.isatty()
        for done, item in enumerate(items):
            if terminal:
                sys.stderr.write(f"\r{what} {done}/{len(items)} ")
            elif done % max(1, len(items) // 10) == 0:
                sys.stderr.write(f"{what} {done}/{len(items)}\n")
            sys.stderr.flush()
            yield item
        sys.stderr.write(f"{chr(13) if terminal else ''}{what} {len(items)}/{len(items)}\n")


@frozen(eq=False)
class Drawn:
    """A prepared cohort.

    `boxes`: where each patient's stomach lies, first and last row, first and last column; `walls` its thickness at the
    tumour's site, mm; `lesions` (patients, 3, size, size), bool, the tumour on the slices.
    """

    cohort: PreparedSlices
    boxes: np.ndarray
    indices: np.ndarray
    walls: np.ndarray = field(factory=lambda: np.empty(0))
    lesions: np.ndarray = field(factory=lambda: np.empty(0, bool), repr=False)


@frozen
class Drawing:
    """What is drawn, and kept as one file of the cache: `kind` is "family" (four patients), "one" or "series"."""

    kind: str
    seed: int
    index: int
    ranges: Ranges = USUAL

    def path(self, cache: Path) -> Path:
        """Its file; other ranges have another."""
        ranges = hashlib.sha256(repr(astuple(self.ranges)).encode()).hexdigest()[:8]
        return cache / f"{self.kind}_{self.seed}_{self.index}_{ranges}.npz"

    def draw(self, cache: Path) -> Path:
        """Draw and keep it, where it is not there."""
        path = self.path(cache)
        if not path.exists():
            cache.mkdir(parents=True, exist_ok=True)
            arrays = _series(self) if self.kind == "series" else _patients(self)
            write_with(path, lambda file: np.savez(file, **arrays))
        return path


def drawn_together(drawings: list[Drawing], cache: Path, workers: int, say: Say, what: str) -> None:
    """Draw what is not yet in `cache`, in as many processes."""
    missing = [one for one in drawings if not one.path(cache).exists()]
    if workers < 2 or not missing:
        for one in say.bar(what, missing):
            one.draw(cache)
        return
    context = multiprocessing.get_context("spawn")  # a fork may not follow CUDA
    with ProcessPoolExecutor(min(workers, len(missing)), context, politely) as pool:
        waiting = [pool.submit(one.draw, cache) for one in missing]
        for drawn in say.bar(what, waiting):
            drawn.result()


def politely() -> None:
    """How a process draws: one thread, and whatever else runs first."""
    import torch

    os.nice(10)
    torch.set_num_threads(1)


def gather(
    kind: str, seed: int, count: int, cache: Path, say: Say, *, ranges: Ranges = USUAL, workers: int = 1
) -> Drawn:
    """Draw and prepare patients, or read them from `cache`; `kind` is "family" (four patients each) or "one"."""
    drawings = [Drawing(kind, seed, index, ranges) for index in range(count)]
    drawn_together(drawings, cache, workers, say, f"phantoms ({kind}, seed {seed})")
    return read_drawn([(one.index, one.path(cache)) for one in drawings])


def read_drawn(files: list[tuple[int, Path]]) -> Drawn:
    """The patients of these files; each with the index that it was drawn by."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("slices", "stage", "box", "site", "wall", "lesion")}
    indices: list[int] = []
    for index, path in files:
        with np.load(path) as kept:
            for name, arrays in found.items():
                arrays.append(kept[name])
            indices += [index] * len(kept["stage"])
    whole = {name: np.concatenate(arrays) for name, arrays in found.items()}
    size = whole["slices"].shape[-1]
    lesions = np.unpackbits(whole["lesion"], axis=-1, count=size).astype(bool)
    cohort = PreparedSlices(whole["slices"], whole["stage"], whole["site"])
    return Drawn(cohort, whole["box"], np.array(indices), whole["wall"], lesions)


def _patients(one: Drawing) -> dict[str, Any]:
    draw: Callable[..., Any] = prepare_family if one.kind == "family" else prepare_patient
    made = draw(one.seed, one.index, PreprocessingContract(), ranges=one.ranges)
    patients: list[PreparedPatient] = made if isinstance(made, list) else [made]
    return {
        "slices": np.stack([p.slices for p in patients]).astype(np.float16),
        "stage": [p.stage.position for p in patients],
        "box": [p.box for p in patients],
        "site": [p.site for p in patients],
        "wall": [p.wall_mm for p in patients],
        "lesion": np.packbits([p.lesion for p in patients], axis=-1),
        "stomach": np.packbits([p.stomach for p in patients], axis=-1),
    }


def _series(one: Drawing) -> dict[str, Any]:
    """All axial slices of a phantom, as the locator sees them."""
    phantom, _, _ = draw_phantom(one.seed, one.index, one.ranges)
    mm = phantom.pixel_mm
    volume = Volume.from_hu(phantom.volume(), (phantom.scanner.thickness_mm, mm, mm))
    prepared = prepare_all_for_locator(volume, PreprocessingContract())
    return {
        "slices": prepared.astype(np.float16),
        "heights": phantom.positions_mm(),
        "lungs": lung_share_of(prepared),
        "areas": phantom.tumour_areas(),
    }


def blanked(drawn: Drawn) -> PreparedSlices:
    """The same slices with a box about the stomach at zero, z-scored again over what is left."""
    slices = drawn.cohort.slices.astype(np.float32)
    for k, (top, bottom, left, right) in enumerate(drawn.boxes):
        seen = np.ones(slices.shape[2:], bool)
        seen[top:bottom, left:right] = False
        outside = slices[k][:, seen]
        slices[k] = (slices[k] - outside.mean(axis=1)[:, None, None]) / outside.std(axis=1)[:, None, None]
        slices[k][:, ~seen] = 0
    return PreparedSlices(slices.astype(np.float16), drawn.cohort.stages, drawn.cohort.centres)
