"""What happened in a demo, for people to read, and what of it is not as it should be."""

from __future__ import annotations

from attrs import define, field

PERSON = "admin"  # who answers in the demo's Airflow


@define
class Story:
    """Sentences in their order; those of `wrong` are what a demo fails on."""

    lines: list[str] = field(factory=list)
    wrong: list[str] = field(factory=list)

    def say(self, line: str) -> None:
        """One more sentence."""
        self.lines.append(line)

    def need(self, holds: bool, sentence: str) -> None:
        """Something that must be so."""
        (self.lines if holds else self.wrong).append(("" if holds else "NOT: ") + sentence)
