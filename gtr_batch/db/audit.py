"""What the audit sees, and the book of audits and alarms, in PostgreSQL."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database
from gtr_batch.domain.audit import AuditCase, Classification, ConsoleReading, Read, Surgery
from gtr_batch.domain.audit_json import from_json, to_json
from gtr_batch.domain.audit_run import (
    Alarm,
    AlarmLevel,
    AuditKind,
    AuditRecord,
    Crossing,
    RaisedAlarm,
    known_by,
)
from gtr_batch.domain.audit_settings import AuditSettings
from gtr_batch.domain.staging import StageProbabilities, TStage
from gtr_batch.errors import InputRefused


class PostgresAuditSource:
    """Port `AuditSource`.

    Parameters
    ----------
    database : Database
    timezone : str
        Of the hospital: the day of a delivery is the day there, as the EHR's dates are.
    """

    def __init__(self, database: Database, timezone: str = "UTC") -> None:
        self._database = database
        self._timezone = timezone

    def cases(self, since: date, until: date, as_of: date) -> list[AuditCase]:
        """Cases of the nights `since` to `until`, as they were known by the end of `as_of`; see the port.

        A result of a model that was withdrawn since stays a result here, although the worklist hides it: what was sent
        must be judged. It says by which model it was made.
        """
        with self._database.transaction("cases for the audit") as tx:
            readings: dict[str, list[ConsoleReading]] = defaultdict(list)
            for row in tx.all(_queries()["readings"], since=since, until=until, as_of=as_of, timezone=self._timezone):
                readings[row["case_id"]].append(_reading(row))
            found = tx.each(_queries()["cases"], since=since, until=until, timezone=self._timezone)
            return [known_by(_case(row, as_of, readings.get(row["case_id"], ())), as_of) for row in found]

    def first_night(self, model_version: str) -> date | None:
        """The first night of which this model has a result; None where it never staged."""
        with self._database.transaction("first night of a model") as tx:
            row = tx.one(_queries()["first_night"], version=model_version)
        return None if row is None else row["night"]


class PostgresAuditBook:
    """Port `AuditBook`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save_run(self, run: AuditRecord) -> None:
        """Keep a run; the same run again changes nothing."""
        with self._database.transaction(f"audit {run.run_id[:12]}") as tx:
            tx.run(
                _queries()["save_run"],
                run_id=run.run_id,
                kind=str(run.kind),
                period=run.period,
                as_of=run.as_of,
                model_version=run.model_version,
                code_version=run.code_version,
                settings=rows.as_json(to_json(run.settings)),
                answer=run.answer,
                headline=rows.as_json(dict(run.headline)),
                files=rows.as_json(dict(run.files)),
                asked_by=rows.text(run.asked_by),
            )

    def run(self, digits: str) -> AuditRecord | None:
        """The one run whose id begins so; None where there is not exactly one."""
        with self._database.transaction("audit") as tx:
            found = tx.all(_queries()["run"], digits=rows.text(digits.lower()))
        return _record(found[0]) if len(found) == 1 and digits else None

    def runs(self, kind: AuditKind | None = None) -> Sequence[AuditRecord]:
        """Every run, newest first."""
        with self._database.transaction("audits") as tx:
            found = tx.all(_queries()["runs"], kind=None if kind is None else str(kind))
        return [_record(row) for row in found]

    def raise_alarms(self, run_id: str, alarms: Sequence[Alarm]) -> list[RaisedAlarm]:
        """Open alarms, all or none; returns those that are new."""
        with self._database.transaction(f"alarms of audit {run_id[:12]}") as tx:
            new = []
            # In one order, so that two sessions that raise the same wait for one another and never in a circle.
            for alarm in sorted(alarms, key=lambda a: a.monitor):
                row = tx.one(
                    _queries()["raise_alarm"],
                    monitor=alarm.monitor,
                    level=str(alarm.level),
                    night=alarm.on,
                    watching_since=alarm.watching_since,
                    model_version=alarm.model_version,
                    sentence=rows.text(alarm.sentence),
                    detail=rows.as_json(to_json(alarm.detail)),
                    run_id=run_id,
                )
                if row is not None:
                    new.append(row["alarm_id"])
            return [_alarm(row) for k in sorted(new) if (row := tx.one(_queries()["alarm"], alarm_id=k))]

    def alarms(self, *, only_open: bool = False) -> Sequence[RaisedAlarm]:
        """Every alarm with what became of it, oldest first."""
        with self._database.transaction("alarms") as tx:
            found = tx.all(_queries()["alarms"], only_open=only_open)
        return [_alarm(row) for row in found]

    def acknowledge(self, alarm_id: int, *, by: str, note: str, watch_from: date | None) -> None:
        """Close an alarm; with `watch_from` its monitor watches anew from that night.

        Raises
        ------
        InputRefused
            There is no such alarm, somebody has acknowledged it already, or `watch_from` is not after the night
            since which its monitor watches; nothing is changed.
        """
        with self._database.governor.transaction(f"acknowledging alarm {alarm_id}") as tx:
            alarm = tx.one(_queries()["alarm"], alarm_id=alarm_id)
            if alarm is None:
                raise InputRefused(f"there is no alarm {alarm_id}; `gtr audit alarms` lists them")
            if watch_from is not None and watch_from <= alarm["watching_since"]:
                raise InputRefused(
                    f"alarm {alarm_id}: its monitor watches since {alarm['watching_since']} already; let it watch "
                    "anew from a later night"
                )
            done = tx.one(
                _queries()["acknowledge"],
                alarm_id=alarm_id,
                by_whom=rows.text(by.strip()),
                note=rows.text(note.strip()),
                watch_from=watch_from,
            )
            if done is None:
                first = tx.one(_queries()["alarm"], alarm_id=alarm_id) or {}
                raise InputRefused(
                    f"alarm {alarm_id} was acknowledged by {first['acknowledged_by']} already, at "
                    f"{first['acknowledged_at']:%Y-%m-%d %H:%M} UTC; nothing is changed"
                )

    def pause(self, alarm_id: int) -> None:
        """Note that an alarm holds reports back, so that the worklist hides what the PACS is not given."""
        with self._database.transaction(f"pause of delivery by alarm {alarm_id}") as tx:
            tx.run(_queries()["pause"], alarm_id=alarm_id)


