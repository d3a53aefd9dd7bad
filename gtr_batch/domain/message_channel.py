"""Where a message about a result goes and what became of it: for what needs no more than the words."""

from __future__ import annotations

from enum import StrEnum


class Channel(StrEnum):
    """A way to another system."""

    HL7 = "hl7"  # ORU^R01 by MLLP
    FHIR = "fhir"  # a transaction Bundle by POST


class SendingState(StrEnum):
    """What became of a message on its way to one system."""

    WAITING = "waiting"
    SENT = "sent"
    DEAD = "dead"  # refused, or never answered: a person looks, and has it sent again
    SUPERSEDED = "superseded"  # its model was withdrawn before it went out
