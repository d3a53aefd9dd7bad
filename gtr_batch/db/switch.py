"""The stop switch in PostgreSQL: append-only, the newest row holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database
from gtr_batch.domain.switch import SwitchAction, SwitchEvent


class PostgresSwitch:
    """Port `StopSwitch`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def stopped(self) -> SwitchEvent | None:
        """The stop that holds now; None while the service runs."""
        with self._database.transaction("stop switch") as tx:
            row = tx.one(_queries()["newest"])
        newest = None if row is None else _event(row)
        return newest if newest is not None and newest.action is SwitchAction.STOP else None

    def decide(self, action: SwitchAction, *, by: str, why: str) -> None:
        """Stop, which the night's login may; or resume, which only the governor's may."""
        database = self._database.governor if action is SwitchAction.RESUME else self._database
        with database.transaction(f"to {action} the service") as tx:
            tx.run(_queries()["decide"], action=str(action), by_whom=rows.text(by), why=rows.text(why))

    def history(self) -> Sequence[SwitchEvent]:
        """Every stop and every resume, oldest first."""
        with self._database.transaction("history of the stop switch") as tx:
            return [_event(row) for row in tx.all(_queries()["history"])]


def _event(row: Mapping[str, Any]) -> SwitchEvent:
    return SwitchEvent(SwitchAction(row["action"]), row["by_whom"], row["why"], row["at"])


def _queries() -> dict[str, queries.Query]:
    return queries.load("switch")
