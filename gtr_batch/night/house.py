"""What a night is given: the settings and one adapter per port."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from attrs import define, field

from gtr_batch.config import Config
from gtr_batch.domain.case import Step
from gtr_batch.ports import CaseBook, ClinicalSource, Clock, FileStore, ImageArchive, ModelShelf

Tell = Callable[[Step, int, int], None]  # step, done, total


def _silence(step: Step, done: int, total: int) -> None:
    """No progress bar."""


@define(slots=False)
class House:
    """The open house; `gtr_batch.wiring` builds it, tests build it from fakes."""

    config: Config
    archive: ImageArchive
    book: CaseBook
    clinical: ClinicalSource
    files: FileStore
    shelf: ModelShelf
    clock: Clock
    tell: Tell = field(default=_silence)

    @cached_property
    def artefact(self) -> Any:
        """The champion, loaded and checked once per process (`gtr_batch.stage.artefact.Artefact`)."""
        from gtr_batch.stage import choose_device, load_artefact

        return load_artefact(
            self.shelf.champion(), device=choose_device(self.config.stage.device, self.config.stage.threads)
        )

    @cached_property
    def model_version(self) -> str:
        """Digest of the champion, without loading its weights."""
        from gtr_batch.stage import read_version

        return str(read_version(self.shelf.champion()))


def night_window(config: Config, night: date) -> tuple[datetime, datetime]:
    """Start and end of a night's window in the PACS's wall clock time, naive as DICOM's StudyDate and StudyTime are."""
    start = datetime.combine(night, config.intake.window_start)
    return start, start + timedelta(hours=config.intake.window_hours)


def write_json(path: Path, value: Any) -> None:
    """Write one of the night's own files: 0600, under its name only when it is whole."""
    partial = path.with_suffix(".partial")
    partial.touch(mode=0o600)
    partial.write_text(json.dumps(value, indent=1))
    partial.replace(path)
