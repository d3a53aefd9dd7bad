"""Comparisons of replays, and who approved them, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database
from gtr_batch.domain.replay import KeptComparison, ReplayApproval


class PostgresRestages:
    """Port `RestageBook`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, digest: str, model_version: str, wanted: Mapping[str, Any], comparison: Mapping[str, Any]) -> None:
        """Keep a comparison; the same again changes nothing."""
        with self._database.transaction(f"comparison {digest[:12]}") as tx:
            tx.run(
                _queries()["save"],
                digest=digest,
                model_version=model_version,
                wanted=rows.as_json(dict(wanted)),
                comparison=rows.as_json(dict(comparison)),
            )

    def get(self, digits: str) -> KeptComparison | None:
        """The one comparison whose digest begins so; None where there is not exactly one."""
        with self._database.transaction("comparison of a replay") as tx:
            found = tx.all(_queries()["get"], digest=rows.text(digits.lower()))
        if len(found) != 1:
            return None
        (row,) = found
        return KeptComparison(**{k: v for k, v in row.items() if k != "wanted"}, **row["wanted"])

    def approve(self, digest: str, *, by: str, why: str) -> None:
        """Note who lets these results go to the PACS."""
        with self._database.governor.transaction(f"approval of replay {digest[:12]}") as tx:
            tx.run(_queries()["approve"], digest=digest, by_whom=rows.text(by), why=rows.text(why))

    def approvals(self, digest: str) -> Sequence[ReplayApproval]:
        """Everybody who did, oldest first."""
        with self._database.transaction("approvals of a replay") as tx:
            return [ReplayApproval(**row) for row in tx.all(_queries()["approvals"], digest=digest)]


def _queries() -> dict[str, queries.Query]:
    return queries.load("restage")
