"""What became of every canary, in PostgreSQL: append-only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database, Transaction
from gtr_batch.domain.canary import CanaryEvent, CanaryOutcome, Deviation


class PostgresCanaries:
    """Port `CanaryBook`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, event: CanaryEvent) -> None:
        """Keep what came of a canary that was staged."""
        with self._database.transaction("canary") as tx:
            note_canary(tx, event)

    def record(self, event: CanaryEvent, *, by: str, why: str) -> None:
        """Take a new answer as the one that later ones are held against; the governor's."""
        with self._database.governor.transaction("canary recorded") as tx:
            note_canary(tx, event, by=by, why=why)

    def newest(self, model_version: str, since: datetime) -> Sequence[CanaryEvent]:
        """The newest of each machine since then, newest first."""
        with self._database.transaction("canaries") as tx:
            return [_event(row) for row in tx.all(_queries()["newest"], model_version=model_version, since=since)]

    def of_night(self, night: date) -> Sequence[CanaryEvent]:
        """The newest of each machine and model in a night, newest first."""
        with self._database.transaction("canaries of a night") as tx:
            return [_event(row) for row in tx.all(_queries()["of_night"], night=night)]

    def expected(self, model_version: str) -> str | None:
        """SHA-256 of the canary that a model must have; None where it never had one."""
        with self._database.transaction("canary") as tx:
            row = tx.one(_queries()["expected"], model_version=model_version)
        return None if row is None else str(row["canary_sha256"])

    def history(self, model_version: str) -> Sequence[CanaryEvent]:
        """Everything that is known of a model's canary, oldest first."""
        with self._database.transaction("canary history") as tx:
            return [_event(row) for row in tx.all(_queries()["history"], model_version=model_version)]


def note_canary(tx: Transaction, event: CanaryEvent, *, by: str | None = None, why: str | None = None) -> None:
    """Keep an event in a transaction; who answers for it where it is recorded."""
    apart = [
        {"quantity": d.quantity, "found": _finite(d.found), "allowed": d.allowed, "words": d.words}
        for d in event.deviations
    ]
    tx.run(
        _queries()["note"],
        model_version=event.model_version,
        outcome=str(event.outcome),
        sentence=rows.text(event.sentence),
        host=rows.text(event.host),
        device=event.device,
        seconds=event.seconds,
        canary_sha256=event.canary_sha256,
        night=event.night,
        deviations=rows.as_json(apart),
        by_whom=None if by is None else rows.text(by),
        why=None if why is None else rows.text(why),
    )


def _finite(value: float) -> float | None:
    """JSON has no infinity and no NaN: both are kept as null."""
    return value if abs(value) < float("inf") else None


def _event(row: Mapping[str, Any]) -> CanaryEvent:
    apart = [
        Deviation(d["quantity"], float("inf") if d["found"] is None else d["found"], d["allowed"], d["words"])
        for d in row["deviations"]
    ]
    return CanaryEvent(
        model_version=row["model_version"],
        outcome=CanaryOutcome(row["outcome"]),
        sentence=row["sentence"],
        host=row["host"],
        device=row["device"],
        seconds=row["seconds"],
        canary_sha256=row["canary_sha256"],
        night=row["night"],
        deviations=apart,
        at=row["at"],
    )


def _queries() -> dict[str, queries.Query]:
    return queries.load("canary")
