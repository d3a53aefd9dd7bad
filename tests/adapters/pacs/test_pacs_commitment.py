"""Storage commitment, both ways of its report."""

from __future__ import annotations

import threading

import pytest
from pydicom import Dataset, dcmread
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from gtr_batch.errors import CommitmentPending, DeliveryRefused, PacsBusy
from gtr_batch.pacs.scp import Listeners
from tests.adapters.pacs.peers import HostilePacs, a_free_port, orthanc, qrscp

CT = "1.2.840.10008.5.1.4.1.1.2"
OBJECTS = [(CT, "1.2.3.1"), (CT, "1.2.3.2")]


def report(request: Dataset, failed: dict[str, int] | None = None, transaction: str | None = None) -> Dataset:
    failed = failed or {}
    ds = Dataset()
    ds.TransactionUID = transaction or request.TransactionUID
    ds.ReferencedSOPSequence, ds.FailedSOPSequence = [], []
    for item in request.ReferencedSOPSequence:
        answer = Dataset()
        answer.ReferencedSOPClassUID, answer.ReferencedSOPInstanceUID = (
            item.ReferencedSOPClassUID,
            item.ReferencedSOPInstanceUID,
        )
        if item.ReferencedSOPInstanceUID in failed:
            answer.FailureReason = failed[item.ReferencedSOPInstanceUID]
            ds.FailedSOPSequence.append(answer)
        else:
            ds.ReferencedSOPSequence.append(answer)
    return ds


