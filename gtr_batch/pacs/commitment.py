"""Storage commitment, push model (PS3.4, J): the PACS says that it keeps what we sent.

N-ACTION asks; N-EVENT-REPORT answers, on the same association (some PACS send it before they answer the release) or on
another one to our listener (``pacs.commitment_port``), which the PACS must have configured for our AE title.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack

from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import evt
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StorageCommitmentPushModel as PUSH
from pynetdicom.sop_class import StorageCommitmentPushModelInstance as PUSH_INSTANCE
from pynetdicom.sop_class import Verification

from gtr_batch.domain.delivery import Commitment
from gtr_batch.domain.identifiers import Uid
from gtr_batch.errors import CommitmentPending, DeliveryRefused, PacsBusy
from gtr_batch.logs import get_logger
from gtr_batch.pacs.association import Caller, OpenAssociation
from gtr_batch.pacs.scp import Listeners

log = get_logger("pacs")

HOLD_S = 5.0  # how long the association stays open for its report where a listener waits too
UNMENTIONED = 0x0110  # processing failure: the report names an instance neither as committed nor as failed
NOT_ABLE = (0x0110, 0x0124)  # processing failure, not authorised: it knows commitment, but not for us or not now
NOT_OFFERED = (0x0118, 0x0122, 0x0123, 0x0211)  # no such class, not supported, no such action, unrecognised operation

_NOT_ABLE_ADVICE = (
    "read back by C-FIND instead; allow storage commitment for our AE title in the PACS, "
    "or set pacs.commitment to 'off'"
)


class Report:
    """The report of one transaction, whichever way it comes."""

    def __init__(self, transaction_uid: str) -> None:
        self.transaction_uid = transaction_uid
        self.information: Dataset | None = None
        self._change = threading.Condition()
        self._closed = self._replying = self._replied = False

    @property
    def handlers(self) -> list[tuple[object, ...]]:
        """Handlers for our own association."""
        return [
            (evt.EVT_N_EVENT_REPORT, self._on_report),
            (evt.EVT_DIMSE_SENT, self._on_reply),
            (evt.EVT_PDU_SENT, self._on_sent),
            (evt.EVT_RELEASED, self._on_closed),
            (evt.EVT_ABORTED, self._on_closed),
        ]

    def take(self, event: evt.Event) -> None:
        """Take a report that is known to be ours."""
        with self._change:
            self.information = event.event_information
            self._change.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the report; whether it is there."""
        with self._change:
            return self._change.wait_for(lambda: self.information is not None, timeout_s)

    def wait_on_association(self, timeout_s: float) -> None:
        """Wait for the report, for its reply to leave us, or for the association's end."""
        with self._change:
            self._change.wait_for(lambda: self.information is not None or self._closed, timeout_s)
            if self._replying:
                self._change.wait_for(lambda: self._replied or self._closed, 2.0)

    def _on_report(self, event: evt.Event) -> tuple[int, None]:
        transaction = str(event.event_information.get("TransactionUID", ""))
        if transaction == self.transaction_uid:
            with self._change:
                self._replying = True  # a release now would overtake our own reply
            self.take(event)
        else:
            log.info("pacs.commitment.report_unknown", transaction_uid=transaction)
        return 0x0000, None

    def _on_reply(self, event: evt.Event) -> None:
        if type(event.message).__name__ == "N_EVENT_REPORT_RSP":
            with self._change:
                self._replying = True

    def _on_sent(self, event: evt.Event) -> None:
        if isinstance(event.pdu, P_DATA_TF):
            with self._change:
                self._replied = self._replying
                self._change.notify_all()

    def _on_closed(self, event: evt.Event) -> None:
        with self._change:
            self._closed = True
            self._change.notify_all()


