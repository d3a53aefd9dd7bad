"""The model registry in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database


class PostgresRegistry:
    """Port `ModelRegistry`. Each change of state and its event are one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(
        self,
        version: str,
        manifest: Mapping[str, Any],
        folder: Path,
        *,
        by: str,
        why: str,
        cohort_digest: str | None = None,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        """Register as ``candidate``; the same version again changes nothing."""
        with self._database.transaction(f"registering model {version[:12]}") as tx:
            new = tx.one(
                _queries()["register"],
                version=version,
                name=str(manifest.get("name", "")),
                manifest=rows.as_json(dict(manifest)),
                folder=str(folder),
                cohort_digest=cohort_digest,
                training=rows.as_json(dict(training or {})),
            )
            if new is not None:
                tx.run(_queries()["note"], version=version, from_state=None, to_state="candidate", by_whom=by, why=why)

    def state(self, version: str) -> str | None:
        """candidate, shadow, champion, retired or withdrawn; None where it is not registered."""
        with self._database.transaction("model state") as tx:
            row = tx.one(_queries()["state"], version=version)
        return None if row is None else str(row["state"])

    def champion(self) -> str | None:
        """Version of the champion."""
        with self._database.transaction("champion") as tx:
            row = tx.one(_queries()["champion"])
        return None if row is None else str(row["version"])

    def model(self, version: str) -> Mapping[str, Any]:
        """All about a model; KeyError where it is not registered."""
        with self._database.transaction("model") as tx:
            row = tx.one(_queries()["model"], version=version)
        if row is None:
            raise KeyError(version)
        return row

    def all(self) -> Sequence[Mapping[str, Any]]:
        """All models, newest first."""
        with self._database.transaction("models") as tx:
            return tx.all(_queries()["models"])

    def history(self, version: str) -> Sequence[Mapping[str, Any]]:
        """What became of a model, oldest first."""
        with self._database.transaction("model history") as tx:
            return tx.all(_queries()["history"], version=version)


def _queries() -> dict[str, queries.Query]:
    return queries.load("registry")
