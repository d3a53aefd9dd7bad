"""What an audit is made from, whole: from the same inputs comes the same report, byte for byte."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from attrs import evolve, field, frozen
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from gtr_batch.domain.audit import AuditCase, Surgery
from gtr_batch.domain.audit_json import CONVERTER, from_json, to_json
from gtr_batch.domain.audit_kind import AuditKind
from gtr_batch.domain.audit_settings import AuditSettings
from gtr_batch.domain.audited_model import AuditedModel
from gtr_batch.domain.reference import Reference
from gtr_batch.errors import InputRefused

Headline = Mapping[str, int | float | None]  # what the next audit compares itself with: shares, counts


class AlarmLevel(StrEnum):
    """What an alarm asks of people: look at it before the next audit, or stop using the results."""

    LOOK = "look"
    STOP = "stop"


@frozen
class Crossing:
    """What a monitor had reached when its alarm was raised: its title, and its value against the threshold."""

    title: str = ""
    value: float | None = None
    threshold: float | None = None


@frozen
class Alarm:
    """A monitor that crossed its threshold.

    `monitor` is its name in the settings (``stage_shift``, ``headers``, ...); `on` the last night of the data that
    crossed; `watching_since` the first night that the monitor watches: of one watch it raises one alarm.
    """

    monitor: str
    level: AlarmLevel
    on: date
    watching_since: date
    model_version: str
    sentence: str
    detail: Crossing = field(factory=Crossing)


@frozen
class RaisedAlarm:
    """An alarm in the book, with the audit that raised it and what became of it.

    `night` is the last of the data that crossed. `acknowledged_by` is None while the alarm is open; `watch_from` the
    night from which its monitor watches anew, None where it watches on as before.
    """

    alarm_id: int
    monitor: str
    level: AlarmLevel
    night: date
    watching_since: date
    model_version: str
    sentence: str
    run_id: str
    kind: AuditKind
    period: str
    raised_at: datetime
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None
    note: str | None = None
    watch_from: date | None = None
    detail: Crossing = field(factory=Crossing)

    @property
    def is_open(self) -> bool:
        """Whether nobody has looked yet."""
        return self.acknowledged_at is None


@frozen
class StandingAlarm:
    """An alarm that an audit knows of: open, or acknowledged (by whom, with what note) while its watch goes on."""

    monitor: str
    level: AlarmLevel
    night: date
    watching_since: date
    sentence: str
    alarm_id: int | None = None
    model_version: str = ""
    kind: AuditKind | None = None
    period: str = ""
    acknowledged_by: str | None = None
    note: str | None = None


@frozen
class AuditRecord:
    """An audit that was run, as the book keeps it. `files`: name -> SHA-256; `made_at` is the book's to say."""

    run_id: str
    kind: AuditKind
    period: str
    as_of: date
    model_version: str
    code_version: str
    settings: AuditSettings
    answer: str  # yes | look | stop | cannot tell
    headline: Headline
    asked_by: str
    files: Mapping[str, str] = field(factory=dict)
    made_at: datetime | None = None


@frozen
class AuditInputs:
    """Everything that an audit looks at. Nothing in it names a person.

    `first` and `last` are the nights of the period (a calendar month; Monday to Sunday); `since` the first night of
    `cases`, which reach back so far as sequential monitors look; `as_of` the day by whose end pathology had to be
    reported to count. `watching_since`: monitor -> first night that it watches (the champion's first night, or the one
    that an acknowledgment named). `reference` is the artefact's. `alarms` are open ones at the time, and acknowledged
    ones whose monitor watches on as before; `previous` the headline numbers of the run before, where there is one.
    """

    kind: AuditKind
    first: date
    last: date
    since: date
    as_of: date
    model_version: str
    model: AuditedModel
    code_version: str
    cases: tuple[AuditCase, ...] = field(repr=False)
    settings: AuditSettings = field(factory=AuditSettings, repr=False)
    watching_since: Mapping[str, date] = field(factory=dict)
    reference: Reference = field(factory=Reference, repr=False)
    alarms: tuple[StandingAlarm, ...] = ()
    previous: Headline = field(factory=dict, repr=False)
    kept_digest: str = field(default="", eq=False, repr=False)  # of the file that they were read from; "": gathered now

    @property
    def period(self) -> str:
        """``2026-03`` or ``2026-W10``."""
        return period_name(self.kind, self.first)

    @classmethod
    def from_content(cls, content: bytes) -> AuditInputs:
        """Inputs as they were kept. They keep the name of their run, whatever their keys were called then.

        Raises
        ------
        InputRefused
            It is no JSON, or a field is missing, unknown or of the wrong kind.
        """
        try:
            return evolve(from_json(json.loads(content), cls), kept_digest=hashlib.sha256(content).hexdigest())
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            raise InputRefused(f"the kept inputs of an audit cannot be read: {type(err).__name__}: {err}") from err

    def content(self) -> bytes:
        """Canonical JSON, cases by their ids, so that the order of rows in a database does not matter."""
        value = to_json(evolve(self, cases=tuple(sorted(self.cases, key=lambda c: c.case_id))))
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @property
    def digest(self) -> str:
        """The name of the run: SHA-256 of `content`, or of the kept file that these inputs were read from."""
        return self.kept_digest or hashlib.sha256(self.content()).hexdigest()


def period_name(kind: AuditKind, day: date) -> str:
    """The month, or the week, that a day lies in: ``2026-03`` or ``2026-W10``."""
    if kind is AuditKind.MONTH:
        return f"{day:%Y-%m}"
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02d}"


def known_by(case: AuditCase, day: date) -> AuditCase:
    """The case as it was known by the end of a day: no operation, report, read, reading or delivery from later."""
    surgery, read = case.surgery, case.read
    if surgery is not None and surgery.operated_on > day:
        surgery = None
    elif surgery is not None and surgery.reported_on is not None and surgery.reported_on > day:
        surgery = Surgery(surgery.operated_on)
    if read is not None and read.read_on > day:
        read = None
    delivered = case.delivered_on if case.delivered_on is None or case.delivered_on <= day else None
    known = (reading.known_by(day) for reading in case.readings)
    readings = tuple(reading for reading in known if reading is not None)
    return evolve(case, surgery=surgery, read=read, delivered_on=delivered, readings=readings)


def _with_present_keys(value: Mapping[str, Any]) -> dict[str, Any]:
    """Kept inputs with the keys of now: older files have `epochs` and, in alarms, `epoch` for a watch's first night."""
    given = dict(value)
    if "epochs" in given:
        given["watching_since"] = given.pop("epochs")
    given["alarms"] = [
        {"watching_since" if name == "epoch" else name: said for name, said in alarm.items()}
        for alarm in given["alarms"]
    ]
    return given


_kept_digest = override(omit=True)
_structured = make_dict_structure_fn(AuditInputs, CONVERTER, _cattrs_forbid_extra_keys=True, kept_digest=_kept_digest)
CONVERTER.register_structure_hook(AuditInputs, lambda value, kind: _structured(_with_present_keys(value), kind))
CONVERTER.register_unstructure_hook(
    AuditInputs, make_dict_unstructure_fn(AuditInputs, CONVERTER, kept_digest=_kept_digest)
)
