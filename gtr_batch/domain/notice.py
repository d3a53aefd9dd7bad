"""What operations are told of a night: an event, once, without a case and without a patient."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from attrs import frozen


class NoticeKind(StrEnum):
    """What has happened."""

    RED = "red"
    LATE = "late"
    NOT_STARTED = "not_started"
    STOPPED = "stopped"
    RESUMED = "resumed"


@frozen
class Notice:
    """An event; `key` is the same however often it is seen."""

    key: str
    kind: NoticeKind
    night: date | None
    subject: str
    body: str


@frozen
class WaitingNotice:
    """A notice that has not gone out over a channel yet, with the class of the last error."""

    key: str
    subject: str
    raised_at: datetime
    channel: str
    tries: int
    error: str


@frozen
class NightState:
    """A night that was opened: when it last began, when it was last closed, and its summary then."""

    night: date
    begun_at: datetime
    closed_at: datetime | None
    summary: Mapping[str, Any] | None
