"""The stop switch: whether anything may be staged or sent, and who decided so."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from attrs import frozen


class SwitchAction(StrEnum):
    """What a person did to the whole service."""

    STOP = "stop"
    RESUME = "resume"


@frozen
class SwitchEvent:
    """A person has stopped or resumed the service; `at` with time zone."""

    action: SwitchAction
    by_whom: str
    why: str
    at: datetime

    @property
    def sentence(self) -> str:
        """Who did it, when and why."""
        done = "stopped" if self.action is SwitchAction.STOP else "resumed"
        return f"the service was {done} on {self.at:%Y-%m-%d %H:%M} UTC by {self.by_whom}: {self.why}"
