"""Who looked at, approved, sent or changed what."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

SUCCESS, FAILURE = "success", "failure"


@frozen
class AccessEvent:
    """One row of the audit trail; `object_id` is opaque and names no patient.

    `actor` is the name that was given; `db_user` the database's login and `os_user` the account of the operating
    system under which it was done.
    """

    event_id: int
    at: datetime
    action: str
    object_kind: str
    object_id: str
    actor: str
    outcome: str
    db_user: str
    os_user: str


@frozen
class WaitingEvent(AccessEvent):
    """An event that a receiver has not got; `study_uid` is empty where it is about no study.

    `xact` and `event_id` together are its place in the order of sending.
    """

    xact: str
    study_uid: str
