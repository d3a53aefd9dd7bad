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
