"""Storage commitment, both ways of its report."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from io import BytesIO

import pytest
import structlog
from pydicom import Dataset, dcmread
from pydicom.uid import UID
from pynetdicom import AE, build_role, evt
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.pdu import P_DATA_TF
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


def other_association(
    peer: HostilePacs, port: int, replies: list[object], role: bool = True, ae_title: str = "", **bend
) -> None:
    """Let a peer report on an association of its own, by another AE title of its own where one is given."""

    def on_action(event: evt.Event):
        ds = report(event.action_information, **bend)

        def send():
            ae = AE(ae_title or peer.ae_title)
            ae.add_requested_context(StorageCommitmentPushModel)
            roles = [build_role(StorageCommitmentPushModel, scp_role=True)] if role else []
            assoc = ae.associate("127.0.0.1", port, ae_title="GTRBATCH", ext_neg=roles)
            if assoc.is_rejected:
                replies.append("rejected")
                return
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


def send_only(event: evt.Event, ds: Dataset) -> None:
    """Send a report without waiting for its reply, which pynetdicom's own call would do."""
    context = event.context
    request = N_EVENT_REPORT()
    request.MessageID, request.EventTypeID = 7, 1
    request.AffectedSOPClassUID = StorageCommitmentPushModel
    request.AffectedSOPInstanceUID = StorageCommitmentPushModelInstance
    syntax = UID(context.transfer_syntax)
    request.EventInformation = BytesIO(encode(ds, syntax.is_implicit_VR, syntax.is_little_endian) or b"")
    event.assoc.dimse.send_msg(request, context.context_id)


def before_the_answer(event: evt.Event) -> tuple[int, None]:
    """A peer that reports before it answers the request."""
    send_only(event, report(event.action_information))
    return 0x0000, None


def at_once_after_the_answer(event: evt.Event) -> tuple[int, None]:
    """A peer that reports as soon as its answer has left."""
    waiting = [report(event.action_information)]

    def on_sent(sent: evt.Event) -> None:
        if isinstance(sent.pdu, P_DATA_TF) and waiting:
            send_only(event, waiting.pop())

    event.assoc.bind(evt.EVT_PDU_SENT, on_sent)
    return 0x0000, None


@pytest.mark.parametrize("on_action", [before_the_answer, at_once_after_the_answer])
def test_a_report_that_comes_with_the_answer_never_hangs(pacs_at, on_action):
    peer, answers = HostilePacs(), []
    peer.on_action = on_action

    def commit_often() -> None:
        for _ in range(20):
            answers.append(pacs_at(peer).commit(OBJECTS, 10))

    with peer.running():
        caller = threading.Thread(target=commit_often, daemon=True)
        caller.start()
        caller.join(120)

    assert [a.committed for a in answers] == [frozenset({"1.2.3.1", "1.2.3.2"})] * 20


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


@pytest.mark.parametrize("status", [0x0110, 0x0124])
def test_a_pacs_that_cannot_commit_for_us_offers_none_and_the_log_says_what_to_do(pacs_at, status):
    peer = HostilePacs()
    peer.on_action = lambda event: (status, None)
    with peer.running(), structlog.testing.capture_logs() as log:
        answer = pacs_at(peer).commit(OBJECTS, 5)

    assert answer.offered is False
    [entry] = [e for e in log if e["event"] == "pacs.commitment.not_able"]
    assert entry["status"] == f"0x{status:04X}"
    assert "pacs.commitment" in entry["advice"]


@pytest.mark.parametrize(("accepted", "committed"), [((), False), (("PACS_REPORTS",), True)])
def test_a_report_under_another_ae_title_is_taken_where_the_setting_names_it(pacs_at, accepted, committed):
    peer, port, replies = HostilePacs(), a_free_port(), []
    other_association(peer, port, replies, ae_title="PACS_REPORTS")
    with peer.running(), nullcontext() if committed else pytest.raises(CommitmentPending, match="accepted_ae_titles"):
        answer = pacs_at(peer, commitment_port=port, accepted_ae_titles=accepted).commit(
            OBJECTS, 10 if committed else 1
        )
        assert answer.committed == frozenset({"1.2.3.1", "1.2.3.2"})

    assert replies == ([0x0000] if committed else ["rejected"])


@pytest.mark.parametrize(("status", "error"), [(0x0213, PacsBusy), (0x0115, DeliveryRefused)])
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
