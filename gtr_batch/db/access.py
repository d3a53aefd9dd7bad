"""The audit trail in PostgreSQL: noted, and sent to a receiver once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database
from gtr_batch.domain.access import AccessEvent, WaitingEvent


class PostgresAccessTrail:
    """Port `AccessTrail`. Decisions and deliveries are noted by the database itself (triggers `access_noted`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, action: str, object_kind: str, object_id: str, *, by: str, outcome: str, why: str = "") -> None:
        """Note that somebody looked at something, or was refused something."""
        with self._database.transaction("audit trail") as tx:
            tx.run(
                _queries()["note"],
                action=action,
                object_kind=object_kind,
                object_id=rows.text(object_id)[:200],
                actor=rows.text(by)[:200],
                outcome=outcome,
                why=rows.text(why)[:2000],
            )

    def newest(self, most: int) -> Sequence[AccessEvent]:
        """What was noted last, newest first."""
        with self._database.transaction("audit trail") as tx:
            return [AccessEvent(**row) for row in tx.all(_queries()["newest"], most=most)]

    def about(self, object_ids: Sequence[str]) -> Sequence[AccessEvent]:
        """All that was noted about some objects, oldest first."""
        with self._database.transaction("audit trail") as tx:
            return [AccessEvent(**row) for row in tx.all(_queries()["about"], object_ids=list(object_ids))]

    def send(self, receiver: str, deliver: Callable[[Sequence[WaitingEvent]], None], most: int) -> int:
        """Give `deliver` what this receiver has not got, oldest first; returns how many that were.

        Whatever `deliver` raises leaves everything waiting. While another session sends to this receiver: none.
        """
        with self._database.transaction(f"audit trail to {receiver}") as tx:
            if not (tx.one(_queries()["one_sender"], receiver=receiver) or {})["mine"]:
                return 0
            waiting = [WaitingEvent(**row) for row in tx.all(_queries()["waiting"], receiver=receiver, most=most)]
            if waiting:
                deliver(waiting)
                last = waiting[-1]
                tx.run(_queries()["sent"], receiver=receiver, xact=last.xact, event_id=last.event_id)
        return len(waiting)


def _queries() -> dict[str, queries.Query]:
    return queries.load("access")
