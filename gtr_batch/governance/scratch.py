"""A file store that a replay may write to: the night's own steps run on it, the night stays."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from gtr_batch.domain.case import Step
from gtr_batch.ports import FileStore

# What a night found before it asked a model: a replay reads it, and adds to it what has been cleared away meanwhile.
_OF_THE_NIGHT = (Step.PACS, Step.INTAKE, Step.RETRIEVE, Step.VALIDATE)


class ScratchFiles:
    """Port `FileStore`: what the night found is read where it lies; what a model makes of it goes elsewhere."""

    def __init__(self, kept: FileStore, scratch: FileStore) -> None:
        self._kept, self._scratch = kept, scratch

    def _of(self, step: Step) -> FileStore:
        return self._kept if Step(step) in _OF_THE_NIGHT else self._scratch

    def folder(self, night: date, case_id: str, step: Step) -> Path:
        """The folder of a case's step."""
        return self._of(step).folder(night, case_id, step)

    def night_folder(self, night: date, name: str) -> Path:
        """A folder of the replay."""
        return self._scratch.night_folder(night, name)

    def write_json(self, night: date, case_id: str, step: Step, name: str, value: Any) -> Path:
        """Write ``<name>.json``."""
        return self._of(step).write_json(night, case_id, step, name, value)

    def read_json(self, night: date, case_id: str, step: Step, name: str) -> Any:
        """Read ``<name>.json``."""
        return self._of(step).read_json(night, case_id, step, name)

    def write_arrays(self, night: date, case_id: str, step: Step, name: str, arrays: Mapping[str, np.ndarray]) -> Path:
        """Write ``<name>.npz``."""
        return self._of(step).write_arrays(night, case_id, step, name, arrays)

    def read_arrays(self, night: date, case_id: str, step: Step, name: str) -> dict[str, np.ndarray]:
        """Read ``<name>.npz``."""
        return self._of(step).read_arrays(night, case_id, step, name)

    def free_bytes(self) -> int:
        """Free space."""
        return self._scratch.free_bytes()

    def discard_pixels(self, before: date, spare: Collection[str] = ()) -> int:
        """Nothing: housekeeping clears the nights."""
        return 0

    def discard_case(self, night: date, case_id: str) -> int:
        """Nothing: a replay reopens no case."""
        return 0