def _record(row: Mapping[str, Any]) -> AuditRecord:
    kind, settings = AuditKind(row["kind"]), from_json(row["settings"], AuditSettings)
    return AuditRecord(**{**row, "kind": kind, "settings": settings})


def _alarm(row: Mapping[str, Any]) -> RaisedAlarm:
    level, kind, detail = AlarmLevel(row["level"]), AuditKind(row["kind"]), from_json(row["detail"], Crossing)
    return RaisedAlarm(**{**row, "level": level, "kind": kind, "detail": detail})


def _reading(row: Mapping[str, Any]) -> ConsoleReading:
    stages = {name: None if row[name] is None else TStage(row[name]) for name in ("own_stage", "said")}
    return ConsoleReading(TStage(row["ai_stage"]), own_on=row["own_on"], said_on=row["said_on"], **stages)


def _case(row: Mapping[str, Any], as_of: date, readings: Sequence[ConsoleReading]) -> AuditCase:
    staged = bool(row["is_staged"])
    return AuditCase(
        case_id=row["case_id"],
        subject=row["subject"],
        night=row["night"],
        study_on=row["study_on"],
        model_version=row["model_version"] or "",
        refusal=row["refusal"] or "",
        failed=not staged and row["refusal"] is None,
        t_stage=TStage(row["t_stage"]) if row["t_stage"] else None,
        not_staged=row["not_staged"] or "",
        probabilities=_probabilities(row, "p_t"),
        slice_stages=tuple(TStage(s) for s in row["slice_stages"]),
        flags=tuple(row["flags"] or ()),
        key_slice_source=row["key_slice_source"] or "",
        nomogram=_probabilities(row, "nomogram_p_t"),
        stage_set=rows.stage_set_of(row),
        features=None if row["features"] is None else array("f", row["features"]),
        facts=row["facts"] or {},
        sex=row["sex"] or "unknown",
        age_years=row["age_years"],
        location=row["location"],
        differentiation=row["differentiation"],
        lauren=row["lauren"],
        tumour_size_cm=row["size_cm"],
        markers=rows.markers_of(row),
        delivered_on=row["delivered_on"],
        surgery=_surgery(row),
        read=_read(row, as_of),
        readings=tuple(readings),
    )


def _probabilities(row: Mapping[str, Any], column: str) -> StageProbabilities | None:
    """From the columns of this name, numbered 1 to 4."""
    if row[f"{column}1"] is None:
        return None
    return StageProbabilities(tuple(row[f"{column}{k}"] for k in range(1, 5)))


def _surgery(row: Mapping[str, Any]) -> Surgery | None:
    if row["operated_on"] is None:
        return None
    return Surgery(
        operated_on=row["operated_on"],
        reported_on=row["reported_on"],
        classification=Classification(row["classification"]) if row["classification"] else None,
        t_category=row["t_category"],
        t_stage=TStage(row["pathology"]) if row["pathology"] else None,
    )


def _read(row: Mapping[str, Any], as_of: date) -> Read | None:
    if row["read_on"] is None:
        return None
    return Read(
        read_on=row["read_on"],
        radiologist_ct=_without_letter(row["radiologist_ct"]),
        endosonographer_ut=_without_letter(row["endosonographer_ut"]),
        with_ai=_with_ai(row["read_on"], row["study_stored_on"], row["study_delivered_on"]),
    )


def _with_ai(read_on: date, stored_on: date | None, delivered_on: date | None) -> bool | None:
    """Whether an AI result of the study lay in the PACS by the day of the read.

    Cannot be told where objects were stored by then and never, or only later, committed: they may have been seen.
    """
    if delivered_on is not None and read_on >= delivered_on:
        return True
    return None if stored_on is not None and read_on >= stored_on else False


def _without_letter(category: str | None) -> TStage | None:
    """T4a -> T4; None for T0, Tis and what is not said."""
    return None if category in (None, "T0", "Tis") else TStage(category[:2])


def _queries() -> dict[str, queries.Query]:
    return queries.load("audit")
