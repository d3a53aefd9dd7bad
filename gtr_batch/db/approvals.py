"""Questions to persons and their answers, in PostgreSQL."""

from __future__ import annotations

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database
from gtr_batch.domain.approval import Answer, AskedQuestion, Question


class PostgresApprovals:
    """Port `ApprovalBook`; written as the governor."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(self, question: Question) -> None:
        """Keep a question; the newest in a place is the one that counts there."""
        with self._database.governor.transaction(f"question in {question.asked_in}") as tx:
            tx.run(
                _queries()["ask"],
                asked_in=rows.text(question.asked_in),
                decision=str(question.decision),
                subject=question.subject,
                champion=question.champion,
                verdict=question.verdict,
                triggered_by=rows.text(question.triggered_by),
                shown=rows.text(question.shown),
            )

    def newest(self, asked_in: str) -> AskedQuestion | None:
        """What was asked last in this place; None where nobody was."""
        with self._database.transaction(f"question in {asked_in}") as tx:
            row = tx.one(_queries()["newest"], asked_in=rows.text(asked_in))
        return None if row is None else AskedQuestion(**row)

    def answer(self, request_id: int, answer: Answer) -> None:
        """Keep what a person said; the first answer to a question stays."""
        with self._database.governor.transaction(f"answer to question {request_id}") as tx:
            tx.run(
                _queries()["answer"],
                request_id=request_id,
                approved=answer.approved,
                user_id=rows.text(answer.user_id),
                by_whom=rows.text(answer.by_whom),
                why=rows.text(answer.why),
                responded_at=answer.responded_at,
            )

    def answered(self, request_id: int) -> Answer | None:
        """What a person said to a question; None where nobody has answered."""
        with self._database.transaction(f"answer to question {request_id}") as tx:
            row = tx.one(_queries()["answered"], request_id=request_id)
        return None if row is None else Answer(**row)


def _queries() -> dict[str, queries.Query]:
    return queries.load("approvals")
