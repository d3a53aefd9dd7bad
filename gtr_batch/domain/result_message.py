"""What other systems are told of a case's result: one message a version, sent until it is answered."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from enum import StrEnum

from attrs import frozen

from gtr_batch.domain.case import Case
from gtr_batch.domain.message_channel import Channel, SendingState
from gtr_batch.domain.score import NomogramScore, answers_of
from gtr_batch.domain.staging import FLAG_MEANINGS, CaseStaging, Flag, TStage

CONTROL_ID_LENGTH = 20  # characters of MSH-10 in HL7 2.5.1
#: What is said of every case of a model or a site: no reason to read one before another.
_OF_EVERY_CASE = frozenset(flag for flag, one in FLAG_MEANINGS.items() if not one.on_overlay)


class MessageKind(StrEnum):
    """What a message tells."""

    RESULT = "result"
    CHANGED = "changed"
    WITHDRAWN = "withdrawn"
    READER = "reader"  # a radiologist's word on the result


class AnswerKind(StrEnum):
    """What the other system's answer means for a message."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # the same message would be refused again
    NOT_NOW = "not_now"  # refused for a reason that may pass, or not answered


class Priority(StrEnum):
    """In which order the receiver may show its list (HL7 table 0485)."""

    ASAP = "A"
    ROUTINE = "R"


@frozen
class ReceiverAnswer:
    """An answer and its code as it is kept: ``AE 207``, never a text of the other side."""

    kind: AnswerKind
    code: str


@frozen
class ReaderWord:
    """A radiologist's word on the result: agreed with, or another stage."""

    agrees: bool
    t_stage: TStage | None
    at: datetime


@frozen
class ResultMessage:
    """One version of what is known of a case, on its way; `staging` None where the result was withdrawn."""

    message_id: int
    case: Case
    version: int
    kind: MessageKind
    model_version: str
    written_at: datetime
    staging: CaseStaging | None = None
    score: NomogramScore | None = None
    reader: ReaderWord | None = None
    tries: int = 0

    @property
    def control_id(self) -> str:
        """What the receiver knows it again by (MSH-10): the same however often it is sent."""
        digest = hashlib.sha256(f"{self.case.case_id}|{self.version}".encode()).digest()
        return "G" + base64.b32encode(digest).decode("ascii")[: CONTROL_ID_LENGTH - 1]

    @property
    def priority(self) -> Priority:
        """`A` where a reader must look twice: no stage, a T4, or a flag that is not said of every case."""
        if self.staging is None:
            return Priority.ASAP
        answers = answers_of(self.staging, self.score)
        if answers is None or answers.primary.t_stage is TStage.T4 or self.flags_of_case:
            return Priority.ASAP
        return Priority.ROUTINE

    @property
    def flags_of_case(self) -> tuple[Flag, ...]:
        """The flags that say something of this case alone."""
        return tuple(f for f in self.staging.flags if f not in _OF_EVERY_CASE) if self.staging else ()


@frozen
class ListedMessage:
    """A message as `gtr ris list` shows it: no patient."""

    message_id: int
    channel: Channel
    case_id: str
    version: int
    kind: MessageKind
    model_version: str
    state: SendingState
    tries: int
    answer: str
    written_at: datetime
    tried_at: datetime | None
    next_try_at: datetime
    ended_at: datetime | None


@frozen
class Waiting:
    """How many messages wait, are due now and are dead letters; since when the oldest waits."""

    waiting: int
    due: int
    dead: int
    oldest: datetime | None


def wait_s(tries: int, first_s: float, longest_s: float) -> float:
    """How long to wait after so many tries: twice as long each time, up to the longest."""
    return min(longest_s, first_s * 2.0 ** min(max(tries, 1) - 1, 30))
