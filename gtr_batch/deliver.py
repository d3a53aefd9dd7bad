"""Hand the objects of a case to the PACS: store, then have them committed or read them back.

A case is done when the PACS has *committed* it, not when we sent it. Storage commitment is PS3.4, Annex J; a PACS that
does not offer it is read back by C-FIND, or by QIDO-RS and WADO-RS, and the case says so. Every step here can be cut
off and run again: the UIDs are the same, so a repeated C-STORE is the same object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import evolve, frozen

from gtr_batch.config import PacsConfig
from gtr_batch.domain.case import Case
from gtr_batch.domain.delivery import Commitment, ObjectKind, ReportObject, StoreReceipt
from gtr_batch.domain.identity import mismatch
from gtr_batch.domain.series import InstanceRecord
from gtr_batch.domain.staging import Flag
from gtr_batch.errors import (
    AssociationLost,
    CaseRejected,
    CommitmentPending,
    ConfigError,
    DeliveryRefused,
    PermanentError,
    TransientError,
)
from gtr_batch.identity import read_identity
from gtr_batch.logs import get_logger
from gtr_batch.ports import Deliveries, ImageArchive

log = get_logger("deliver")

AT_ONCE = 200  # most objects in one storage commitment request of several cases; a case's own are never parted
_SUCCESS = 0x0000
_ORDER = (  # what others point at comes first
    ObjectKind.PARAMETRIC_MAP,
    ObjectKind.SECONDARY_CAPTURE,
    ObjectKind.KEY_OBJECTS,
    ObjectKind.ENCAPSULATED_PDF,
    ObjectKind.STRUCTURED_REPORT,
    ObjectKind.REJECTION,
    ObjectKind.READER_WORD,
)


@frozen
class Parcel:
    """One case's objects on their way: whose, what, and the folder where the files lie.

    Images are stored before the documents that point at them, in whatever order `objects` come.
    """

    case: Case
    objects: Sequence[ReportObject]
    folder: Path

    def in_order(self) -> list[ReportObject]:
        """The objects in the order in which they are stored."""
        return sorted(self.objects, key=lambda o: _ORDER.index(o.kind))

    def files(self, objects: Sequence[ReportObject]) -> list[Path]:
        """Where these objects lie."""
        return [self.folder / one.file for one in objects]


@frozen
class DeliveryOutcome:
    """What became of a case's objects: how many were sent this time, and what a reader must know of the delivery.

    The PACS has taken responsibility for every object or, where it offers no commitment, lists them all (then `flags`
    says so).
    """

    sent: int = 0
    flags: tuple[Flag, ...] = ()


def deliver_case(
    archive: ImageArchive, deliveries: Deliveries, parcel: Parcel, settings: PacsConfig
) -> DeliveryOutcome:
    """Store what the PACS has not got yet, then have all of it committed; raises as the two."""
    sent = store_objects(archive, deliveries, parcel)
    outcome = commit_objects(archive, deliveries, parcel, settings)
    return DeliveryOutcome(sent + outcome.sent, outcome.flags)


def store_objects(archive: ImageArchive, deliveries: Deliveries, parcel: Parcel) -> int:
    """Store what the PACS has not got yet; returns how many objects were sent.

    What it took before is not sent again, nor what it lists in C-FIND: a crash between C-STORE and our note of it costs
    nothing.

    Raises
    ------
    CaseRejected
        ``identity_mismatch``: the PACS lists the study under another patient than the case, or than the objects say, or
        does not list it any more. Nothing is sent.
    DeliveryRefused
        The PACS refused an object for good, with the status: for the dead letters.
    TransientError
        Unreachable or busy: retry later.
    """
    case = parcel.case
    taken = deliveries.stored(case.case_id) if parcel.objects else frozenset()
    missing = [o for o in parcel.in_order() if o.sop_instance_uid not in taken]
    with archive.connected(parcel.files(missing)):
        listed = _listed(archive, parcel, missing)
        if listed:
            receipts = [StoreReceipt(uid, _SUCCESS, "listed by the PACS, not sent again") for uid in sorted(listed)]
            deliveries.note_receipts(case.case_id, receipts)
        return _store(archive, deliveries, parcel, [o for o in missing if o.sop_instance_uid not in listed])


def commit_together(
    archive: ImageArchive, parcels: Sequence[Parcel], settings: PacsConfig
) -> dict[str, Commitment | TransientError]:
    """Ask for the commitment of several cases' objects at once.

    Returns
    -------
    dict
        By case id, for `commit_objects`: what the PACS said of this case's objects, or why it says nothing now. A case
        that is not in it is asked for alone: all of them where the PACS refused the common request, or the association
        ended before its answer.
    """
    answers: dict[str, Commitment | TransientError] = {}
    parcels = [parcel for parcel in parcels if parcel.objects]
    if settings.commitment != "auto" or len(parcels) < 2:
        return answers
    for together in _batches(parcels):
        asked = [pair for parcel in together for pair in _pairs(parcel.in_order())]
        try:
            answer = archive.commit(asked, settings.commitment_timeout_s)
        except ConfigError:
            raise
        except (AssociationLost, PermanentError, CaseRejected) as err:
            log.warning("deliver.not_committed_together", objects=len(asked), error=str(err))
        except TransientError as err:
            answers |= {parcel.case.case_id: err for parcel in together}
        else:
            if not answer.not_able:  # else one object among them may be why
                answers |= {parcel.case.case_id: _of(parcel, answer) for parcel in together}
    return answers


def commit_objects(
    archive: ImageArchive,
    deliveries: Deliveries,
    parcel: Parcel,
    settings: PacsConfig,
    asked: Commitment | TransientError | None = None,
) -> DeliveryOutcome:
    """Have objects that the PACS took committed, or read them back.

    `settings.commitment` ``"auto"``: ask, and read back where not offered; ``"off"``: read back. `asked`: what came of
    it where `commit_together` has asked already.

    Raises
    ------
    CaseRejected
        As `store_objects`, where something must be sent once more.
    DeliveryRefused
        The PACS refused an object that it had lost, for good.
    TransientError
        Unreachable, busy, not yet committed, or still missing after one more C-STORE: retry later.
    """
    objects, case_id = parcel.in_order(), parcel.case.case_id
    if not objects:
        return DeliveryOutcome()
    if settings.commitment == "auto":
        try:
            if isinstance(asked, TransientError):
                raise asked
            answer = asked or archive.commit(_pairs(objects), settings.commitment_timeout_s)
        except CommitmentPending:
            listed, _ = _read_back(archive, deliveries, parcel)
            deliveries.note_commitment(case_id, Commitment(offered=True), listed)
            raise
        if answer.offered:
            return DeliveryOutcome(_once_more(archive, deliveries, parcel, answer, settings))
    listed, sent = _read_back(archive, deliveries, parcel)
    deliveries.note_commitment(case_id, Commitment(offered=False), listed)
    absent = [o.sop_instance_uid for o in objects if o.sop_instance_uid not in listed]
    if absent:
        raise TransientError(
            f"the PACS lists {len(listed)} of {len(objects)} objects that it accepted, not {absent[0]}; retried later"
        )
    return DeliveryOutcome(sent, (Flag.NO_STORAGE_COMMITMENT,))


def _once_more(
    archive: ImageArchive, deliveries: Deliveries, parcel: Parcel, answer: Commitment, settings: PacsConfig
) -> int:
    """Note the answer; what is not committed is sent and asked for once more. Returns how many were sent."""
    objects, case_id = parcel.in_order(), parcel.case.case_id
    deliveries.note_commitment(case_id, answer, frozenset())
    lost = _uncommitted(answer, objects)
    if not lost:
        return 0
    # Once more, once: what is not committed we must still have, and may send again (PS3.4, J.3.3).
    log.warning("deliver.not_committed", case_id=case_id, objects=len(lost), reasons=_reasons(answer))
    with archive.connected(parcel.files(lost)):
        sent = _store(archive, deliveries, parcel, lost)
    answer = archive.commit(_pairs(objects), settings.commitment_timeout_s)
    deliveries.note_commitment(case_id, answer, frozenset())
    if lost := _uncommitted(answer, objects):
        raise TransientError(
            f"storage commitment of {len(lost)} of {len(objects)} objects failed twice, "
            f"failure reason {_reasons(answer)}; retried later"
        )
    return sent


def _store(archive: ImageArchive, deliveries: Deliveries, parcel: Parcel, objects: Sequence[ReportObject]) -> int:
    """C-STORE over one association, what was taken noted before the next can fail; returns how many were sent.

    Right before it the PACS is asked whose the study is now: it may have merged two patients since it was read.

    An object that is refused for good (a PACS without parametric maps) does not keep the others from the PACS; the
    refusal is raised after them.
    """
    case_id = parcel.case.case_id
    if objects:
        _check_patient(archive, parcel, objects)
    try:
        sent = archive.store(parcel.files(objects), lambda receipt: deliveries.note_receipts(case_id, [receipt]))
    except DeliveryRefused as err:
        log.error("deliver.refused", case_id=case_id, status=err.status)
        raise
    return len(sent)


def _check_patient(archive: ImageArchive, parcel: Parcel, objects: Sequence[ReportObject]) -> None:
    """Case, objects and the PACS's own index name one patient, or nothing is sent."""
    case = parcel.case
    listed = archive.find_study(case.study_uid)
    if not listed:
        raise mismatch(
            f"the PACS lists no study {case.study_uid} any more: its reports would make it anew; nothing is sent. Ask "
            f"the PACS's administrator what became of the study",
            ["StudyInstanceUID"],
        )
    differs = {keyword for study in listed for keyword in case.patient.differences(study.patient)}
    if differs:
        raise mismatch(
            f"the PACS lists study {case.study_uid} under another {' and '.join(sorted(differs))} than the case; "
            f"nothing is sent. Where two patients were merged: gtr case rekey --case {case.case_id}",
            differs,
        )
    for one, path in zip(objects, parcel.files(objects), strict=True):
        found = read_identity(path)
        expected = case.identity(one.series_uid)
        differs = set() if found is None else set(expected.differences(found))  # unreadable: C-STORE says so
        if differs:
            raise mismatch(
                f"{one.kind} {one.sop_instance_uid} has another {' and '.join(sorted(differs))} than the case; nothing "
                f"is sent. Where two patients were merged: gtr case rekey --case {case.case_id}",
                differs,
            )


