"""What operations are told, in PostgreSQL: each event once, over each channel once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database
from gtr_batch.domain.notice import Notice, NoticeKind, WaitingNotice
from gtr_batch.errors import NoticeNotDelivered
from gtr_batch.ports import NoticeChannel


class PostgresNotices:
    """Port `Notices`; raises as `gtr_batch.db.cases.PostgresCases`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def raise_(self, notice: Notice, channels: Sequence[str]) -> bool:
        """Note an event and the channels that it is to go out over; False where it is known already."""
        with self._database.transaction("note a notice") as tx:
            new = tx.one(
                _queries()["raise"],
                notice_key=notice.key,
                kind=str(notice.kind),
                night=notice.night,
                subject=rows.text(notice.subject),
                body=rows.text(notice.body),
            )
            for channel in channels if new else ():
                tx.run(_queries()["over"], notice_key=notice.key, channel=channel)
        return new is not None

    def send(self, channel: NoticeChannel) -> int:
        """Send what has not gone out over a channel, oldest first, each held against other sessions meanwhile."""
        begun, sent, last = datetime.now(UTC), 0, None
        while True:
            with self._database.transaction(f"notices over {channel.name}") as tx:
                row = tx.one(_queries()["next"], channel=channel.name, tried_before=begun)
                if row is None:
                    break
                notice = Notice(row["notice_key"], NoticeKind(row["kind"]), row["night"], row["subject"], row["body"])
                try:
                    channel.deliver(notice)
                except NoticeNotDelivered as err:
                    last = err
                    tx.run(_queries()["not_delivered"], **_at(notice, channel), error=rows.text(str(err))[:500])
                else:
                    sent += 1
                    tx.run(_queries()["delivered"], **_at(notice, channel))
        if last is not None:
            raise last
        return sent

    def waiting(self) -> list[WaitingNotice]:
        """What has not gone out yet, oldest first."""
        with self._database.transaction("waiting notices") as tx:
            found = tx.all(_queries()["waiting"])
        return [
            WaitingNotice(r["notice_key"], r["subject"], r["raised_at"], r["channel"], r["tries"], r["error"] or "")
            for r in found
        ]

    def note_look(self, at: datetime) -> None:
        """Note that somebody looked."""
        with self._database.transaction("note a look at the nights") as tx:
            tx.run(_queries()["note_look"], at=at)

    def last_look(self) -> datetime | None:
        """When somebody looked last."""
        with self._database.transaction("last look at the nights") as tx:
            row = tx.one(_queries()["last_look"])
        return row["looked_at"] if row else None


def _at(notice: Notice, channel: NoticeChannel) -> dict[str, str]:
    return {"notice_key": notice.key, "channel": channel.name}


def _queries() -> dict[str, queries.Query]:
    return queries.load("notices")
