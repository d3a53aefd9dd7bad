"""C-STORE of our own objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydicom import Dataset, FileDataset
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND

from gtr_batch.domain.delivery import StoreReceipt, failure_of, is_out_of_resources, receipt_of
from gtr_batch.domain.identifiers import Uid
from gtr_batch.errors import DeliveryRefused, PacsBusy, PermanentError, UnreadableFile
from gtr_batch.logs import get_logger
from gtr_batch.pacs.association import OpenAssociation
from gtr_batch.pacs.contexts import MAX_CONTEXTS, store_contexts
from gtr_batch.pacs.session import Need, Sessions
from gtr_batch.reading import read_dicom

log = get_logger("pacs")


def store(
    sessions: Sessions,
    files: Sequence[Path],
    note: Callable[[StoreReceipt], None] | None = None,
    may_send: Callable[[], None] | None = None,
) -> list[StoreReceipt]:
    """Send files over one association, in their order.

    An object that is refused does not keep back the ones after it: all are tried, then the first refusal is raised.

    Parameters
    ----------
    files : sequence of pathlib.Path
    note : callable, optional
        Called with each receipt as it comes, so that a cut in the middle loses none.
    may_send : callable, optional
        Asked before each object; what it raises is raised, and nothing more is sent.

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
    refused: list[DeliveryRefused] = []

    def work(line: OpenAssociation) -> None:
        refused.clear()
        for path, head in zip(files, heads, strict=True):
            if may_send is not None:
                may_send()
            try:
                receipt = _send(line, path, head)
            except DeliveryRefused as err:
                log.error("pacs.store.refused", sop_class=str(head.MediaStorageSOPClassUID.name), status=err.status)
                refused.append(err)
                continue
            receipts.append(receipt)
            if note is not None:
                note(receipt)

    sessions.run(store_need(heads), work)
    if refused:
        raise refused[0]
    return receipts


def foreseen(files: Sequence[Path]) -> Need:
    """What storing these files, and looking them up, will need; of one that cannot be read, `store` says so."""
    heads = []
    for path in files:
        with suppress(PermanentError):
            heads.append(_head(path))
    stored = store_need(heads)
    return Need([build_context(FIND), *stored.contexts], stored.sop_classes)


def store_need(heads: Sequence[Dataset]) -> Need:
    """What storing objects with these file metas needs of an association."""
    return Need(_contexts(heads), frozenset(str(h.MediaStorageSOPClassUID) for h in heads))


def _send(line: OpenAssociation, path: Path, head: Dataset) -> StoreReceipt:
    uid, sop_class = Uid(head.MediaStorageSOPInstanceUID), head.MediaStorageSOPClassUID
    tried = f"C-STORE of {sop_class.name} {uid}"
    if not line.accepted(sop_class):
        raise DeliveryRefused(
            f"{tried} to {line.peer} refused: no presentation context for {sop_class.name} accepted; allow this SOP "
            "class in the PACS, or turn it off in [report]; not retried",
            0x0122,
        )
    as_it_lies = line.accepted(sop_class, head.TransferSyntaxUID) and _is_even(path)
    try:
        answer = line.assoc.send_c_store(path if as_it_lies else _read(path))  # else encoded anew
    except (ValueError, AttributeError) as err:  # no context with its transfer syntax, or an object not encodable
        raise DeliveryRefused(
            f"{tried} to {line.peer}: transfer syntax {head.TransferSyntaxUID.name} not accepted, or the object cannot "
            "be encoded; not retried"
        ) from err
    status = line.status(answer, tried)
    receipt = receipt_of(uid, status)
    if receipt is not None:
        return receipt
    if is_out_of_resources(status):
        raise PacsBusy(f"{tried} to {line.peer}: status 0x{status:04X} (out of resources); tried again later")
    raise DeliveryRefused(
        f"{tried} to {line.peer} refused: status 0x{status:04X} ({failure_of(status)}); not retried", status
    )


def _is_even(path: Path) -> bool:
    """Whether a file's data set has an even length, as every fragment must have (PS3.8, 9.3.1 and Annex E.2).

    A deflated one may lie in its file without the NULL byte that makes it even (PS3.5, A.5); DCMTK writes it so, and
    ends the association where it comes so.
    """
    return path.stat().st_size % 2 == 0  # preamble and file meta are even


def _head(path: Path) -> Dataset:
    return _read(path, stop_before_pixels=True, tags=["SOPInstanceUID"]).file_meta


def _read(path: Path, **options: Any) -> FileDataset:
    try:
        return read_dicom(path, **options)
    except UnreadableFile as err:
        raise PermanentError(f"C-STORE of {path.name}: {err.why}; not retried") from err


def _contexts(heads: Sequence[Dataset]) -> list[PresentationContext]:
    contexts = store_contexts((h.MediaStorageSOPClassUID, h.TransferSyntaxUID) for h in heads)
    if len(contexts) > MAX_CONTEXTS:
        raise PermanentError(
            f"{len(contexts)} kinds of objects in one C-STORE; at most {MAX_CONTEXTS}: send fewer at once"
        )
    return contexts
