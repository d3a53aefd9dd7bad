"""What the PACS said of our objects, in PostgreSQL: each answer in a transaction of its own, as soon as it came."""

from __future__ import annotations

from collections.abc import Sequence

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database
from gtr_batch.domain.delivery import Commitment, StoreReceipt


class PostgresDeliveries:
    """Port `Deliveries` on PostgreSQL; raises as `PostgresCases`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note_receipts(self, case_id: str, receipts: Sequence[StoreReceipt]) -> None:
        """Note what the PACS said of each C-STORE."""
        with self._database.transaction(f"receipts of case {case_id}") as tx:
            rows.found(tx.one(_deliveries()["lock"], case_id=rows.key(case_id)), case_id)
            for one in receipts:
                tx.run(
                    _deliveries()["save_receipt"],
                    case_id=case_id,
                    sop_instance_uid=one.sop_instance_uid,
                    status=int(one.status),
                    warning=rows.text(one.warning),
                )

    def stored(self, case_id: str) -> frozenset[str]:
        """SOP Instance UIDs of this case that the PACS took, be it with a warning."""
        with self._database.transaction("stored") as tx:
            found = tx.all(_deliveries()["stored"], case_id=rows.key(case_id))
        return frozenset(row["sop_instance_uid"] for row in found)

    def note_commitment(self, case_id: str, commitment: Commitment, read_back: frozenset[str]) -> None:
        """Note what the PACS committed, or what C-FIND listed where it offers no commitment."""
        with self._database.transaction(f"commitment of case {case_id}") as tx:
            rows.found(tx.one(_deliveries()["lock"], case_id=rows.key(case_id)), case_id)
            tx.run(
                _deliveries()["save_commitment"],
                case_id=case_id,
                transaction_uid=commitment.transaction_uid,
                offered=commitment.offered,
                committed=sorted(commitment.committed),
                failed=rows.as_json(dict(commitment.failed)),
                read_back=sorted(read_back),
            )

    def commitments(self, case_id: str) -> list[tuple[Commitment, frozenset[str]]]:
        """What `note_commitment` wrote, the latest last: of each transaction what was noted last."""
        with self._database.transaction("commitments") as tx:
            found = tx.all(_deliveries()["commitments"], case_id=rows.key(case_id))
        return [
            (
                Commitment(
                    offered=row["offered"],
                    committed=frozenset(row["committed"]),
                    failed=tuple(sorted(row["failed"].items())),
                    transaction_uid=row["transaction_uid"],
                ),
                frozenset(row["read_back"]),
            )
            for row in found
        ]


def _deliveries() -> dict[str, queries.Query]:
    return queries.load("deliveries")
