"""What an audit is given: the settings, what it looks at, and where it writes down what it found."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from attrs import define, field

from gtr_batch.access import NoTrail
from gtr_batch.config import Config
from gtr_batch.domain.governed_settings import with_governed
from gtr_batch.ports import AccessTrail, AuditBook, AuditSource, Clock, ModelRegistry, SettingsBook

AuditProgress = Callable[[str], None]  # what is being done now


def _no_progress(doing: str) -> None:
    """No progress bar."""


@define(slots=False)
class AuditSite:
    """`gtr_batch.wiring.open_audit` builds it, tests build it from parts."""

    config: Config
    source: AuditSource
    book: AuditBook
    registry: ModelRegistry
    clock: Clock
    settings_history: SettingsBook
    progress: AuditProgress = field(default=_no_progress)
    trail: AccessTrail = field(factory=NoTrail)

    @property
    def folder(self) -> Path:
        """Inputs and reports of every run."""
        return self.config.audit.folder

    @cached_property
    def settings(self) -> Config:
        """The settings with the governed ones as their history has them."""
        return with_governed(self.config, self.settings_history.current())
