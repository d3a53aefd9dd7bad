"""Who looked at, approved, sent or changed what."""

from __future__ import annotations

from datetime import datetime

from attrs import field, frozen

SUCCESS, FAILURE = "success", "failure"


@frozen
class AccessEvent:
    """One row of the audit trail; `object_id` is opaque and names no patient.

    `actor` is the name that was given; `db_user` the database's login and `os_user` the account of the operating
    system under which it was done; `why` the reason, where one is asked for.
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
    why: str = field(default="", kw_only=True)


@frozen
class WaitingEvent(AccessEvent):
    """An event that a receiver has not got; `study_uid` and the patient are empty where it is about no study.

    `xact` and `event_id` together are its place in the order of sending. Whose study it is is not part of the trail:
    it is looked up as the event is sent, and sent where the site wants it.
    """

    xact: str
    study_uid: str
    patient_id: str = field(default="", repr=False)
    issuer_of_patient_id: str = field(default="", repr=False)
