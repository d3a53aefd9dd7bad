"""The demo model's cohorts: drawn, prepared by the contract, kept in a cache; and the same with the stomach blanked."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from gtr_batch.domain.model import PreprocessingContract
from gtr_batch.simulation.hospital.cohort import PreparedPatient, prepare_family, prepare_patient
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
    """A prepared cohort, and where each patient's stomach lies: first and last row, first and last column."""

    cohort: PreparedSlices
    boxes: np.ndarray
    indices: np.ndarray


def gather(kind: str, seed: int, count: int, cache: Path, say: Say) -> Drawn:
    """Draw and prepare patients, or read them from `cache`; `kind` is "family" (four patients each) or "one"."""
    cache.mkdir(parents=True, exist_ok=True)
    contract = PreprocessingContract()
    slices, stages, boxes, sites, indices = [], [], [], [], []
    for index in say.bar(f"phantoms ({kind}, seed {seed})", list(range(count))):
        path = cache / f"{kind}_{seed}_{index}.npz"
        if not path.exists():
            draw = prepare_family if kind == "family" else prepare_patient
            made = draw(seed, index, contract)
            _keep(path, made if isinstance(made, list) else [made])
        with np.load(path) as kept:
            slices.append(kept["slices"])
            stages.append(kept["stage"])
            boxes.append(kept["box"])
            sites.append(kept["site"])
            indices += [index] * len(kept["stage"])
    cohort = PreparedSlices(np.concatenate(slices), np.concatenate(stages), np.concatenate(sites))
    return Drawn(cohort, np.concatenate(boxes), np.array(indices))


def _keep(path: Path, made: list[PreparedPatient]) -> None:
    arrays: dict[str, Any] = {
        "slices": np.stack([p.slices for p in made]).astype(np.float16),
        "stage": [p.stage.position for p in made],
        "box": [p.box for p in made],
        "site": [p.site for p in made],
    }
    write_with(path, lambda file: np.savez(file, **arrays))


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
