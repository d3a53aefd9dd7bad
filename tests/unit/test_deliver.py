"""Delivery against an archive of our own, whose faults a test sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from gtr_batch.config import PacsConfig
from gtr_batch.deliver import DeliveryOutcome, Parcel, commit_objects, deliver_case, store_objects
from gtr_batch.domain.case import Case
from gtr_batch.domain.delivery import ANSWER_KINDS, Commitment, ObjectKind, ReportObject, StoreReceipt
from gtr_batch.domain.series import StudyRecord
from gtr_batch.domain.staging import Flag
from gtr_batch.errors import AssociationLost, CaseRejected, CommitmentPending, DeliveryRefused, TransientError
from gtr_batch.night.memory import MemoryDeliveries
from tests.phantoms import ct_dataset

CASE = Case("case", date(2026, 3, 1), "2.25.10", "2.25.11", "PHANTOM-1", issuer_of_patient_id="A")
OBJECTS = [
    ReportObject(kind, f"1.2.840.{i}", f"2.25.{100 + i}", f"2.25.{200 + i}", f"{kind}.dcm", "digest")
    for i, kind in enumerate(ANSWER_KINDS, start=1)
]
UIDS = frozenset(o.sop_instance_uid for o in OBJECTS)


class Archive:
    """An archive in memory: `held` is what it lists; `sent` the order in which it was given objects."""

    def __init__(self, *, offers_commitment: bool = True) -> None:
        self.held: set[str] = set()
        self.sent: list[str] = []
        self.asked = 0
        self.refuses: dict[str, int] = {}
        self.loses: list[str] = []  # accepted, and not there afterwards; each entry once
        self.breaks_before: str | None = None
        self.offers_commitment = offers_commitment
        self.studies = [StudyRecord(CASE.study_uid, "PHANTOM-1")]
        self.on_commit: Callable[[frozenset[str]], Commitment] | None = None

    @contextmanager
    def connected(self, to_store: Sequence[Path] = ()) -> Iterator[None]:
        yield

    def find_study(self, study_uid: str) -> list[StudyRecord]:
        assert study_uid == CASE.study_uid
        return self.studies

    def store(self, files: Sequence[Path], note: Callable[[StoreReceipt], None]) -> list[StoreReceipt]:
        receipts, refused = [], None
        for file in files:
            uid = next(o.sop_instance_uid for o in OBJECTS if o.file == file.name)
            if uid == self.breaks_before:
                self.breaks_before = None
                raise AssociationLost("C-STORE cut")
            if uid in self.refuses:
                status = self.refuses[uid]
                refused = refused or DeliveryRefused(f"C-STORE of {uid} refused: status 0x{status:04X}", status)
                continue
            self.sent.append(uid)
            if uid in self.loses:
                self.loses.remove(uid)
            else:
                self.held.add(uid)
            receipts.append(StoreReceipt(uid, 0x0000))
            note(receipts[-1])
        if refused is not None:
            raise refused
        return receipts

    def present(self, study_uid: str, series_uid: str, sop_uids: Sequence[str], identity=None) -> frozenset[str]:
        assert study_uid == CASE.study_uid
        mine = {o.sop_instance_uid for o in OBJECTS if o.series_uid == series_uid}
        return frozenset(self.held & mine & set(sop_uids))

    def commit(self, objects: Sequence[tuple[str, str]], timeout_s: float) -> Commitment:
        self.asked += 1
        asked = frozenset(uid for _, uid in objects)
        if not self.offers_commitment:
            return Commitment(offered=False)
        if self.on_commit is not None:
            return self.on_commit(asked)
        failed = tuple((uid, 0x0112) for uid in sorted(asked - self.held))
        return Commitment(offered=True, committed=asked & self.held, failed=failed, transaction_uid="2.25.9")


class Notes(MemoryDeliveries):
    """What the PACS said, and in which order; `complete` counts how often it had taken every object."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[tuple[Commitment, frozenset[str]]] = []
        self.complete = 0

    def note_commitment(self, case_id: str, commitment: Commitment, read_back: frozenset[str]) -> None:
        super().note_commitment(case_id, commitment, read_back)
        self.answers.append((commitment, read_back))

    @property
    def taken(self) -> frozenset[str]:
        return self.stored(CASE.case_id)


def deliver(archive: Archive, notes: Notes, commitment: str = "auto") -> DeliveryOutcome:
    """As the night does: stored first, which is a state of its own, then committed."""
    parcel = Parcel(CASE, OBJECTS, Path("report"))
    sent = store_objects(archive, notes, parcel)
    notes.complete += 1
    outcome = commit_objects(archive, notes, parcel, PacsConfig(commitment=commitment, commitment_timeout_s=1.0))
    return DeliveryOutcome(sent + outcome.sent, outcome.flags)