def commit(caller: Caller, listeners: Listeners, objects: Sequence[tuple[str, str]], timeout_s: float) -> Commitment:
    """Ask the PACS to commit instances and wait for its report.

    Parameters
    ----------
    objects : sequence of (str, str)
        SOP Class UID, SOP Instance UID.
    timeout_s : float
        Longest wait for the report, in seconds.

    Returns
    -------
    Commitment
        ``offered`` False where the PACS has no storage commitment for us, cannot or may not do it (status 0x0110,
        0x0124), or `pacs.commitment` is "off".

    Raises
    ------
    CommitmentPending
        No report in time: the PACS took the request, and may still commit.
    PacsBusy, DeliveryRefused
        The PACS refused the request, for now or for good.
    """
    config = caller.config
    if config.commitment == "off" or not objects:
        return Commitment(offered=config.commitment != "off")
    transaction = str(generate_uid())  # new for each request: a late report of an earlier one is never taken for this
    report = Report(transaction)
    with ExitStack() as stack:
        if config.commitment_port:
            # Another delivery on this host may hold the port as long as it waits for its own report: nothing is asked
            # before we can hear the answer, and the other one gets its turn between two of our cases.
            wait_s = timeout_s + config.acse_timeout_s
            listener = stack.enter_context(listeners.on(config.commitment_port, config.calling_ae_title, wait_s))
            stack.enter_context(listener.awaiting(transaction, report.take))
        deadline = time.monotonic() + timeout_s
        contexts = [
            build_context(Verification),
            build_context(PUSH),
        ]  # C-ECHO keeps the association where PUSH is refused
        idle_s = max(timeout_s, config.dimse_timeout_s) + 1
        with caller.associate(contexts, handlers=report.handlers, idle_s=idle_s) as line:
            refused = _request(line, transaction, objects) if line.accepted(PUSH) else Commitment(offered=False)
            if refused is not None:
                return refused
            hold_s = min(HOLD_S, timeout_s) if config.commitment_port else timeout_s
            report.wait_on_association(hold_s)
        if config.commitment_port:
            report.wait(max(0.0, deadline - time.monotonic()))
    if report.information is None:
        raise CommitmentPending(
            f"storage commitment of {len(objects)} instances (transaction {transaction}) by {caller.peer}: no report "
            f"within {timeout_s:g} s{_advice(config.commitment_port)}; asked again later"
        )
    return _verdict(report.information, transaction, [uid for _, uid in objects])


def _request(line: OpenAssociation, transaction: str, objects: Sequence[tuple[str, str]]) -> Commitment | None:
    """Send the N-ACTION; an answer already where the PACS says that it does not do this, or not for us."""
    ds = Dataset()
    ds.TransactionUID = transaction
    ds.ReferencedSOPSequence = []
    for sop_class, sop_instance in objects:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = Uid(sop_class), Uid(sop_instance)
        ds.ReferencedSOPSequence.append(item)
    tried = f"storage commitment request (transaction {transaction})"
    answer, _ = line.assoc.send_n_action(ds, 1, PUSH, PUSH_INSTANCE)
    status = line.status(answer, tried)
    if status in NOT_OFFERED:
        return Commitment(offered=False)
    if status in NOT_ABLE:
        log.warning("pacs.commitment.not_able", peer=line.peer, status=f"0x{status:04X}", advice=_NOT_ABLE_ADVICE)
        return Commitment(offered=False, not_able=True)
    if status == 0x0213 or status & 0xFF00 == 0xA700:
        raise PacsBusy(f"{tried} to {line.peer}: status 0x{status:04X} (out of resources); asked again later")
    if status != 0x0000 and status & 0xF000 != 0xB000:
        raise DeliveryRefused(f"{tried} to {line.peer} refused: status 0x{status:04X}; not retried", status)
    return None


def _verdict(information: Dataset, transaction: str, asked: Sequence[str]) -> Commitment:
    """What was committed, by UID; the event type alone is not believed."""
    committed = {str(item.get("ReferencedSOPInstanceUID")) for item in information.get("ReferencedSOPSequence") or []}
    failed = {
        str(item.get("ReferencedSOPInstanceUID")): int(item.get("FailureReason") or UNMENTIONED)
        for item in information.get("FailedSOPSequence") or []
    }
    kept = frozenset(uid for uid in asked if uid in committed and uid not in failed)
    lost = tuple((uid, failed.get(uid, UNMENTIONED)) for uid in asked if uid not in kept)
    return Commitment(offered=True, committed=kept, failed=lost, transaction_uid=transaction)


def _advice(port: int) -> str:
    if port:
        return (
            f"; does the PACS know our host and port {port} for our AE title, and does it call by pacs.called_ae_title "
            "or one of pacs.accepted_ae_titles?"
        )
    return " on this association; a PACS that reports on another one needs pacs.commitment_port"
