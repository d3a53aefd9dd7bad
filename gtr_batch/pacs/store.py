"""C-STORE of our own objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pynetdicom.presentation import PresentationContext

from gtr_batch.domain.delivery import StoreReceipt
from gtr_batch.domain.identifiers import Uid
from gtr_batch.errors import DeliveryRefused, GtrError, PacsBusy, PermanentError
from gtr_batch.pacs.association import Caller, OpenAssociation
from gtr_batch.pacs.contexts import MAX_CONTEXTS, store_contexts

# What the PACS did although it says something else than Success (PS3.4, B.2.3; PS3.7, C.4).
WARNINGS = {
    0xB000: "data elements coerced",
    0xB006: "elements discarded",
    0xB007: "data set does not match SOP class",
    0x0001: "requested optional attributes not supported",
    0x0107: "attribute list error",
    0x0116: "attribute value out of range",
    # Our objects are deterministic: an instance that is there already is this very object, sent by an earlier try.
    0x0111: "the PACS holds this instance already",
}
_REASONS = {
    0x0117: "invalid SOP instance",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
}


def store(caller: Caller, files: Sequence[Path]) -> list[StoreReceipt]:
    """Send files over one association, in their order.

    An object that is refused does not keep back the ones after it: all are tried, then the first refusal is raised.

    Raises
    ------
    DeliveryRefused
        The PACS refused an object for good; carries the DIMSE status (0x0122 where it accepts no presentation context).
    PacsBusy
        Status 0xA7xx or 0x0213.
    AssociationLost
        The association ended before an answer.
    """
    if not files:
        return []
    heads = [_head(path) for path in files]
    receipts: list[StoreReceipt] = []
    refused: GtrError | None = None
    with caller.associate(_contexts(heads)) as line:
        for path, head in zip(files, heads, strict=True):
            try:
                receipts.append(_send(line, path, head))
            except DeliveryRefused as err:
                refused = refused or err
    if refused is not None:
        raise refused
    return receipts


def _send(line: OpenAssociation, path: Path, head: Dataset) -> StoreReceipt:
    uid, sop_class = Uid(head.MediaStorageSOPInstanceUID), head.MediaStorageSOPClassUID
    tried = f"C-STORE of {sop_class.name} {uid}"
    if not line.accepted(sop_class):
        raise DeliveryRefused(
            f"{tried} to {line.peer} refused: no presentation context for {sop_class.name} accepted; allow this SOP "
            "class in the PACS, or turn it off in [report]; not retried",
            0x0122,
        )
    try:
        answer = line.assoc.send_c_store(dcmread(path))
    except (ValueError, AttributeError) as err:  # no context with its transfer syntax, or an object not encodable
        raise DeliveryRefused(
            f"{tried} to {line.peer}: transfer syntax {head.TransferSyntaxUID.name} not accepted, or the object cannot "
            "be encoded; not retried"
        ) from err
    status = line.status(answer, tried)
    if status == 0x0000:
        return StoreReceipt(uid, status)
    if status in WARNINGS or status & 0xF000 == 0xB000:
        return StoreReceipt(uid, status, WARNINGS.get(status, f"warning 0x{status:04X}"))
    if status & 0xFF00 == 0xA700 or status == 0x0213:
        raise PacsBusy(f"{tried} to {line.peer}: status 0x{status:04X} (out of resources); tried again later")
    raise DeliveryRefused(
        f"{tried} to {line.peer} refused: status 0x{status:04X} ({_reason(status)}); not retried", status
    )


def _reason(status: int) -> str:
    if status & 0xFF00 == 0xA900:
        return "data set does not match SOP class"
    if status & 0xF000 == 0xC000:
        return "cannot understand"
    return _REASONS.get(status, "failure")


def _head(path: Path) -> Dataset:
    try:
        return dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).file_meta
    except (OSError, EOFError, InvalidDicomError) as err:
        raise PermanentError(f"C-STORE of {path.name}: not a readable DICOM file; not retried") from err


def _contexts(heads: Sequence[Dataset]) -> list[PresentationContext]:
    contexts = store_contexts((h.MediaStorageSOPClassUID, h.TransferSyntaxUID) for h in heads)
    if len(contexts) > MAX_CONTEXTS:
        raise PermanentError(
            f"{len(contexts)} kinds of objects in one C-STORE; at most {MAX_CONTEXTS}: send fewer at once"
        )
    return contexts
