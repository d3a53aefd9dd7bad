"""A question to a person, what they were shown, and their answer as the system that asked them authenticated it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from attrs import field, frozen


class Decision(StrEnum):
    """What a person is asked to let happen."""

    PROMOTE = "promote"
    RESTAGE = "restage"


@frozen
class Question:
    """What is asked, where (DAG, run and task), and who started the run; `triggered_by` is empty for a schedule.

    `subject` is a model version, or the digest of a comparison; `champion` and `verdict` are what the registry said of
    the version when it was asked.
    """

    asked_in: str
    decision: Decision = field(converter=Decision)
    subject: str
    champion: str | None
    verdict: str
    triggered_by: str
    shown: str = field(repr=False)


@frozen
class AskedQuestion(Question):
    """A question as it is kept."""

    request_id: int
    at: datetime


@frozen
class Answer:
    """What a person said: `user_id` and `by_whom` as they were authenticated, `why` in their words."""

    approved: bool
    user_id: str
    by_whom: str
    why: str
    responded_at: datetime
