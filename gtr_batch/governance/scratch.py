"""A case book and a file store that a replay may write to: the night's own steps run on them, the night stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from gtr_batch.domain import transitions
from gtr_batch.domain.case import Case, CaseState, Failure, Step
from gtr_batch.domain.clinical import Covariates
from gtr_batch.domain.refusal import Refusal
from gtr_batch.domain.score import NomogramScore
from gtr_batch.domain.staging import CaseStaging
from gtr_batch.ports import FileStore

# What a night found before it asked a model: a replay reads it, and adds to it what has been cleared away meanwhile.
_OF_THE_NIGHT = (Step.PACS, Step.INTAKE, Step.RETRIEVE, Step.VALIDATE)


class ScratchBook:
    """The part of `CaseBook` that retrieve, preprocess, stage and nomogram use, in memory, for one model."""

    def __init__(self, cases: Sequence[Case], model_version: str) -> None:
        self.cases = {case.case_id: case for case in cases}
        self.stagings: dict[str, CaseStaging] = {}
        self.features: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.scores: dict[str, tuple[NomogramScore, Covariates]] = {}
        self._model_version = model_version

    def night_model(self, night: date) -> str:
        """The model that is replayed, whatever the night had."""
        return self._model_version

    def select(self, case_ids: Sequence[str]) -> list[Case]:
        """These cases, in the order of `case_ids`."""
        return [self.cases[c] for c in case_ids]

    def events(self, case_id: str) -> list[Mapping[str, Any]]:
        """A replay begins anew."""
        return []

    def expect(self, case_id: str, sop_uids: Sequence[str]) -> None:
        """Note the instances that C-FIND promised for a case."""
        self.cases[case_id] = attrs.evolve(self.cases[case_id], expected_sop_uids=tuple(sop_uids))

    def advance(self, case_id: str, to: CaseState, detail: Mapping[str, Any] | None = None) -> None:
        """Move a case forward along the path."""
        self.cases[case_id] = transitions.advanced(self.cases[case_id], to) or self.cases[case_id]

    def refuse(self, case_id: str, step: Step, refusal: Refusal) -> None:
        """Refuse a case."""
        self.cases[case_id] = transitions.refused(self.cases[case_id], refusal) or self.cases[case_id]

    def fail(self, case_id: str, failure: Failure) -> None:
        """Note a failure."""
        self.cases[case_id] = transitions.failed(self.cases[case_id], failure) or self.cases[case_id]

    def save_staging(self, case_id: str, staging: CaseStaging) -> None:
        """Keep the answer."""
        self.stagings[case_id] = staging

    def staging(self, case_id: str) -> CaseStaging | None:
        """What `save_staging` kept."""
        return self.stagings.get(case_id)

    def save_features(self, case_id: str, model_version: str, features: np.ndarray, logits: np.ndarray) -> None:
        """Keep the key slice's features (D,) and the slices' logits (3, 4)."""
        self.features[case_id] = features, logits

    def save_score(self, case_id: str, score: NomogramScore, covariates: Covariates) -> None:
        """Keep the nomogram's answer and what it was computed from."""
        self.scores[case_id] = score, covariates


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

    def discard_pixels(self, before: date) -> int:
        """Nothing: housekeeping clears the nights."""
        return 0
