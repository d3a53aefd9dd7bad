"""What a retraining is given: the settings and one adapter per port."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from attrs import define, field

from gtr_batch.config import Config
from gtr_batch.domain.cohort import digest_of
from gtr_batch.domain.model import ModelManifest
from gtr_batch.ports import Cases, CohortBook, CohortSource, FileStore, ImageArchive, ModelRegistry, ModelStore
from gtr_batch.writing import make_folder

TrainingProgress = Callable[[str, int, int], None]  # what, done, total


def _no_progress(what: str, done: int, total: int) -> None:
    """No progress bar."""


@define(slots=False)
class TrainingSite:
    """`gtr_batch.wiring.open_training` builds it, tests build it from fakes."""

    config: Config
    archive: ImageArchive
    cases: Cases
    source: CohortSource
    cohorts: CohortBook
    files: FileStore
    model_store: ModelStore
    registry: ModelRegistry
    progress: TrainingProgress = field(default=_no_progress)

    @cached_property
    def champion(self) -> ModelManifest:
        """The manifest of the artefact that stages tonight: its contract is the candidate's too."""
        from gtr_batch.stage import read_manifest

        return read_manifest(self.model_store.champion())[0]

    def run_folder(self, cohort_digest: str) -> Path:
        """Where this cohort is trained on with these settings: another recipe or seed is another folder."""
        import attrs

        recipe = attrs.asdict(self.config.training, filter=lambda a, _: a.name in RECIPE)
        folder = self.config.training.folder / "runs" / f"{cohort_digest[:12]}-{digest_of(_json_values(recipe))[:8]}"
        return make_folder(folder)


# What decides the weights and the fits, beside the cohort.
RECIPE = (
    "backbone",
    "start",
    "imagenet",
    "epochs",
    "batch",
    "learning_rate",
    "patience",
    "recipe",
    "seed",
    "stopping_share",
    "folds",
)


def _json_values(value: dict[str, Any]) -> dict[str, Any]:
    return {k: str(v) if isinstance(v, Path) else v for k, v in value.items()}