def test_sends_every_object_and_has_it_committed():
    archive, notes = Archive(), Notes()

    outcome = deliver(archive, notes)

    assert outcome == DeliveryOutcome(sent=len(OBJECTS))
    assert notes.taken == UIDS
    assert notes.answers[-1][0].committed == UIDS
    assert notes.complete == 1


def test_images_are_stored_before_the_documents_that_point_at_them():
    archive = Archive()

    deliver(archive, Notes())

    kinds = [next(o.kind for o in OBJECTS if o.sop_instance_uid == uid) for uid in archive.sent]
    assert kinds.index(ObjectKind.SECONDARY_CAPTURE) < kinds.index(ObjectKind.KEY_OBJECTS)
    assert kinds[-1] is ObjectKind.STRUCTURED_REPORT


def test_a_second_run_sends_nothing_new():
    archive, notes = Archive(), Notes()
    deliver(archive, notes)

    again = deliver(archive, notes)

    assert again.sent == 0
    assert notes.answers[-1][0].committed == UIDS
    assert len(archive.sent) == len(OBJECTS)


def test_what_the_pacs_lists_is_not_sent_again_although_no_receipt_was_noted():
    archive, notes = Archive(), Notes()
    archive.held = {OBJECTS[0].sop_instance_uid, OBJECTS[1].sop_instance_uid}

    outcome = deliver(archive, notes)

    assert outcome.sent == len(OBJECTS) - 2
    assert archive.held == UIDS
    assert notes.taken == UIDS


def test_a_cut_between_two_objects_resumes_with_the_second():
    archive, notes = Archive(), Notes()
    archive.breaks_before = OBJECTS[0].sop_instance_uid  # the report, which is sent last

    with pytest.raises(AssociationLost):
        deliver(archive, notes)
    assert notes.taken == UIDS - {OBJECTS[0].sop_instance_uid}
    assert notes.complete == 0
    again = deliver(archive, notes)

    assert again.sent == 1
    assert sorted(archive.sent) == sorted(UIDS)


def test_a_pacs_without_storage_commitment_is_read_back_and_the_case_says_so():
    archive, notes = Archive(offers_commitment=False), Notes()

    outcome = deliver(archive, notes)

    assert outcome == DeliveryOutcome(sent=len(OBJECTS), flags=(Flag.NO_STORAGE_COMMITMENT,))
    assert notes.answers == [(Commitment(offered=False), UIDS)]


def test_commitment_that_is_switched_off_is_never_asked_for():
    archive, notes = Archive(), Notes()

    outcome = deliver(archive, notes, commitment="off")

    assert archive.asked == 0
    assert outcome.flags == (Flag.NO_STORAGE_COMMITMENT,)
    assert notes.answers[-1][1] == UIDS


def test_what_the_pacs_accepted_but_does_not_list_is_sent_once_more():
    archive, notes = Archive(offers_commitment=False), Notes()
    lost = OBJECTS[2].sop_instance_uid
    archive.loses = [lost]

    outcome = deliver(archive, notes)

    assert outcome.sent == len(OBJECTS) + 1
    assert notes.answers[-1][1] == UIDS
    assert archive.sent.count(lost) == 2


def test_what_is_still_not_listed_is_retried_later():
    archive, notes = Archive(offers_commitment=False), Notes()
    lost = OBJECTS[2].sop_instance_uid
    archive.loses = [lost, lost]

    with pytest.raises(TransientError, match=lost):
        deliver(archive, notes)

    assert notes.answers[-1][1] == UIDS - {lost}


def test_an_object_that_was_not_committed_is_sent_once_more():
    archive, notes = Archive(), Notes()
    lost = OBJECTS[1].sop_instance_uid
    archive.loses = [lost]

    outcome = deliver(archive, notes)

    assert outcome == DeliveryOutcome(sent=len(OBJECTS) + 1)
    assert [c.failed for c, _ in notes.answers] == [((lost, 0x0112),), ()]


def test_a_commitment_that_fails_twice_is_retried_later():
    archive, notes = Archive(), Notes()
    lost = OBJECTS[1].sop_instance_uid
    archive.loses = [lost, lost]

    with pytest.raises(TransientError, match="0x0112"):
        deliver(archive, notes)

    assert archive.sent.count(lost) == 2


def test_an_object_that_the_answer_does_not_mention_is_not_committed():
    archive, notes = Archive(), Notes()
    archive.on_commit = lambda asked: Commitment(offered=True, committed=asked - {OBJECTS[0].sop_instance_uid})

    with pytest.raises(TransientError, match=f"1 of {len(OBJECTS)}"):
        deliver(archive, notes)


