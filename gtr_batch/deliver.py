"""Hand the objects of a case to the PACS: store, then have them committed or read them back.

A case is done when the PACS has *committed* it, not when we sent it. Storage commitment is PS3.4, Annex J; a PACS that
does not offer it is read back by C-FIND, and the case says so. Every step here can be cut off and run again: the UIDs
are the same, so a repeated C-STORE is the same object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from attrs import frozen

from gtr_batch.domain.case import Case
from gtr_batch.domain.delivery import Commitment, ObjectKind, ReportObject, StoreReceipt
from gtr_batch.domain.staging import Flag
from gtr_batch.errors import CommitmentPending, DeliveryRefused, TransientError
from gtr_batch.logs import get_logger
from gtr_batch.ports import ImageArchive

log = get_logger("deliver")

_SUCCESS = 0x0000
_ORDER = (  # what others point at comes first
    ObjectKind.PARAMETRIC_MAP,
    ObjectKind.SECONDARY_CAPTURE,
    ObjectKind.KEY_OBJECTS,
    ObjectKind.STRUCTURED_REPORT,
)


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
        What `report` wrote; images are stored before the documents that point at them.
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
    objects = sorted(objects, key=lambda o: _ORDER.index(o.kind))
    desk = _Desk(archive, case, folder, save_receipts)
    missing = [o for o in objects if o.sop_instance_uid not in already_stored]
    with desk.connected(missing):
        listed = desk.listed(missing)
        if listed:
            save_receipts([StoreReceipt(uid, _SUCCESS, "listed by the PACS, not sent again") for uid in sorted(listed)])
        desk.store([o for o in missing if o.sop_instance_uid not in listed])
    if on_stored is not None:
        on_stored()
    if commitment == "auto":
        try:
            answer = archive.commit(_pairs(objects), timeout_s)
        except CommitmentPending:
            save_commitment(Commitment(offered=True), desk.read_back(objects))
            raise
        if answer.offered:
            _have_committed(desk, objects, answer, timeout_s=timeout_s, save_commitment=save_commitment)
            return DeliveryOutcome(stored=True, committed=True, sent=desk.sent)
    listed = desk.read_back(objects)
    save_commitment(Commitment(offered=False), listed)
    absent = [o.sop_instance_uid for o in objects if o.sop_instance_uid not in listed]
    if absent:
        raise TransientError(
            f"C-FIND lists {len(listed)} of {len(objects)} objects that the PACS accepted, "
            f"not {absent[0]}; retried later"
        )
    return DeliveryOutcome(stored=True, committed=True, sent=desk.sent, flags=(Flag.NO_STORAGE_COMMITMENT,))


def _have_committed(
    desk: _Desk,
    objects: Sequence[ReportObject],
    answer: Commitment,
    *,
    timeout_s: float,
    save_commitment: Callable[[Commitment, frozenset[str]], None],
) -> None:
    save_commitment(answer, frozenset())
    lost = _uncommitted(answer, objects)
    if not lost:
        return
    # Once more, once: what is not committed we must still have, and may send again (PS3.4, J.3.3).
    log.warning("deliver.not_committed", case_id=desk.case.case_id, objects=len(lost), reasons=_reasons(answer))
    desk.store(lost)
    answer = desk.archive.commit(_pairs(objects), timeout_s)
    save_commitment(answer, frozenset())
    if lost := _uncommitted(answer, objects):
        raise TransientError(
            f"storage commitment of {len(lost)} of {len(objects)} objects failed twice, "
            f"failure reason {_reasons(answer)}; retried later"
        )


class _Desk:
    """Stores and looks up one case's objects, and counts what it sent."""

    def __init__(
        self,
        archive: ImageArchive,
        case: Case,
        folder: Path,
        save_receipts: Callable[[Sequence[StoreReceipt]], None],
    ) -> None:
        self.archive, self.case, self.folder, self.save_receipts = archive, case, folder, save_receipts
        self.sent = 0

    def connected(self, objects: Sequence[ReportObject]) -> AbstractContextManager[None]:
        """One association for looking these up and sending them."""
        return self.archive.connected([self.folder / one.file for one in objects])

    def store(self, objects: Sequence[ReportObject]) -> None:
        """C-STORE over one association; what was taken is noted before the next can fail.

        An object that is refused for good (a PACS without parametric maps) does not keep the others from the PACS; the
        refusal is raised after them.
        """
        try:
            self.archive.store([self.folder / one.file for one in objects], self._note)
        except DeliveryRefused as err:
            log.error("deliver.refused", case_id=self.case.case_id, status=err.status)
            raise

    def _note(self, receipt: StoreReceipt) -> None:
        self.save_receipts([receipt])
        self.sent += 1

    def listed(self, objects: Sequence[ReportObject]) -> frozenset[str]:
        """Which of these the PACS lists now."""
        found: set[str] = set()
        for series in dict.fromkeys(o.series_uid for o in objects):
            uids = [o.sop_instance_uid for o in objects if o.series_uid == series]
            found |= self.archive.present(self.case.study_uid, series, uids)
        return frozenset(found)

    def read_back(self, objects: Sequence[ReportObject]) -> frozenset[str]:
        """Which of these the PACS lists, after one more C-STORE of those it does not."""
        with self.connected(objects):
            listed = self.listed(objects)
            absent = [o for o in objects if o.sop_instance_uid not in listed]
            if not absent:
                return listed
            log.warning("deliver.not_listed", case_id=self.case.case_id, objects=len(absent))
            self.store(absent)
            return self.listed(objects)


def _pairs(objects: Sequence[ReportObject]) -> list[tuple[str, str]]:
    return [(o.sop_class_uid, o.sop_instance_uid) for o in objects]


def _uncommitted(answer: Commitment, objects: Sequence[ReportObject]) -> list[ReportObject]:
    return [o for o in objects if o.sop_instance_uid not in answer.committed]


def _reasons(answer: Commitment) -> str:
    return ", ".join(sorted({f"0x{reason:04X}" for _, reason in answer.failed})) or "no reason given"
