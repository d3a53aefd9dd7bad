"""Readers' words on automatic key slices, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database
from gtr_batch.domain.slice_confirmation import SliceConfirmation


class PostgresSliceConfirmations:
    """Port `SliceConfirmations`; written as the governor."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def confirm(self, confirmation: SliceConfirmation) -> None:
        """Keep a reader's word; the newest of a case holds."""
        with self._database.governor.transaction(f"key slice of case {confirmation.case_id}") as tx:
            tx.run(
                _queries()["confirm"],
                case_id=rows.key(confirmation.case_id),
                was=confirmation.was,
                slices=list(confirmation.slices),
                by_whom=rows.text(confirmation.by_whom),
                why=rows.text(confirmation.why),
            )

    def of_case(self, case_id: str) -> Sequence[SliceConfirmation]:
        """What readers said of a case, oldest first."""
        with self._database.transaction(f"key slice of case {case_id}") as tx:
            return [SliceConfirmation(**row) for row in tx.all(_queries()["confirmations"], case_id=rows.key(case_id))]


def _queries() -> dict[str, queries.Query]:
    return queries.load("confirmations")
