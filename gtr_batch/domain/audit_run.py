"""What an audit is made from, whole: from the same inputs comes the same report, byte for byte."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from typing import Any

import numpy as np
from attrs import evolve, field, fields, frozen

from gtr_batch.domain.audit import AuditCase, Classification, Read, Surgery
from gtr_batch.domain.staging import StageProbabilities, TStage
from gtr_batch.errors import InputRefused


class AuditKind(StrEnum):
    """Weekly monitors, or the month's whole report."""

    WEEK = "week"
    MONTH = "month"


class AlarmLevel(StrEnum):
    """What an alarm asks of people: look at it before the next audit, or stop using the results."""

    LOOK = "look"
    STOP = "stop"


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
    detail: Mapping[str, Any] = field(factory=dict)


@frozen
class AuditInputs:
    """Everything that an audit looks at. Nothing in it names a person.

    `first` and `last` are the nights of the period (a calendar month; Monday to Sunday); `since` the first night of
    `cases`, which reach back so far as sequential monitors look; `as_of` the day by whose end pathology had to be
    reported to count. `watching_since`: monitor -> first night that it watches (the champion's first night, or the one
    that an acknowledgment named). `reference` is the artefact's. `settings` are those of the section audit. `alarms`
    are open ones at the time, and acknowledged ones whose monitor watches on as before; `previous` the headline numbers
    of the run before, where there is one.
    """

    kind: AuditKind
    first: date
    last: date
    since: date
    as_of: date
    model_version: str
    model: Mapping[str, Any]
    code_version: str
    cases: tuple[AuditCase, ...] = field(repr=False)
    settings: Mapping[str, Any] = field(factory=dict, repr=False)
    watching_since: Mapping[str, date] = field(factory=dict)
    reference: Mapping[str, Any] = field(factory=dict, repr=False)
    alarms: tuple[Mapping[str, Any], ...] = ()
    previous: Mapping[str, Any] = field(factory=dict, repr=False)
    kept_digest: str = field(default="", eq=False, repr=False)  # of the file that they were read from; "": gathered now

    @property
    def period(self) -> str:
        """``2026-03`` or ``2026-W10``."""
        if self.kind is AuditKind.MONTH:
            return f"{self.first:%Y-%m}"
        year, week, _ = self.first.isocalendar()
        return f"{year}-W{week:02d}"

    def to_json(self) -> dict[str, Any]:
        """JSON-able; cases in the order of their ids, so that the order of rows in a database does not matter."""
        value = {a.name: getattr(self, a.name) for a in fields(AuditInputs) if a.name != "kept_digest"}
        value["cases"] = [case_to_json(c) for c in sorted(self.cases, key=lambda c: c.case_id)]
        value["alarms"] = [dict(a) for a in self.alarms]
        value["watching_since"] = {name: str(day) for name, day in sorted(self.watching_since.items())}
        for name in ("first", "last", "since", "as_of", "kind"):
            value[name] = str(value[name])
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> AuditInputs:
        """What `to_json` gave; `InputRefused` where a field is missing or of the wrong kind."""
        try:
            given = _with_present_keys(value)
            for name in ("first", "last", "since", "as_of"):
                given[name] = date.fromisoformat(given[name])
            given["kind"] = AuditKind(given["kind"])
            given["cases"] = tuple(case_from_json(c) for c in given["cases"])
            given["alarms"] = tuple(given["alarms"])
            given["watching_since"] = {name: date.fromisoformat(day) for name, day in given["watching_since"].items()}
            return cls(**given)
        except (KeyError, TypeError, ValueError) as err:
            raise InputRefused(f"the kept inputs of an audit cannot be read: {type(err).__name__}: {err}") from err

    @classmethod
    def from_content(cls, content: bytes) -> AuditInputs:
        """Inputs as they were kept. They keep the name of their run, whatever their keys were called then."""
        digest = hashlib.sha256(content).hexdigest()
        return evolve(cls.from_json(json.loads(content)), kept_digest=digest)

    def content(self) -> bytes:
        """Canonical JSON; its SHA-256 names the run."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @property
    def digest(self) -> str:
        """The name of the run: SHA-256 of `content`, or of the kept file that these inputs were read from."""
        return self.kept_digest or hashlib.sha256(self.content()).hexdigest()


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


def case_to_json(case: AuditCase) -> dict[str, Any]:
    """JSON-able; features as base64 of little-endian float32."""
    value = {a.name: getattr(case, a.name) for a in fields(AuditCase)}
    for name in ("night", "study_on", "delivered_on"):
        value[name] = _text(value[name])
    value["t_stage"] = _text(case.t_stage)
    value["slice_stages"] = [str(s) for s in case.slice_stages]
    value["features"] = None
    if case.features is not None:
        value["features"] = base64.b64encode(np.asarray(case.features, "<f4").tobytes()).decode()
    for name, nested in (("surgery", case.surgery), ("read", case.read)):
        value[name] = None if nested is None else _plain(nested)
    value["flags"] = list(case.flags)
    for name, four in (("probabilities", case.probabilities), ("nomogram", case.nomogram)):
        value[name] = None if four is None else list(four.values)
    value["facts"] = dict(case.facts)
    return value


def case_from_json(value: Mapping[str, Any]) -> AuditCase:
    """What `case_to_json` gave; features at float32's precision."""
    given = dict(value)
    for name in ("night", "study_on", "delivered_on"):
        given[name] = _day(given[name])
    given["t_stage"] = _stage(given["t_stage"])
    given["slice_stages"] = tuple(TStage(s) for s in given["slice_stages"])
    for name in ("probabilities", "nomogram"):
        given[name] = None if given[name] is None else StageProbabilities(given[name])
    given["flags"] = tuple(given["flags"])
    if given["features"] is not None:
        given["features"] = tuple(np.frombuffer(base64.b64decode(given["features"]), "<f4").tolist())
    if given["surgery"] is not None:
        s = dict(given["surgery"])
        s |= {"operated_on": _day(s["operated_on"]), "reported_on": _day(s["reported_on"])}
        s |= {"classification": Classification(s["classification"]) if s["classification"] else None}
        given["surgery"] = Surgery(**s | {"t_stage": _stage(s["t_stage"])})
    if given["read"] is not None:
        r = dict(given["read"])
        stages = {name: _stage(r[name]) for name in ("radiologist_ct", "endosonographer_ut")}
        given["read"] = Read(**r | {"read_on": _day(r["read_on"])} | stages)
    return AuditCase(**given)


def known_by(case: AuditCase, day: date) -> AuditCase:
    """The case as it was known by the end of a day: no operation, report, read or delivery from later."""
    surgery, read = case.surgery, case.read
    if surgery is not None and surgery.operated_on > day:
        surgery = None
    elif surgery is not None and surgery.reported_on is not None and surgery.reported_on > day:
        surgery = Surgery(surgery.operated_on)
    if read is not None and read.read_on > day:
        read = None
    delivered = case.delivered_on if case.delivered_on is None or case.delivered_on <= day else None
    return evolve(case, surgery=surgery, read=read, delivered_on=delivered)


def _plain(value: Any) -> dict[str, Any]:
    found = {a.name: getattr(value, a.name) for a in fields(type(value))}
    return {k: v if v is None or isinstance(v, bool) else str(v) for k, v in found.items()}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _day(value: str | None) -> date | None:
    return None if value is None else date.fromisoformat(value)


def _stage(value: str | None) -> TStage | None:
    return None if value is None else TStage(value)
