"""What a monitor says: its state, its path since it began to watch, and what it could have seen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, cast

from attrs import field, frozen
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

from gtr_batch.audit.json_value import json_value
from gtr_batch.audit.monitors.details import Detail
from gtr_batch.domain.audit_json import CONVERTER, to_json
from gtr_batch.domain.audit_run import AlarmLevel, AuditInputs

QUIET, ALARM, CANNOT_TELL, OFF = "quiet", "alarm", "cannot tell", "off"
Point = tuple[date, float, float]  # day, value, threshold

TITLES: Mapping[str, str] = {
    "stage_shift": "Pathology against the probabilities",
    "headers": "Scanners and protocols",
    "quality": "Image quality",
    "refusals": "Refusals, failures and cases without a stage",
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
    the shift that the data at hand would have shown with 80% power. `detail` holds numbers for tables and pictures,
    None where the monitor cannot tell.
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
    detail: Detail | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """JSON-able; numbers rounded to six digits, never NaN."""
        return cast(dict[str, Any], json_value(to_json(self), digits=6))


def _without_detail(value: Mapping[str, Any], kind: type) -> Watched:
    return _structured({**value, "detail": value["detail"] or None}, kind)


# In JSON a monitor without detail has an empty one.
_unstructured, _structured = make_dict_unstructure_fn(Watched, CONVERTER), make_dict_structure_fn(Watched, CONVERTER)
CONVERTER.register_unstructure_hook(Watched, lambda w: (found := _unstructured(w)) | {"detail": found["detail"] or {}})
CONVERTER.register_structure_hook(Watched, _without_detail)


def level_of(inputs: AuditInputs, name: str) -> AlarmLevel:
    """What this site's settings say an alarm of this monitor asks for."""
    return AlarmLevel.STOP if name in inputs.settings.stop_monitors else AlarmLevel.LOOK


def silent(inputs: AuditInputs, name: str, since: date, sentence: str, state: str = CANNOT_TELL) -> Watched:
    """A monitor that has nothing to say but why."""
    none = "Nothing: the monitor is off." if state == OFF else "Nothing: the monitor could not judge."
    level = level_of(inputs, name)
    return Watched(name, TITLES[name], state, level, since, None, None, None, (), sentence, none)