def same_association(peer: HostilePacs, replies: list[int], **bend) -> None:
    """Let a peer report on the association of the request, after its answer."""

    def on_action(event: evt.Event):
        ds = report(event.action_information, **bend)

        def send():
            status, _ = event.assoc.send_n_event_report(
                ds, 2 if bend else 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
            replies.append(status.get("Status"))

        thread = threading.Timer(0.1, send)
        peer.threads.append(thread)
        thread.start()
        return 0x0000, None

    peer.on_action = on_action


def other_association(peer: HostilePacs, port: int, replies: list[int], role: bool = True, **bend) -> None:
    """Let a peer report on an association of its own."""

    def on_action(event: evt.Event):
        ds = report(event.action_information, **bend)

        def send():
            ae = AE(peer.ae_title)
            ae.add_requested_context(StorageCommitmentPushModel)
            roles = [build_role(StorageCommitmentPushModel, scp_role=True)] if role else []
            assoc = ae.associate("127.0.0.1", port, ae_title="GTRBATCH", ext_neg=roles)
            status, _ = assoc.send_n_event_report(ds, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
            replies.append(status.get("Status"))
            assoc.release()

        thread = threading.Thread(target=send)
        peer.threads.append(thread)
        thread.start()
        return 0x0000, None

    peer.on_action = on_action


def test_a_report_on_the_same_association_commits(pacs_at):
    peer, replies = HostilePacs(), []
    same_association(peer, replies)
    with peer.running():
        answer = pacs_at(peer).commit(OBJECTS, 10)

    assert answer.offered
    assert (answer.committed, answer.failed) == (frozenset({"1.2.3.1", "1.2.3.2"}), ())
    assert replies == [0x0000]


@pytest.mark.parametrize("role", [True, False])
def test_a_report_on_another_association_commits(pacs_at, role):
    peer, port, replies = HostilePacs(), a_free_port(), []
    other_association(peer, port, replies, role)
    with peer.running():
        answer = pacs_at(peer, commitment_port=port).commit(OBJECTS, 10)

    assert answer.committed == frozenset({"1.2.3.1", "1.2.3.2"})
    assert replies == [0x0000]


def test_failed_instances_come_with_their_reason(pacs_at):
    peer = HostilePacs()
    same_association(peer, [], failed={"1.2.3.2": 0x0112})
    with peer.running():
        answer = pacs_at(peer).commit(OBJECTS, 10)

    assert (answer.committed, answer.failed) == (frozenset({"1.2.3.1"}), (("1.2.3.2", 0x0112),))


def test_an_instance_that_the_report_does_not_mention_is_not_committed(pacs_at):
    peer = HostilePacs()

    def on_action(event: evt.Event):
        del event.action_information.ReferencedSOPSequence[1]
        return original(event)

    same_association(peer, [])
    original = peer.on_action
    peer.on_action = on_action
    with peer.running():
        answer = pacs_at(peer).commit(OBJECTS, 10)

    assert (answer.committed, answer.failed) == (frozenset({"1.2.3.1"}), (("1.2.3.2", 0x0110),))


def test_a_report_of_another_transaction_is_not_ours(pacs_at):
    peer, port, replies = HostilePacs(), a_free_port(), []
    other_association(peer, port, replies, transaction="1.2.3.999")
    with peer.running(), pytest.raises(CommitmentPending):
        pacs_at(peer, commitment_port=port).commit(OBJECTS, 0.7)

    assert replies == [0x0000]


def test_no_report_in_time_is_pending_and_says_what_may_be_missing(pacs_at):
    with HostilePacs().running() as peer, pytest.raises(CommitmentPending, match="commitment_port"):
        pacs_at(peer).commit(OBJECTS, 0.3)


def test_every_request_has_a_transaction_of_its_own(pacs_at):
    peer, seen = HostilePacs(), []
    peer.on_action = lambda event: (seen.append(event.action_information.TransactionUID), (0x0000, None))[1]
    with peer.running():
        for _ in range(2):
            with pytest.raises(CommitmentPending):
                pacs_at(peer).commit(OBJECTS, 0.1)

    assert len(set(seen)) == 2


def test_a_pacs_without_commitment_offers_none(pacs_at):
    peer = HostilePacs()
    peer.commitment = False
    with peer.running():
        assert pacs_at(peer).commit(OBJECTS, 5).offered is False


@pytest.mark.parametrize("status", [0x0122, 0x0211, 0x0123])
def test_a_pacs_that_does_not_know_the_action_offers_none(pacs_at, status):
    peer = HostilePacs()
    peer.on_action = lambda event: (status, None)
    with peer.running():
        assert pacs_at(peer).commit(OBJECTS, 5).offered is False


@pytest.mark.parametrize(("status", "error"), [(0x0213, PacsBusy), (0x0110, DeliveryRefused)])
def test_a_refused_request_is_an_error(pacs_at, status, error):
    peer = HostilePacs()
    peer.on_action = lambda event: (status, None)
    with peer.running(), pytest.raises(error):
        pacs_at(peer).commit(OBJECTS, 5)


def test_commitment_turned_off_asks_nobody(pacs_at):
    assert pacs_at(1, commitment="off").commit(OBJECTS, 5).offered is False


def test_orthanc_commits_what_it_holds_and_names_what_it_does_not(pacs_at, need_program, series_folder, tmp_path):
    port, our_port = a_free_port(), a_free_port()
    files = sorted(series_folder.glob("*.dcm"))[:2]
    held = [(CT, str(dcmread(p).SOPInstanceUID)) for p in files]
    with orthanc(need_program("Orthanc", "orthanc"), tmp_path / "orthanc", port, our_port=our_port):
        pacs = pacs_at(port, called_ae_title="ORTHANC", commitment_port=our_port)
        pacs.store(files)
        first = pacs.commit(held, 20)
        second = pacs.commit([*held, (CT, "1.2.3.4")], 20)
        ds = dcmread(files[0])
        listed = pacs.present(ds.StudyInstanceUID, ds.SeriesInstanceUID, [held[0][1], "1.2.3.4"])

    assert (first.committed, first.failed) == ({uid for _, uid in held}, ())
    assert second.committed == {uid for _, uid in held}
    assert second.failed == (("1.2.3.4", 0x0112),)
    assert listed == {held[0][1]}


def test_qrscp_offers_no_commitment_and_is_read_back(pacs_at, series_folder, tmp_path, free_port):
    files = sorted(series_folder.glob("*.dcm"))[:1]
    ds = dcmread(files[0])
    with qrscp(tmp_path / "qrscp", free_port):
        pacs = pacs_at(free_port)
        pacs.store(files)
        answer = pacs.commit([(CT, str(ds.SOPInstanceUID))], 5)
        listed = pacs.present(ds.StudyInstanceUID, ds.SeriesInstanceUID, [ds.SOPInstanceUID, "1.2.3"])

    assert answer.offered is False
    assert listed == {ds.SOPInstanceUID}


def test_a_delivery_waits_for_the_port_that_another_worker_of_the_host_holds(pacs_at):
    """The other one waits for its own report, which may take longer than any association."""
    peer, port, held, done = HostilePacs(), a_free_port(), threading.Event(), threading.Event()
    other_association(peer, port, [])

    def hold(config):
        with Listeners(config).on(port, config.calling_ae_title):
            held.set()
            done.wait(20)

    with peer.running():
        pacs = pacs_at(peer, commitment_port=port)
        worker = threading.Thread(target=hold, args=(pacs.config,), daemon=True)
        worker.start()
        held.wait(20)
        threading.Timer(pacs.config.acse_timeout_s + 1, done.set).start()
        answer = pacs.commit(OBJECTS, 20)
        worker.join(20)

    assert answer.committed == {uid for _, uid in OBJECTS}


def test_two_deliveries_on_one_host_do_not_take_the_port_or_the_reports_from_one_another(pacs_at):
    peer, port, replies, answers = HostilePacs(), a_free_port(), [], []
    other_association(peer, port, replies)

    def deliver():
        pacs = pacs_at(peer, commitment_port=port)  # a worker: listeners of its own
        answers.extend(pacs.commit(OBJECTS, 20).committed for _ in range(3))

    with peer.running():
        workers = [threading.Thread(target=deliver) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)

    assert answers == [{uid for _, uid in OBJECTS}] * 6
    assert replies == [0x0000] * 6
