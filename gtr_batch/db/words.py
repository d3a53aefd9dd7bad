"""Readers' words on results, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gtr_batch.db import messages, queries, rows
from gtr_batch.db.connection import Database, Transaction
from gtr_batch.domain.reader_word import KeptWord, NewWord, OwnStage, Reader, ResultInQuestion, WordKind, checked_why
from gtr_batch.domain.result_message import Channel
from gtr_batch.domain.staging import TStage
from gtr_batch.errors import InputRefused


class PostgresReaderWords:
    """Port `ReaderWords`; written as the governor, or as gtr_console by the console.

    Parameters
    ----------
    channels : sequence of Channel
        The systems that are told of results; the message about a word is written with the word.
    """

    def __init__(self, database: Database, channels: Sequence[Channel] = ()) -> None:
        self._database = database
        self._channels = tuple(channels)

    def result(self, case_id: str) -> ResultInQuestion:
        """The result that a case carries and that may be shown."""
        with self._database.transaction("result of a case") as tx:
            try:
                row = tx.one(_queries()["result"], case_id=rows.key(case_id))
            except KeyError:
                row = None
        if row is None:
            raise InputRefused(f"there is no case {case_id!r}, or it has no result that may be shown")
        return ResultInQuestion(
            row["case_id"], row["model_version"], row["result"], _stage(row["t_stage"]), row["is_read"]
        )

    def say(self, word: NewWord) -> int:
        """Keep a word, and the message about it."""
        about = word.about
        with self._database.governor.transaction(f"word on case {about.case_id}") as tx:
            self._hold(tx, about.case_id)
            row = tx.one(
                _queries()["say"],
                case_id=rows.key(about.case_id),
                model_version=about.model_version,
                result=about.digest,
                reader=rows.text(word.by.name.strip()),
                role=word.by.role,
                kind=str(word.kind),
                t_stage=None if word.t_stage is None else str(word.t_stage),
                slices=None if word.slices is None else list(word.slices),
                why=rows.text(checked_why(word.why)),
            )
            return self._told(tx, row)

    def withdraw(self, case_id: str, number: int, by: Reader, why: str) -> int:
        """Take back a word, and say so to whom it was told."""
        with self._database.governor.transaction(f"word on case {case_id}") as tx:
            self._hold(tx, case_id)
            row = tx.one(
                _queries()["withdraw"],
                reader_word_id=number,
                case_id=rows.key(case_id),
                reader=rows.text(by.name.strip()),
                role=by.role,
                why=rows.text(checked_why(why)),
            )
            if row is None:
                raise InputRefused(f"word {number} is none of {by.name}'s on this case, or was taken back already")
            return self._told(tx, row)

    def of_case(self, case_id: str) -> Sequence[KeptWord]:
        """Every word on a case, oldest first."""
        with self._database.transaction(f"words on case {case_id}") as tx:
            return [_word(row) for row in tx.all(_queries()["of_case"], case_id=rows.key(case_id))]

    def give_own_stage(self, about: ResultInQuestion, reader: str, stage: TStage) -> None:
        """Keep a reader's own stage; the first for a result holds, and none of who was shown it before."""
        with self._database.transaction(f"own stage for case {about.case_id}") as tx:
            tx.run(
                _queries()["give_own_stage"],
                **_of(about, reader),
                t_stage=str(stage),
                model_version=about.model_version,
            )

    def own_stage(self, about: ResultInQuestion, reader: str) -> OwnStage | None:
        """What a reader gave of their own."""
        with self._database.transaction(f"own stage for case {about.case_id}") as tx:
            row = tx.one(_queries()["own_stage"], **_of(about, reader))
        return None if row is None else OwnStage(TStage(row["t_stage"]), row["at"], row["shown_at"])

    def note_shown(self, results: Mapping[str, str], reader: str) -> None:
        """Note that results are shown to a reader; the first time holds."""
        if results:
            with self._database.transaction("results that are shown") as tx:
                tx.run(
                    _queries()["note_shown"],
                    case_ids=[rows.key(one) for one in results],
                    results=list(results.values()),
                    reader=rows.text(reader),
                )

    def _hold(self, tx: Transaction, case_id: str) -> None:
        messages.hold(tx, self._channels)
        if self._channels:
            tx.one(_queries()["hold_case"], case_id=rows.key(case_id))

    def _told(self, tx: Transaction, row: Mapping[str, Any] | None) -> int:
        number = int((row or {})["reader_word_id"])
        if self._channels:
            tx.one(_queries()["tell"], reader_word_id=number, channels=[str(one) for one in self._channels])
        return number


def _of(about: ResultInQuestion, reader: str) -> dict[str, str]:
    return {"case_id": rows.key(about.case_id), "result": about.digest, "reader": rows.text(reader)}


def _stage(value: str | None) -> TStage | None:
    return None if value is None else TStage(value)


def _word(row: Mapping[str, Any]) -> KeptWord:
    named = {**row, "number": row["reader_word_id"], "kind": WordKind(row["kind"])}
    del named["reader_word_id"]
    return KeptWord(**named | {name: _stage(row[name]) for name in ("t_stage", "own_stage")})


def _queries() -> dict[str, queries.Query]:
    return queries.load("words")
