"""Readers' words that go to the PACS, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import asdict

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database
from gtr_batch.domain.delivery import ObjectKind, ReportObject
from gtr_batch.domain.reader_word import WaitingWords, WordKind, WordToSend
from gtr_batch.domain.staging import TStage


class PostgresWordReports:
    """Port `WordReports`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, *, with_why: bool, most: int) -> Sequence[WordToSend]:
        """Words that are due, oldest first."""
        with self._database.transaction("readers' words for the PACS") as tx:
            return [_word(row) for row in tx.all(_queries()["due"], with_why=with_why, most=most)]

    def write(self, word: WordToSend, written: ReportObject) -> None:
        """Note what was written for a word, before it is sent."""
        with self._database.transaction(f"report of word {word.number}") as tx:
            tx.run(
                _queries()["write"],
                reader_word_id=word.number,
                case_id=rows.key(word.case_id),
                report_uid=word.report.sop_instance_uid,
                sop_class_uid=written.sop_class_uid,
                sop_instance_uid=written.sop_instance_uid,
                series_uid=written.series_uid,
                file=written.file,
                content_digest=written.content_digest,
                predecessors=rows.as_json([asdict(one) for one in written.predecessors]),
                with_why=word.with_why,
            )

    def sent(self, word: WordToSend) -> None:
        """Note that the PACS has it."""
        with self._database.transaction(f"report of word {word.number}") as tx:
            tx.run(_queries()["sent"], reader_word_id=word.number)

    def wait(self, word: WordToSend, seconds: float, trouble: str) -> None:
        """Note that it is tried again in so many seconds."""
        with self._database.transaction(f"report of word {word.number}") as tx:
            tx.run(
                _queries()["wait"],
                reader_word_id=word.number,
                case_id=rows.key(word.case_id),
                report_uid=word.report.sop_instance_uid,
                with_why=word.with_why,
                seconds=float(seconds),
                trouble=trouble[:100],
            )

    def waiting(self) -> WaitingWords:
        """What the PACS has not taken when it was sent."""
        with self._database.transaction("readers' words for the PACS") as tx:
            row = tx.one(_queries()["waiting"]) or {}
            return WaitingWords(int(row["words"]), int(row["tries"]), str(row["trouble"]))


def _word(row: Mapping[str, Any]) -> WordToSend:
    stage = row["t_stage"]
    named = {
        "kind": WordKind(row["kind"]),
        "t_stage": None if stage is None else TStage(stage),
        "report": rows.object_of(row["report"]),
        "previous": _object(row["previous"]),
        "written": _object(row["written"]),
    }
    return WordToSend(**{**row, **named})


def _object(row: Mapping[str, Any] | None) -> ReportObject | None:
    """What was written; None where nothing was yet."""
    if row is None or row["sop_instance_uid"] is None:
        return None
    return rows.object_of({**row, "kind": ObjectKind.READER_WORD})


def _queries() -> dict[str, queries.Query]:
    return queries.load("word_reports")
