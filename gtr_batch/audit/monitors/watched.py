"""What a monitor says: its state, its path since it began to watch, and what it could have seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from typing import Any

from attrs import field, frozen

from gtr_batch.domain.audit_run import AlarmLevel, AuditInputs

QUIET, ALARM, CANNOT_TELL, OFF = "quiet", "alarm", "cannot tell", "off"
Point = tuple[date, float, float]  # day, value, threshold

TITLES: Mapping[str, str] = {
    "stage_shift": "Pathology against the probabilities",
    "headers": "Scanners and protocols",
    "quality": "Image quality",
    "refusals": "Refusals and failures",
    "features": "What the network sees",
    "output": "Mix of stages",
    "disagreement": "Slices that vote apart",
    "key_slice": "Where key slices come from",
    "confidence": "Accuracy that the probabilities promise",
}


@frozen
class Watched:
    """One monitor's answer.

    `state` is ``quiet``, ``alarm``, ``cannot tell`` or ``off`` (its share of the budget is 0); `level` what its alarm
    asks for. `value` is the path's latest; a path is (last day, value, threshold), oldest first: minus the decimal
    logarithm of the week's p-value for monitors of unlabelled data, nats for `stage_shift`. `could_have_seen` names
    the shift that the data at hand would have shown with 80% power. `detail` holds plain numbers for tables and
    pictures.
    """

    name: str
    title: str
    state: str
    level: AlarmLevel
    since: date
    crossed_on: date | None
    value: float | None
    threshold: float | None
    path: tuple[Point, ...] = field(repr=False)
    sentence: str
    could_have_seen: str
    detail: Mapping[str, Any] = field(factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        """JSON-able; numbers rounded to six digits, never NaN."""
        return {
            "name": self.name,
            "title": self.title,
            "state": self.state,
            "level": str(self.level),
            "since": str(self.since),
            "crossed_on": None if self.crossed_on is None else str(self.crossed_on),
            "value": plain(self.value),
            "threshold": plain(self.threshold),
            "path": [[str(day), plain(value), plain(limit)] for day, value, limit in self.path],
            "sentence": self.sentence,
            "could_have_seen": self.could_have_seen,
            "detail": plain(self.detail),
        }


def plain(value: Any) -> Any:
    """JSON-able, deeply: six digits, None for what is not finite, text for days."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):  # numpy's arrays and scalars
        return plain(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def level_of(inputs: AuditInputs, name: str) -> AlarmLevel:
    """What this site's settings say an alarm of this monitor asks for."""
    return AlarmLevel.STOP if name in inputs.settings.stop_monitors else AlarmLevel.LOOK


def silent(inputs: AuditInputs, name: str, since: date, sentence: str, state: str = CANNOT_TELL) -> Watched:
    """A monitor that has nothing to say but why."""
    none = "Nothing: the monitor is off." if state == OFF else "Nothing: the monitor could not judge."
    level = level_of(inputs, name)
    return Watched(name, TITLES[name], state, level, since, None, None, None, (), sentence, none)
