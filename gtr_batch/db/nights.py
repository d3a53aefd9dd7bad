"""The nights in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database
from gtr_batch.domain.notice import NightState


class PostgresNights:
    """Port `Nights` on PostgreSQL; raises `DatabaseBusy` where a retry may help and `DatabaseRefused` where not."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, night: date, model_version: str) -> None:
        """Note that a night begins (or begins again)."""
        with self._database.transaction("open_night") as tx:
            tx.run(_cases()["open_night"], night=night, model_version=model_version)

    def model_of(self, night: date) -> str:
        """Version of the model that a night was opened with last; empty where it was never opened."""
        with self._database.transaction("night_model") as tx:
            row = tx.one(_cases()["night_model"], night=night)
        return row["model_version"] if row else ""

    def close(self, night: date, summary: Mapping[str, Any]) -> None:
        """Write the night's summary."""
        with self._database.transaction("close_night") as tx:
            tx.run(_cases()["close_night"], night=night, summary=rows.as_json(summary))

    def summary(self, night: date) -> Mapping[str, Any] | None:
        """What `close` wrote."""
        with self._database.transaction("night_summary") as tx:
            row = tx.one(_cases()["night_summary"], night=night)
        return row["summary"] if row else None

    def last(self) -> date | None:
        """The latest night that was opened."""
        with self._database.transaction("last_night") as tx:
            return (tx.one(_cases()["last_night"]) or {})["night"]

    def since(self, at: datetime) -> list[NightState]:
        """The nights that were opened, begun again or closed since then, in order."""
        with self._database.transaction("nights_since") as tx:
            return [NightState(**row) for row in tx.all(_cases()["nights_since"], at=at)]


def _cases() -> dict[str, queries.Query]:
    return queries.load("cases")
