"""Messages about results in PostgreSQL: written with what they tell, each sent until it is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database, Transaction
from gtr_batch.db.merges import merges_from
from gtr_batch.domain.case import Case
from gtr_batch.domain.patient_merge import surviving
from gtr_batch.domain.result_message import (
    Channel,
    ListedMessage,
    MessageKind,
    ReaderWord,
    ReceiverAnswer,
    ResultMessage,
    SendingState,
    Waiting,
)
from gtr_batch.domain.staging import TStage
from gtr_batch.errors import InputRefused


class PostgresResultMessages:
    """Port `ResultMessages`; raises as `gtr_batch.db.cases.PostgresCases`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, channel: Channel, seconds: float) -> ResultMessage | None:
        """The next message that is due, its try noted; nobody else gets it for so many seconds."""
        with self._database.transaction(f"next message to {channel}") as tx:
            while (row := tx.one(_queries()["next"], channel=str(channel))) is not None:
                message = message_of(row)
                message = attrs.evolve(message, case=_under_its_newest_name(tx, message.case))
                if row["model_withdrawn"] and message.kind is not MessageKind.WITHDRAWN:
                    _end(tx, message.message_id, channel, SendingState.SUPERSEDED, "")
                    continue
                tx.run(
                    _queries()["claim"],
                    result_message_id=message.message_id,
                    channel=str(channel),
                    seconds=float(seconds),
                )
                return message
        return None

    def end(self, message: ResultMessage, channel: Channel, state: SendingState, answer: str) -> None:
        """Note that a message was taken, or is not tried any more."""
        with self._database.transaction(f"message {message.message_id} to {channel}") as tx:
            _end(tx, message.message_id, channel, state, answer)

    def wait(self, message: ResultMessage, channel: Channel, seconds: float, answer: ReceiverAnswer) -> None:
        """Note that a message is tried again in so many seconds."""
        with self._database.transaction(f"message {message.message_id} to {channel}") as tx:
            tx.run(
                _queries()["wait"],
                result_message_id=message.message_id,
                channel=str(channel),
                seconds=float(seconds),
                answer=rows.text(answer.code)[:200],
            )

    def waiting(self, channel: Channel) -> Waiting:
        """How many wait, are due and are dead letters."""
        with self._database.transaction(f"messages to {channel}") as tx:
            row = tx.one(_queries()["counts"], channel=str(channel)) or {}
        return Waiting(**row)

    def listed(self, states: Sequence[SendingState], most: int) -> list[ListedMessage]:
        """Messages in these states, newest first."""
        with self._database.transaction("list of messages") as tx:
            found = tx.all(_queries()["list"], states=[str(s) for s in states], most=most)
        return [_listed_of(row) for row in found]

    def newest_version(self, case_id: str) -> int:
        """The newest version of a case that was written; 0 where there is none."""
        with self._database.transaction("version of a result") as tx:
            row = tx.one(_queries()["newest_version"], case_id=rows.key(case_id))
        return int(row["version"]) if row else 0

    def resend(self, message_id: int, channel: Channel, *, by: str, why: str) -> None:
        """Have a message sent once more; raises as the port says."""
        with self._database.transaction(f"message {message_id} to {channel} once more") as tx:
            row = tx.one(_queries()["hold"], result_message_id=message_id, channel=str(channel))
            if row is None:
                raise InputRefused(f"there is no message {message_id} to {channel}; `gtr ris list` has the numbers")
            if row["state"] not in (SendingState.SENT, SendingState.DEAD):
                raise InputRefused(f"message {message_id} is {row['state']}: only what was sent or is a dead letter")
            if row["version"] != row["newest"]:
                raise InputRefused(
                    f"message {message_id} is version {row['version']} of its case, and there is version "
                    f"{row['newest']}: sent now it would take the newer one's place"
                )
            tx.run(_queries()["again"], result_message_id=message_id, channel=str(channel))
            tx.run(
                _queries()["note_resend"],
                result_message_id=message_id,
                channel=str(channel),
                case_id=row["case_id"],
                by_whom=rows.text(by),
                why=rows.text(why),
            )


def hold(tx: Transaction, channels: Sequence[Channel]) -> None:
    """Before a step takes any other lock: while it writes, no model is withdrawn, and versions are counted by one."""
    if channels:
        tx.one(_queries()["hold_steps"])


def write_result(tx: Transaction, case_id: str, channels: Sequence[Channel]) -> None:
    """The case's result as a message to these systems, in the caller's transaction; none where it says nothing new."""
    if not channels:
        return
    row = tx.one(_queries()["write_result"], case_id=case_id)
    for channel in channels if row is not None else ():
        tx.run(
            _queries()["send_over"],
            result_message_id=(row or {})["result_message_id"],
            channel=str(channel),
            case_id=case_id,
        )


def write_withdrawals(tx: Transaction, model_version: str) -> None:
    """Withdraw a model's results where they went out, and let those that wait not go; in the caller's transaction."""
    tx.one(_queries()["hold_withdrawal"])
    tx.all(_queries()["hold_of_model"], model_version=model_version)
    for row in tx.all(_queries()["write_withdrawals"], model_version=model_version):
        tx.run(_queries()["withdraw_over"], result_message_id=row["result_message_id"])
    tx.run(_queries()["supersede"], model_version=model_version)


def message_of(row: Mapping[str, Any]) -> ResultMessage:
    """A message with its case, both in one row."""
    content = row["content"]
    staging, score, reader = content.get("staging"), content.get("score"), content.get("reader")
    return ResultMessage(
        message_id=row["result_message_id"],
        case=rows.case_of(row),
        version=row["version"],
        kind=MessageKind(row["kind"]),
        model_version=row["message_model"],
        written_at=row["written_at"],
        staging=None if staging is None else rows.staging_of(staging, []),
        score=None if score is None else rows.score_of(score),
        reader=None if reader is None else _reader_of(reader),
        tries=row["tries"],
    )


def _reader_of(value: Mapping[str, Any]) -> ReaderWord:
    stage = value["t_stage"]
    return ReaderWord(
        bool(value["agrees"]), None if stage is None else TStage(stage), datetime.fromisoformat(value["at"])
    )


def _under_its_newest_name(tx: Transaction, case: Case) -> Case:
    """The case as the RIS knows its patient: it may have merged patients that the PACS has not merged yet."""
    patient = surviving(merges_from(tx, [case.patient_id]), case.patient)
    return attrs.evolve(case, patient_id=patient.patient_id, issuer_of_patient_id=patient.issuer)


def _listed_of(row: Mapping[str, Any]) -> ListedMessage:
    named = {**row, "message_id": row["result_message_id"]}
    del named["result_message_id"]
    named |= {
        "channel": Channel(row["channel"]),
        "kind": MessageKind(row["kind"]),
        "state": SendingState(row["state"]),
    }
    return ListedMessage(**named)


def _end(tx: Transaction, message_id: int, channel: Channel, state: SendingState, answer: str) -> None:
    tx.run(
        _queries()["end"],
        result_message_id=message_id,
        channel=str(channel),
        state=str(state),
        answer=rows.text(answer)[:200],
    )


def _queries() -> dict[str, queries.Query]:
    return queries.load("messages")