def _listed(archive: ImageArchive, parcel: Parcel, objects: Sequence[ReportObject]) -> frozenset[str]:
    """Which of these the PACS lists now."""
    found: set[str] = set()
    for series in dict.fromkeys(o.series_uid for o in objects):
        of_series = [InstanceRecord(o.sop_instance_uid, o.sop_class_uid) for o in objects if o.series_uid == series]
        identity, uids = parcel.case.identity(series, of_series), [one.sop_instance_uid for one in of_series]
        found |= archive.present(parcel.case.study_uid, series, uids, identity)
    return frozenset(found)


def _read_back(archive: ImageArchive, deliveries: Deliveries, parcel: Parcel) -> tuple[frozenset[str], int]:
    """Which of the objects the PACS lists, after one more C-STORE of those it does not; and how many were sent."""
    objects = parcel.in_order()
    with archive.connected(parcel.files(objects)):
        listed = _listed(archive, parcel, objects)
        absent = [o for o in objects if o.sop_instance_uid not in listed]
        if not absent:
            return listed, 0
        log.warning("deliver.not_listed", case_id=parcel.case.case_id, objects=len(absent))
        sent = _store(archive, deliveries, parcel, absent)
        return _listed(archive, parcel, objects), sent


def _pairs(objects: Sequence[ReportObject]) -> list[tuple[str, str]]:
    return [(o.sop_class_uid, o.sop_instance_uid) for o in objects]


def _batches(parcels: Sequence[Parcel]) -> Iterator[list[Parcel]]:
    """The parcels in groups of at most `AT_ONCE` objects, a single one of more alone."""
    group: list[Parcel] = []
    for parcel in parcels:
        if group and sum(len(one.objects) for one in [*group, parcel]) > AT_ONCE:
            yield group
            group = []
        group.append(parcel)
    yield group


def _of(parcel: Parcel, answer: Commitment) -> Commitment:
    """What an answer says of one case's objects."""
    mine = {one.sop_instance_uid for one in parcel.objects}
    failed = tuple((uid, reason) for uid, reason in answer.failed if uid in mine)
    return evolve(answer, committed=answer.committed & mine, failed=failed)


def _uncommitted(answer: Commitment, objects: Sequence[ReportObject]) -> list[ReportObject]:
    return [o for o in objects if o.sop_instance_uid not in answer.committed]


def _reasons(answer: Commitment) -> str:
    return ", ".join(sorted({f"0x{reason:04X}" for _, reason in answer.failed})) or "no reason given"