def test_a_commitment_that_does_not_come_in_time_leaves_the_case_stored_and_is_asked_for_again():
    archive, notes = Archive(), Notes()

    def silent(asked: frozenset[str]) -> Commitment:
        raise CommitmentPending("no N-EVENT-REPORT in 1 s")

    archive.on_commit = silent
    with pytest.raises(CommitmentPending):
        deliver(archive, notes)
    assert notes.complete == 1
    assert notes.answers == [(Commitment(offered=True), UIDS)]
    archive.on_commit = None
    again = deliver(archive, notes)

    assert again == DeliveryOutcome(sent=0)


def test_a_refused_object_goes_to_the_dead_letters_with_its_status_and_the_others_to_the_pacs():
    archive, notes = Archive(), Notes()
    refused = next(o for o in OBJECTS if o.kind is ObjectKind.PARAMETRIC_MAP)
    archive.refuses = {refused.sop_instance_uid: 0x0122}

    with pytest.raises(DeliveryRefused) as caught:
        deliver(archive, notes)

    assert caught.value.status == 0x0122
    assert archive.held == UIDS - {refused.sop_instance_uid}
    assert notes.complete == 0


def test_a_case_without_objects_has_nothing_to_deliver():
    archive, notes = Archive(), Notes()

    outcome = deliver_case(archive, notes, Parcel(CASE, [], Path("report")), PacsConfig())

    assert outcome == DeliveryOutcome()
    assert archive.asked == 0


def test_stored_and_committed_in_one_call_is_the_same():
    archive, notes = Archive(), Notes()

    outcome = deliver_case(archive, notes, Parcel(CASE, OBJECTS, Path("report")), PacsConfig())

    assert (outcome, notes.taken) == (DeliveryOutcome(sent=len(OBJECTS)), UIDS)
    assert notes.answers[-1][0].committed == UIDS


@pytest.mark.parametrize(
    "studies",
    [
        [],
        [StudyRecord(CASE.study_uid, "PHANTOM-2")],
        [StudyRecord(CASE.study_uid, "")],
        [StudyRecord(CASE.study_uid, "phantom-1")],
        [StudyRecord(CASE.study_uid, "PHANTOM-1", issuer_of_patient_id="B")],
        [StudyRecord(CASE.study_uid, "PHANTOM-1"), StudyRecord(CASE.study_uid, "PHANTOM-2")],
    ],
    ids=["not listed", "merged", "empty", "case", "issuer", "two patients"],
)
def test_nothing_is_sent_where_the_pacs_lists_the_study_under_another_patient(studies):
    archive = Archive()
    archive.studies = studies

    with pytest.raises(CaseRejected) as stopped:
        deliver(archive, Notes())

    assert stopped.value.code == "identity_mismatch"
    assert archive.sent == []
    assert "PHANTOM" not in str(stopped.value)


@pytest.mark.parametrize(
    "study",
    [
        StudyRecord(CASE.study_uid, " PHANTOM-1 "),
        StudyRecord(CASE.study_uid, "PHANTOM-1", issuer_of_patient_id="A "),
    ],
    ids=["blanks", "the same issuer"],
)
def test_the_same_patient_written_otherwise_is_delivered(study):
    archive = Archive()
    archive.studies = [study]

    assert deliver(archive, Notes()).sent == len(OBJECTS)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("PatientID", "PHANTOM-2"), ("PatientID", ""), ("StudyInstanceUID", "1.2"), ("SeriesInstanceUID", "1.2")],
)
def test_an_object_of_another_patient_study_or_series_is_not_sent(tmp_path, keyword, value):
    for one in OBJECTS:
        ds = ct_dataset(0, np.zeros((2, 2)), study=CASE.study_uid)
        ds.SeriesInstanceUID = one.series_uid
        if one is OBJECTS[-1]:
            setattr(ds, keyword, value)
        ds.save_as(tmp_path / one.file, enforce_file_format=True)
    archive = Archive()

    with pytest.raises(CaseRejected, match=keyword):
        store_objects(archive, Notes(), Parcel(CASE, OBJECTS, tmp_path))

    assert archive.sent == []


def test_what_is_sent_once_more_is_asked_for_once_more():
    """Merged between C-STORE and commitment: what the PACS lost is not sent under the number of before."""
    archive, notes = Archive(), Notes()
    archive.loses = [OBJECTS[1].sop_instance_uid]
    commit = archive.commit

    def merged(objects: Sequence[tuple[str, str]], timeout_s: float) -> Commitment:
        archive.studies = [StudyRecord(CASE.study_uid, "PHANTOM-2")]
        return commit(objects, timeout_s)

    archive.commit = merged

    with pytest.raises(CaseRejected, match="PatientID"):
        deliver(archive, notes)

    assert len(archive.sent) == len(OBJECTS)
