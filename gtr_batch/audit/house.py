"""What an audit is given: the settings, what it looks at, and where it writes down what it found."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from attrs import define, field

from gtr_batch.config import Config
from gtr_batch.domain.rules import ruled
from gtr_batch.ports import AuditBook, AuditSource, Clock, ModelRegistry, SettingsBook

Tell = Callable[[str], None]  # what is being done now


def _silence(doing: str) -> None:
    """No progress bar."""


@define(slots=False)
class AuditHouse:
    """`gtr_batch.wiring.open_audit` builds it, tests build it from parts."""

    config: Config
    source: AuditSource
    book: AuditBook
    registry: ModelRegistry
    clock: Clock
    settings: SettingsBook | None = None
    tell: Tell = field(default=_silence)

    @property
    def folder(self) -> Path:
        """Inputs and reports of every run."""
        return self.config.audit.folder

    @cached_property
    def rules(self) -> Config:
        """The settings with the governed ones as their history has them; the file's where there is no history."""
        return self.config if self.settings is None else ruled(self.config, self.settings.current())
