"""STOW-RS of our own objects: one request for all of them, and an answer that is read instance by instance."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from attrs import frozen
from pydicom import Dataset

from gtr_batch.dicomweb.client import LATER, Server, media_type
from gtr_batch.domain.delivery import StoreReceipt, failure_of, is_out_of_resources, receipt_of
from gtr_batch.domain.identifiers import Uid
from gtr_batch.errors import ConfigError, DeliveryRefused, PacsBusy, PermanentError, TransientError, UnreadableFile
from gtr_batch.logs import get_logger
from gtr_batch.reading import read_dicom, read_file

log = get_logger("pacs")

JSON = "application/dicom+json"
MOST_BYTES = 16 * 1024**2  # of an answer
HELD_ALREADY = 0x0111  # duplicate SOP instance: ours are deterministic, so it is this very object
UNEXPLAINED = 0x0110  # processing failure
_TO_READ = ("00081198", "00081199")  # Failed SOP Sequence, Referenced SOP Sequence


@frozen
class _Sent:
    path: Path
    uid: Uid
    sop_class: str  # its name


def store(
    server: Server,
    files: Sequence[Path],
    note: Callable[[StoreReceipt], None] | None = None,
    may_send: Callable[[], None] | None = None,
) -> list[StoreReceipt]:
    """Send files in one request, in their order.

    An object that is refused does not keep back the others: what the server took is noted, then the first refusal is
    raised.

    Parameters
    ----------
    files : sequence of pathlib.Path
    note : callable, optional
        Called with each receipt.
    may_send : callable, optional
        Asked before each object; what it raises ends the request, and the objects after it are not sent.

    Raises
    ------
    DeliveryRefused
        The server refused an object for good; carries the failure reason.
    PacsBusy
        It is out of resources.
    AssociationLost, PacsUnreachable
        No answer came: which objects were taken, the read-back says.
    TransientError
        The answer does not mention an object.
    """
    if not files:
        return []
    objects = [_sent(path) for path in files]
    status, said = _post(server, objects, may_send)
    taken, refused = {}, {}
    for one in objects:
        reason = said.get(one.uid)
        if reason is None:
            continue
        receipt = receipt_of(one.uid, reason[1]) if reason[0] or reason[1] == HELD_ALREADY else None
        if receipt is not None:
            taken[one.uid] = receipt
        else:
            refused[one.uid] = reason[1]
    for receipt in taken.values():
        if note is not None:
            note(receipt)
    for one in objects:
        if one.uid not in taken:
            _raise(server, one, refused.get(one.uid), status, [refused[uid] for uid in refused])
    return list(taken.values())


def _raise(server: Server, one: _Sent, reason: int | None, status: int, reasons: Sequence[int]) -> None:
    """Say why an object was not taken; where others will be taken later, that comes first: all are sent again."""
    tried = f"STOW-RS of {one.sop_class} {one.uid} to {server.peer}"
    busy = next((r for r in reasons if is_out_of_resources(r)), None)
    if busy is not None:
        raise PacsBusy(f"{tried}: failure reason 0x{busy:04X} (out of resources); tried again later")
    if reason is not None:
        log.error("pacs.store.refused", sop_class=one.sop_class, status=reason)
        raise DeliveryRefused(
            f"{tried} refused: failure reason 0x{reason:04X} ({failure_of(reason)}); not retried", reason
        )
    if status == 409:
        raise DeliveryRefused(f"{tried} refused: HTTP 409 without a reason for this object; not retried")
    raise TransientError(f"{tried}: HTTP {status}, and the answer does not mention it; read back later")


def _post(
    server: Server, objects: Sequence[_Sent], may_send: Callable[[], None] | None
) -> tuple[int, dict[str, tuple[bool, int]]]:
    """Send one request; its status, and by SOP Instance UID whether an object was stored and the reason given."""
    tried, boundary = f"STOW-RS of {len(objects)} objects", uuid4().hex
    heads = [_part_head(boundary, first=one is objects[0]) for one in objects]
    tail = f"\r\n--{boundary}--\r\n".encode()
    size = sum(len(head) + one.path.stat().st_size for head, one in zip(heads, objects, strict=True)) + len(tail)

    def content() -> Iterator[bytes]:
        for head, one in zip(heads, objects, strict=True):
            if may_send is not None:
                may_send()
            yield head
            yield _bytes(one.path)
        yield tail

    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Content-Length": str(size),  # not every server takes a body in chunks
        "Accept": JSON,
    }
    with server.post("studies", tried, headers, content()) as answer:
        status, kind = answer.status_code, media_type(answer)
        if status not in (200, 202, 409):
            raise _refusal(server, tried, status)
        body = server.whole_body(answer, tried, MOST_BYTES)
    return status, _results(body) if kind in (JSON, "application/json") else {}


def _refusal(server: Server, tried: str, status: int) -> Exception:
    if status in (404, 405, 501):
        return ConfigError(
            f"{tried} to {server.peer}: HTTP {status}, so nothing is taken there; check dicomweb.url, or turn "
            "dicomweb.deliver off"
        )
    if 300 <= status < 400 or status in (401, 403, 407, *LATER) or status >= 500:
        return server.refusal(tried, status)
    return DeliveryRefused(f"{tried} to {server.peer} refused: HTTP {status}; not retried")


def _results(body: bytes) -> dict[str, tuple[bool, int]]:
    """What the answer says of each instance (PS3.18, 10.5.3.2); nothing of an answer that cannot be read."""
    try:
        read = json.loads(body)
        item: Mapping[str, object] = read[0] if isinstance(read, list) else read
        ds = Dataset.from_json({tag: item[tag] for tag in _TO_READ if tag in item}, lambda *_: None)
        found = {
            str(one.ReferencedSOPInstanceUID): (True, int(one.get("WarningReason") or 0))
            for one in ds.get("ReferencedSOPSequence") or []
        }
        failed = {
            str(one.ReferencedSOPInstanceUID): (False, int(one.get("FailureReason") or UNEXPLAINED))
            for one in ds.get("FailedSOPSequence") or []
        }
    except Exception as err:  # noqa: BLE001 - pydicom raises anything on values of the wrong kind
        log.warning("pacs.store.answer_unreadable", error=type(err).__name__)
        return {}
    return found | failed


def _sent(path: Path) -> _Sent:
    try:
        meta = read_dicom(path, stop_before_pixels=True, tags=["SOPInstanceUID"]).file_meta
    except UnreadableFile as err:
        raise PermanentError(f"STOW-RS of {path.name}: {err.why}; not retried") from err
    return _Sent(path, Uid(meta.MediaStorageSOPInstanceUID), str(meta.MediaStorageSOPClassUID.name))


def _part_head(boundary: str, *, first: bool) -> bytes:
    return f"{'' if first else chr(13) + chr(10)}--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()


def _bytes(path: Path) -> bytes:
    try:
        return read_file(path)
    except UnreadableFile as err:
        raise PermanentError(f"STOW-RS of {path.name}: {err.why}; not retried") from err
