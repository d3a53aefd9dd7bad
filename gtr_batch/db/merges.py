"""What the RIS said of merged patients, in PostgreSQL: append-only, in the order in which it came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database, Transaction
from gtr_batch.domain.identity import PatientIdentity
from gtr_batch.domain.patient_merge import PatientMerge, contradicts
from gtr_batch.errors import InputRefused


class PostgresPatientMerges:
    """Port `PatientMerges`; raises as `gtr_batch.db.cases.PostgresCases`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def receive(self, sender: str, control_id: str, said: Sequence[PatientMerge], *, peer: str) -> bool:
        """Keep what one message says, all of it or nothing; raises as the port says."""
        with self._database.transaction("message about merged patients") as tx:
            tx.one(_queries()["hold"])
            key = {"sender": rows.text(sender), "control_id": rows.text(control_id)}
            before = [_merge_of({**row, "merge_id": 0}) for row in tx.all(_queries()["of_message"], **key)]
            if before:
                if before != list(said):
                    raise InputRefused("a message of this control id came before and said something else")
                return False
            for place, one in enumerate(said, 1):
                if contradicts(merges_from(tx, [one.old.patient_id, one.new.patient_id]), one):
                    raise InputRefused("the patient was merged into another one before; a person must look")
                tx.run(
                    _queries()["insert"],
                    **key,
                    place=place,
                    old_id=rows.text(one.old.patient_id),
                    old_issuer=rows.text(one.old.issuer),
                    new_id=rows.text(one.new.patient_id),
                    new_issuer=rows.text(one.new.issuer),
                    peer=peer,
                )
        return True

    def merges(self, patient_ids: Sequence[str]) -> list[PatientMerge]:
        """Every merge that these may have gone through, in the order in which they came."""
        with self._database.transaction("merges of patients") as tx:
            return merges_from(tx, patient_ids)

    def merged_patients(self) -> list[str]:
        """PatientIDs of cases that were ever merged into others."""
        with self._database.transaction("merged patients") as tx:
            return [row["patient_id"] for row in tx.all(_queries()["merged_patients"])]

    def note_case(self, case_id: str, merge_id: int) -> None:
        """Note that a case has another PatientID by a merge."""
        with self._database.transaction(f"merge of case {case_id}") as tx:
            tx.run(_queries()["note_case"], case_id=case_id, patient_merge_id=merge_id)


def merges_from(tx: Transaction, patient_ids: Sequence[str]) -> list[PatientMerge]:
    """Every merge that these PatientIDs may have gone through, in the caller's transaction."""
    asked = [rows.text(one) for one in patient_ids]
    return [_merge_of(row) for row in tx.all(_queries()["from_patients"], patient_ids=asked)]


def _merge_of(row: Mapping[str, Any]) -> PatientMerge:
    return PatientMerge(
        PatientIdentity(row["old_id"], row["old_issuer"]),
        PatientIdentity(row["new_id"], row["new_issuer"]),
        row["merge_id"],
    )


def _queries() -> dict[str, queries.Query]:
    return queries.load("merges")
