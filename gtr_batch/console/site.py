"""What the console is given: the book it reads, the files that are left, and the settings."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from gtr_batch.config import Config
from gtr_batch.ports import (
    AccessTrail,
    AuditBook,
    Cases,
    Clock,
    ConsoleBook,
    KeptFiles,
    ModelRegistry,
    ReaderWords,
    StopSwitch,
)


@frozen
class ConsoleSite:
    """Settings and adapters of the console; used by many threads at once."""

    config: Config
    book: ConsoleBook
    words: ReaderWords
    cases: Cases
    audits: AuditBook
    registry: ModelRegistry
    switch: StopSwitch
    trail: AccessTrail
    files: KeptFiles
    clock: Clock
    close: Callable[[], None]

    def alert(self, subject: str, text: str, /) -> None:
        """Nothing beside the log: a page waits for no mail server. `gtr watch` tells operations of a stop."""
