"""The looks at studies that may still be arriving, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database
from gtr_batch.domain.study_look import StudyLook


class PostgresStudyLooks:
    """Port `StudyLooks` on PostgreSQL; raises as `gtr_batch.db.cases.PostgresCases`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, study_uid: str, counts: Mapping[str, int], at: datetime) -> StudyLook:
        """Note what a look saw; returns it with the time since which every look saw the same."""
        with self._database.transaction("note a look at a study") as tx:
            row = tx.one(_looks()["note_look"], study_uid=study_uid, counts=rows.as_json(dict(counts)), at=at)
        assert row is not None  # an upsert returns its row
        return StudyLook(row["counts"], row["unchanged_since"])

    def of(self, study_uids: Sequence[str]) -> Mapping[str, StudyLook]:
        """The last look at each of these studies; those that nobody looked at are left out."""
        with self._database.transaction("looks at studies") as tx:
            found = tx.all(_looks()["looks"], study_uids=list(study_uids))
        return {row["study_uid"]: StudyLook(row["counts"], row["unchanged_since"]) for row in found}


def _looks() -> dict[str, queries.Query]:
    return queries.load("looks")
