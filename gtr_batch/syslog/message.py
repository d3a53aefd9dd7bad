"""An event of the audit trail as a DICOM audit message, in a syslog message, in a frame.

References
----------
DICOM PS3.15, A.5 Audit Trail Message Format Profile; RFC 5424, The Syslog Protocol; RFC 5425, TLS Transport Mapping.
"""

from __future__ import annotations

import re
from datetime import UTC
from xml.etree import ElementTree as ET

from attrs import frozen

from gtr_batch.domain.access import SUCCESS, WaitingEvent

#: Facility 10 (security and authorisation), severity 5 (notice).
_PRIORITY = 10 * 8 + 5
#: What IHE ATNA asks for in MSGID.
_MESSAGE_ID = "DICOM+RFC3881"
_DCM = "DCM"
_OURS = "99GTRBATCH"
_LARGEST = 2**31 - 1  # of a sequenceId
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")


@frozen
class _Kind:
    """How an action is told: Event ID (DCM), Event Type Code (DCM) where there is one, Event Action Code."""

    event: tuple[str, str]
    type: tuple[str, str] | None
    code: str


_LOOKED = _Kind(("110103", "DICOM Instances Accessed"), None, "R")
_SENT = _Kind(("110104", "DICOM Instances Transferred"), None, "R")
_CHANGED = _Kind(("110113", "Security Alert"), ("110131", "Software Configuration"), "U")
_RESTRICTED = _Kind(("110113", "Security Alert"), ("110132", "Use of Restricted Function"), "E")


def audit_message(event: WaitingEvent, *, source: str, name_patients: bool = False) -> str:
    """The event as XML; `source` is the Audit Source ID.

    Names a study by its UID, and its patient by PatientID where the site has that (`name_patients`).
    """
    kind = _kind_of(event.action)
    root = ET.Element("AuditMessage")
    about = ET.SubElement(
        root,
        "EventIdentification",
        EventActionCode=kind.code,
        EventDateTime=event.at.astimezone(UTC).isoformat(timespec="milliseconds"),
        EventOutcomeIndicator="0" if event.outcome == SUCCESS else "4",  # 4: minor failure, nothing was done
    )
    _coded(about, "EventID", *kind.event)
    if kind.type is not None:
        _coded(about, "EventTypeCode", *kind.type)
    _coded(about, "EventTypeCode", event.action, event.action, _OURS)
    ET.SubElement(
        root,
        "ActiveParticipant",
        UserID=_text(event.actor),
        AlternativeUserID=_text(f"{event.os_user}; {event.db_user}"),
        UserIsRequestor="true",
    )
    ET.SubElement(root, "AuditSourceIdentification", AuditSourceID=_text(source))
    if name_patients and event.patient_id:
        _patient(root, event)
    if event.study_uid:
        _object(root, event.study_uid, ("110180", "Study Instance UID", _DCM), role="3")
    _object(root, event.object_id, (event.object_kind, event.object_kind, _OURS), role="13")
    return ET.tostring(root, encoding="unicode")


def syslog_message(event: WaitingEvent, *, source: str, host: str, name_patients: bool = False) -> bytes:
    """The event as a syslog message; its number stands in the structured data, so that a receiver knows it again."""
    at = event.at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
    number = f'[meta sequenceId="{(event.event_id - 1) % _LARGEST + 1}"]'
    head = f"<{_PRIORITY}>1 {at}Z {_name(host, 255)} gtr-batch - {_MESSAGE_ID} {number} "
    return (
        head.encode("ascii")
        + b"\xef\xbb\xbf"
        + audit_message(event, source=source, name_patients=name_patients).encode()
    )


def framed(message: bytes) -> bytes:
    """A syslog message behind its length, as RFC 5425 sends it."""
    return str(len(message)).encode("ascii") + b" " + message


def _kind_of(action: str) -> _Kind:
    """Looking and sending by what was done; changes of models and settings; all else is a right that few have."""
    subject, _, did = action.partition(".")
    if did == "look":
        return _LOOKED
    if subject == "report":
        return _SENT
    return _CHANGED if subject in ("model", "setting") else _RESTRICTED


def _coded(parent: ET.Element, tag: str, code: str, meaning: str, system: str = _DCM) -> None:
    ET.SubElement(parent, tag, {"csd-code": code, "codeSystemName": system, "originalText": meaning})


def _object(root: ET.Element, object_id: str, kind: tuple[str, str, str], *, role: str) -> None:
    """A participant object of type 2 (system object): role 3 a report, 13 a security resource."""
    made = ET.SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=_text(object_id),
        ParticipantObjectTypeCode="2",
        ParticipantObjectTypeCodeRole=role,
    )
    _coded(made, "ParticipantObjectIDTypeCode", *kind)


def _patient(root: ET.Element, event: WaitingEvent) -> None:
    """The patient as a participant object of type 1 (person) and role 1 (patient); with the issuer, as HL7's CX."""
    issuer = event.issuer_of_patient_id
    made = ET.SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=_text(f"{event.patient_id}^^^{issuer}" if issuer else event.patient_id),
        ParticipantObjectTypeCode="1",
        ParticipantObjectTypeCodeRole="1",
    )
    _coded(made, "ParticipantObjectIDTypeCode", "2", "Patient Number", "RFC-3881")


def _text(value: str) -> str:
    return _NOT_XML.sub("\ufffd", value)


def _name(value: str, longest: int) -> str:
    return _NOT_PRINTABLE.sub("", value)[:longest] or "-"
