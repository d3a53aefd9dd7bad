"""The audit trail: what is looked at and what is refused is noted, and all of it goes to the hospital's repository.

What is decided or delivered is noted by the database, in the transaction in which it happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from gtr_batch.domain.access import FAILURE, SUCCESS, AccessEvent, WaitingEvent
from gtr_batch.errors import DatabaseRefused, GovernanceRefused
from gtr_batch.operating_system import operating_system_user
from gtr_batch.ports import AccessReceiver, AccessTrail

BATCH = 500  # events a connection


class NoTrail:
    """Port `AccessTrail` of a site that keeps none."""

    def note(self, action: str, object_kind: str, object_id: str, *, by: str, outcome: str, why: str = "") -> None:
        """Nothing is kept."""

    def newest(self, most: int) -> Sequence[AccessEvent]:
        """None."""
        return []

    def about(self, object_ids: Sequence[str]) -> Sequence[AccessEvent]:
        """None."""
        return []

    def send(self, receiver: str, deliver: Callable[[Sequence[WaitingEvent]], None], most: int) -> int:
        """None."""
        return 0


def looked(trail: AccessTrail, object_kind: str, object_id: str) -> None:
    """Note that whoever runs this process looks at an object; before it is shown."""
    trail.note(f"{object_kind}.look", object_kind, object_id, by=operating_system_user(), outcome=SUCCESS)


def looked_at_patient(trail: AccessTrail, case_id: str, *, by: str, why: str) -> None:
    """Note that a named person is shown whose case it is, and why; before it is shown."""
    trail.note("patient.look", "case", case_id, by=by.strip(), outcome=SUCCESS, why=why.strip())


@contextmanager
def refusals_noted(trail: AccessTrail, action: str, object_kind: str, object_id: str, *, by: str) -> Iterator[None]:
    """Note it where what is done in the block is refused; what succeeds, the database notes."""
    try:
        yield
    except (GovernanceRefused, DatabaseRefused):
        trail.note(action, object_kind, object_id, by=by.strip() or operating_system_user(), outcome=FAILURE)
        raise


def send_waiting(trail: AccessTrail, receiver: AccessReceiver) -> int:
    """Send what the receiver has not got; returns how many events that were. Cut off, it goes on where it was.

    Raises
    ------
    ReceiverUnreachable
        What was not received waits.
    """
    total = 0
    while sent := trail.send(receiver.name, receiver.deliver, BATCH):
        total += sent
    return total
