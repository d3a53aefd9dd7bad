"""Hand the objects of a case to the PACS: store, then have them committed or read them back.

A case is done when the PACS has *committed* it, not when we sent it. Storage commitment is PS3.4, Annex J; a PACS that
does not offer it is read back by C-FIND, and the case says so. Every step here can be cut off and run again: the UIDs
are the same, so a repeated C-STORE is the same object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import frozen

from gtr_batch.domain.case import Case
from gtr_batch.domain.delivery import Commitment, ReportObject, StoreReceipt
from gtr_batch.domain.staging import Flag
from gtr_batch.errors import DeliveryRefused, PacsBusy, TransientError
from gtr_batch.logs import get_logger
from gtr_batch.ports import ImageArchive

log = get_logger("deliver")

# DIMSE statuses of C-STORE (PS3.4, B.2.3): warnings mean stored, 0xA7xx out of resources, the rest is refused.
_SUCCESS = 0x0000


@frozen
class DeliveryOutcome:
    """What became of a case's objects.

    `stored`: the PACS has every object. `committed`: it has taken responsibility for them, or, where it offers no
    commitment, lists them all (then `flags` says so). `sent`: how many were sent this time.
    """

    stored: bool
    committed: bool
    sent: int = 0
    flags: tuple[Flag, ...] = ()


def deliver_case(
    archive: ImageArchive,
    case: Case,
    objects: Sequence[ReportObject],
    folder: Path,
    *,
    already_stored: frozenset[str],
    commitment: str = "auto",
    timeout_s: float = 60.0,
    save_receipts: Callable[[Sequence[StoreReceipt]], None],
    save_commitment: Callable[[Commitment, frozenset[str]], None],
    on_stored: Callable[[], object] | None = None,
) -> DeliveryOutcome:
    """Deliver what the PACS has not got yet.

    Parameters
    ----------
    objects : sequence of ReportObject
        Stored in this order; what others point at comes first.
    folder : Path
        Where their files lie.
    already_stored : frozenset of str
        SOP Instance UIDs that the PACS took before. What it lists in C-FIND is not sent again either: a crash between
        C-STORE and our note of it costs nothing.
    commitment : str
        ``"auto"``: ask, and read back where not offered; ``"off"``: read back.
    timeout_s : float
        How long to wait for the commitment's answer.
    save_receipts, save_commitment : callable
        Called as soon as there is something to note; `save_commitment` gets the instances that C-FIND listed.
    on_stored : callable, optional
        Called once the PACS has taken every object, before any commitment.

    Raises
    ------
    DeliveryRefused
        The PACS refused an object for good, with the status: for the dead letters.
    TransientError
        Unreachable, busy, not yet committed, or still missing after one more C-STORE: retry later.
    """
    if not objects:
        return DeliveryOutcome(stored=True, committed=True)
    missing = [o for o in objects if o.sop_instance_uid not in already_stored]
    if missing:
        listed = _listed(archive, case, missing)
        missing = [o for o in missing if o.sop_instance_uid not in listed]
    _store(archive, missing, folder, save_receipts)
    sent = len(missing)
    if on_stored is not None:
        on_stored()
    if commitment == "auto":
        answer = _commit(archive, objects, timeout_s)
        if answer.offered:
            if lost := _uncommitted(answer, objects):
                # Once more, once: an archive may lose what it accepted (PS3.4, J.3.3 lets it say so).
                log.warning("deliver.not_committed", case_id=case.case_id, failed=_reasons(answer))
                save_commitment(answer, frozenset())
                _store(archive, lost, folder, save_receipts)
                sent += len(lost)
                answer = _commit(archive, objects, timeout_s)
            save_commitment(answer, frozenset())
            if lost := _uncommitted(answer, objects):
                raise TransientError(
                    f"storage commitment of {len(lost)} of {len(objects)} objects failed twice: {_reasons(answer)}; "
                    "retried later"
                )
            return DeliveryOutcome(stored=True, committed=True, sent=sent)
        save = answer
    else:
        save = Commitment(offered=False)
    listed = _listed(archive, case, objects)
    if lost := [o for o in objects if o.sop_instance_uid not in listed]:
        # Also what was sent in an earlier run and has gone since.
        _store(archive, lost, folder, save_receipts)
        sent += len(lost)
        listed = _listed(archive, case, objects)
    save_commitment(save, listed)
    if absent := [o.sop_instance_uid for o in objects if o.sop_instance_uid not in listed]:
        raise TransientError(
            f"C-FIND lists {len(listed)} of {len(objects)} objects that the PACS accepted; missing {absent[0]}; "
            "retried later"
        )
    return DeliveryOutcome(stored=True, committed=True, sent=sent, flags=(Flag.NO_STORAGE_COMMITMENT,))


def _listed(archive: ImageArchive, case: Case, objects: Sequence[ReportObject]) -> frozenset[str]:
    found: set[str] = set()
    for series in dict.fromkeys(o.series_uid for o in objects):
        uids = [o.sop_instance_uid for o in objects if o.series_uid == series]
        found |= archive.present(case.study_uid, series, uids)
    return frozenset(found)


def _store(
    archive: ImageArchive,
    objects: Sequence[ReportObject],
    folder: Path,
    save_receipts: Callable[[Sequence[StoreReceipt]], None],
) -> None:
    for one in objects:
        # One by one, so that what was taken is noted before the next can fail.
        receipts = archive.store([folder / one.file])
        save_receipts(receipts)
        for receipt in receipts:
            _judge(one, receipt)


def _judge(one: ReportObject, receipt: StoreReceipt) -> None:
    status = receipt.status
    if status == _SUCCESS or 0xB000 <= status <= 0xBFFF:
        return
    what = f"C-STORE of {one.kind} {one.sop_instance_uid}: status 0x{status:04X}"
    if 0xA700 <= status <= 0xA7FF:
        raise PacsBusy(f"{what} (out of resources); retried later")
    raise DeliveryRefused(f"{what} {receipt.warning}".rstrip() + "; not retried", status)


def _commit(archive: ImageArchive, objects: Sequence[ReportObject], timeout_s: float) -> Commitment:
    return archive.commit([(o.sop_class_uid, o.sop_instance_uid) for o in objects], timeout_s)


def _uncommitted(answer: Commitment, objects: Sequence[ReportObject]) -> list[ReportObject]:
    return [o for o in objects if o.sop_instance_uid not in answer.committed]


def _reasons(answer: Commitment) -> str:
    return ", ".join(sorted({f"0x{reason:04X}" for _, reason in answer.failed})) or "no reason given"
