"""The history of governed settings in PostgreSQL, and under which of them a night was opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database
from gtr_batch.domain.governed_settings import NightOpening, SettingChange, SettingValue


class PostgresSettings:
    """Port `SettingsBook`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def current(self) -> Mapping[str, SettingValue]:
        """Values that the history holds now, by ``section.name``; what it does not hold, the file says."""
        with self._database.transaction("governed settings") as tx:
            return {row["name"]: row["value"] for row in tx.all(_queries()["current"])}

    def set(self, name: str, value: SettingValue | None, *, by: str, why: str) -> None:
        """Change a setting; None gives it back to the file."""
        with self._database.governor.transaction(f"setting {name}") as tx:
            kept = None if value is None else rows.as_json(value)
            tx.run(_queries()["set"], name=name, value=kept, by_whom=rows.text(by), why=rows.text(why))

    def history(self) -> Sequence[SettingChange]:
        """Every change, oldest first."""
        with self._database.transaction("history of settings") as tx:
            return [SettingChange(**row) for row in tx.all(_queries()["history"])]

    def note_opening(self, night: date, model_version: str, digest: str, settings: Mapping[str, SettingValue]) -> None:
        """Note by which model and under which settings a night begins (or begins again)."""
        with self._database.transaction("opening of a night") as tx:
            tx.run(_queries()["save_snapshot"], digest=digest, settings=rows.as_json(dict(settings)))
            tx.run(_queries()["note_opening"], night=night, model_version=model_version, settings_digest=digest)

    def snapshot(self, digest: str) -> Mapping[str, SettingValue]:
        """The settings behind a digest; KeyError where no night was opened under it."""
        with self._database.transaction("settings of a digest") as tx:
            row = tx.one(_queries()["snapshot"], digest=digest)
        if row is None:
            raise KeyError(digest)
        return dict(row["settings"])

    def made_under(self, case_id: str) -> NightOpening | None:
        """Under which opening a case's result was made; None where there is no result, or it is older than this."""
        with self._database.transaction("settings of a case") as tx:
            row = tx.one(_queries()["made_under"], case_id=rows.key(case_id))
        return None if row is None else NightOpening(**row)


def _queries() -> dict[str, queries.Query]:
    return queries.load("settings")
