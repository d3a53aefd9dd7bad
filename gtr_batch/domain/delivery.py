"""Objects that go back to the PACS, and what the PACS said of them."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen


class ObjectKind(StrEnum):
    """What `report` writes."""

    STRUCTURED_REPORT = "structured_report"
    PARAMETRIC_MAP = "parametric_map"
    SECONDARY_CAPTURE = "secondary_capture"
    KEY_OBJECTS = "key_objects"
    ENCAPSULATED_PDF = "encapsulated_pdf"
    REJECTION = "rejection"  # of a withdrawn model's report; no part of any answer
    READER_WORD = "reader_word"  # what a reader says of an answer; no part of any


#: What an answer consists of: a rejection or a reader's word is about one and belongs to none.
ANSWER_KINDS = tuple(kind for kind in ObjectKind if kind not in (ObjectKind.REJECTION, ObjectKind.READER_WORD))


@frozen
class Predecessor:
    """A report that a later one replaces, as the later one names it (*Predecessor Documents Sequence*)."""

    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str


@frozen
class ReportObject:
    """One written object.

    `file` is its name in the case's ``report`` folder; with `content_digest` and `predecessors` the same object can be
    written again.
    """

    kind: ObjectKind
    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    file: str
    content_digest: str
    predecessors: tuple[Predecessor, ...] = ()

    def as_predecessor(self) -> Predecessor:
        """As a later report names it."""
        return Predecessor(self.sop_class_uid, self.sop_instance_uid, self.series_uid)


@frozen
class StoreReceipt:
    """The PACS's answer to one C-STORE."""

    sop_instance_uid: str
    status: int  # 0x0000 success; 0xBxxx stored with a warning
    warning: str = ""


#: What the PACS did although it says something else than Success (PS3.4, B.2.3; PS3.7, C.4).
STORE_WARNINGS = {
    0xB000: "data elements coerced",
    0xB006: "elements discarded",
    0xB007: "data set does not match SOP class",
    0x0001: "requested optional attributes not supported",
    0x0107: "attribute list error",
    0x0116: "attribute value out of range",
    # Our objects are deterministic: an instance that is there already is this very object, sent by an earlier try.
    0x0111: "the PACS holds this instance already",
}
_FAILURES = {
    0x0117: "invalid SOP instance",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0xC122: "transfer syntax not supported",  # of STOW-RS alone (PS3.18, 10.5.3)
}


def receipt_of(sop_instance_uid: str, status: int) -> StoreReceipt | None:
    """The receipt that a status, or a warning reason, of a stored instance stands for; None where it was not stored."""
    if status == 0x0000:
        return StoreReceipt(sop_instance_uid, status)
    if status in STORE_WARNINGS or status & 0xF000 == 0xB000:
        return StoreReceipt(sop_instance_uid, status, STORE_WARNINGS.get(status, f"warning 0x{status:04X}"))
    return None


def is_out_of_resources(status: int) -> bool:
    """Whether the PACS may take the same instance later."""
    return status & 0xFF00 == 0xA700 or status == 0x0213


def failure_of(status: int) -> str:
    """What the status, or the failure reason, of an instance that was not stored means."""
    if status & 0xFF00 == 0xA900:
        return "data set does not match SOP class"
    if status in _FAILURES:
        return _FAILURES[status]
    return "cannot understand" if status & 0xF000 == 0xC000 else "failure"


@frozen
class Commitment:
    """The PACS's answer to a storage commitment request.

    `offered` is False where the PACS refused the presentation context, or the request; `not_able` where it knows the
    service, and could or would not do this request. `failed` maps SOP Instance UID to the Failure Reason (0008,1197).
    """

    offered: bool
    committed: frozenset[str] = frozenset()
    failed: tuple[tuple[str, int], ...] = ()
    transaction_uid: str = ""
    not_able: bool = False
