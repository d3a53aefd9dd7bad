"""ADT^A40 (patient merged), as it comes; and the acknowledgement that it gets.

References
----------
HL7 v2.5.1, chapter 3 (A40; message structure ADT_A39), chapter 2 (acknowledgements); table 0357
"""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime

from attrs import frozen
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message, Segment
from hl7apy.parser import parse_message

from gtr_batch.config import RisConfig
from gtr_batch.domain.identity import PatientIdentity
from gtr_batch.domain.patient_merge import PatientMerge
from gtr_batch.ris.hl7 import CHARACTER_SET, VERSION, escaped

ACCEPTED, ERROR, REJECTED = "AA", "AE", "AR"
# HL7 error codes (table 0357) that we give
REQUIRED_FIELD, DATA_TYPE, MESSAGE_TYPE, EVENT, DUPLICATE, INTERNAL, UNKNOWN_KEY = (
    "101", "102", "200", "201", "205", "207", "204",
)  # fmt: skip
_MEANINGS = {
    "101": "Required field missing", "102": "Data type error", "200": "Unsupported message type",
    "201": "Unsupported event code", "204": "Unknown key identifier", "205": "Duplicate key identifier",
    "207": "Application internal error",
}  # fmt: skip
_LONGEST = 64  # characters of a PatientID (VR LO)
_SEQUENCE = re.compile(r"\\(F|S|T|R|E|X(?:[0-9A-Fa-f]{2})+)\\")
_DELIMITERS = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\"}


class NotTaken(Exception):
    """A message that is not taken: AE or AR, and HL7's code of the reason. Holds no value of the message."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code, self.reason = code, reason


@frozen
class MergeMessage:
    """One ADT^A40: who sent it, its control id, and what it says, in its order."""

    sender: str
    control_id: str
    merges: tuple[PatientMerge, ...]


def control_id_of(text: str) -> str:
    """MSH-10, as far as there is one."""
    fields = re.split(r"[\r\n]", text, maxsplit=1)[0].split("|")
    return fields[9][:199] if len(fields) > 9 else ""


def merge_message(frame: bytes, config: RisConfig) -> MergeMessage:
    """What an ADT^A40 says.

    Raises
    ------
    NotTaken
        It is another message (AR), or lacks what it must have, or holds what no PatientID is (AE).
    """
    text = decoded(frame)
    if not text.startswith("MSH|^~\\&|"):
        raise NotTaken(REJECTED, DATA_TYPE)
    try:
        message = parse_message(text, validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=False)
        segments = list(message.children)
        kind = str(message.msh.msh_9.to_er7()).split("^")
        sender = f"{message.msh.msh_3.to_er7()}|{message.msh.msh_4.to_er7()}"
    except Exception:  # noqa: BLE001 - a strange message breaks hl7apy in many ways
        raise NotTaken(REJECTED, DATA_TYPE) from None
    if kind[0] != "ADT":
        raise NotTaken(REJECTED, MESSAGE_TYPE)
    if kind[1:2] != ["A40"]:
        raise NotTaken(REJECTED, EVENT)
    control_id = control_id_of(text)
    if not control_id.strip():
        raise NotTaken(ERROR, REQUIRED_FIELD)
    return MergeMessage(sender[:200], control_id, _merges(segments, config))


def _merges(segments: list[Segment], config: RisConfig) -> tuple[PatientMerge, ...]:
    found: list[PatientMerge] = []
    pid: Segment | None = None
    for segment in segments:
        if segment.name == "PID":
            if pid is not None:
                raise NotTaken(ERROR, REQUIRED_FIELD)  # one PID without its MRG
            pid = segment
        elif segment.name == "MRG":
            if pid is None:
                raise NotTaken(ERROR, REQUIRED_FIELD)
            found += _merge(pid, segment, config)
            pid = None
    if pid is not None or not found:
        raise NotTaken(ERROR, REQUIRED_FIELD)
    return tuple(found)


def _merge(pid: Segment, mrg: Segment, config: RisConfig) -> list[PatientMerge]:
    """What one pair says; a PatientID of another authority than ours is none of our business."""
    new, old = _identities(pid.pid_3, config), _identities(mrg.mrg_1, config)
    if not new or not old:
        raise NotTaken(ERROR, UNKNOWN_KEY if config.assigning_authority else REQUIRED_FIELD)
    if len({one.patient_id for one in new}) > 1:
        raise NotTaken(ERROR, DUPLICATE)  # which of them is ours? ris.assigning_authority says
    if any(not one.differences(new[0]) for one in old):
        raise NotTaken(ERROR, DUPLICATE)  # into itself
    return [PatientMerge(one, new[0]) for one in old]


def _identities(field: object, config: RisConfig) -> list[PatientIdentity]:
    """The PatientIDs of a repeating CX field, of our authority where the settings name it."""
    found = []
    for repetition in field:  # type: ignore[attr-defined]
        components = str(repetition.to_er7()).split("^")
        number = unescaped(components[0]).strip()
        issuer = unescaped(components[3].split("&")[0]).strip() if len(components) > 3 else ""
        if config.assigning_authority:
            if issuer != config.assigning_authority:
                continue
            issuer = ""  # ours: the PACS may call it otherwise
        if not number:
            continue
        for value in (number, issuer):
            if len(value) > _LONGEST or "\\" in value or not (value.isprintable() or not value):
                raise NotTaken(ERROR, DATA_TYPE)
        found.append(PatientIdentity(number, issuer))
    return found


def acknowledgement(text: str, code: str, reason: str, config: RisConfig) -> str:
    """The acknowledgement of a message; `reason` an HL7 error code, empty where it was taken."""
    fields = re.split(r"[\r\n]", text, maxsplit=1)[0].split("|")
    made = Message("ACK", version=VERSION, validation_level=VALIDATION_LEVEL.TOLERANT)
    made.msh.msh_3 = escaped(config.sending_application)
    made.msh.msh_4 = escaped(config.sending_facility)
    if len(fields) > 3:
        made.msh.msh_5, made.msh.msh_6 = fields[2][:200], fields[3][:200]
    made.msh.msh_7 = f"{datetime.now(UTC):%Y%m%d%H%M%S%z}"
    made.msh.msh_9 = "ACK^A40^ACK"
    made.msh.msh_10 = uuid.uuid4().hex[:20].upper()
    made.msh.msh_11 = config.processing_id
    made.msh.msh_18 = CHARACTER_SET
    made.msa.msa_1, made.msa.msa_2 = code, control_id_of(text)
    if reason:
        error = made.add_segment("ERR")
        error.err_3 = f"{reason}^{_MEANINGS[reason]}^HL70357"
        error.err_4 = "E"
    return str(made.to_er7())


def decoded(frame: bytes) -> str:
    """A message as text: UTF-8, or Latin-1 where MSH-18 says so, with carriage returns between its segments.

    Raises
    ------
    NotTaken
        It is neither.
    """
    head = re.split(rb"[\r\n]", frame, maxsplit=1)[0].split(b"|")
    latin = len(head) > 17 and head[17].split(b"~")[0].strip().upper() in (b"8859/1", b"8859-1")
    try:
        text = frame.decode("latin-1" if latin else "utf-8")
    except UnicodeDecodeError:
        raise NotTaken(ERROR, DATA_TYPE) from None
    return text.replace("\r\n", "\r").replace("\n", "\r")


def unescaped(text: str) -> str:
    """A component with its escape sequences resolved."""

    def resolved(match: re.Match[str]) -> str:
        name = match[1]
        return _DELIMITERS.get(name) or bytes.fromhex(name[1:]).decode("latin-1")

    return _SEQUENCE.sub(resolved, text)
