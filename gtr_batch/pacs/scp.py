"""Our own SCP: takes what the PACS sends us on associations of its own (C-MOVE, storage commitment)."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from gtr_batch.config import PacsConfig
from gtr_batch.domain.identifiers import AETitle
from gtr_batch.errors import ConfigError, TransientError
from gtr_batch.logs import get_logger
from gtr_batch.pacs.arrivals import OUT_OF_RESOURCES, SUCCESS, Arrivals
from gtr_batch.pacs.contexts import STORAGE_CLASSES, accepted_syntaxes
from gtr_batch.pacs.guard import GuardedServer
from gtr_batch.pacs.tls import server_context
from gtr_batch.pacs.watch import count_bytes, cut_socket, hasten

log = get_logger("pacs")

Verdict = Callable[[evt.Event], None]
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - refused here


class Listener:
    """One listening port. Only the PACS may call, from its addresses and by our AE title; others are rejected.

    The PACS calls by ``pacs.called_ae_title``, ``pacs.store_ae_title`` or one of ``pacs.accepted_ae_titles``.

    Instances go to the retrieves that wait for them, commitment reports to the request of their Transaction UID.
    """

    def __init__(self, config: PacsConfig, port: int, ae_title: str) -> None:
        if config.move_host in _EVERYWHERE:
            raise ConfigError(f"pacs.move_host is {config.move_host!r}; name the interface that the PACS reaches us on")
        self._config, self._port, self._tls = config, port, server_context(config)
        self.ae_title = AETitle(ae_title)
        self._retrieves: list[tuple[Arrivals, Callable[[], None]]] = []
        self._commitments: dict[str, Verdict] = {}
        self._unasked: WeakKeyDictionary[Association, int] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._server: GuardedServer | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._running.server_address[1])

    def start(self, wait_s: float) -> None:
        """Bind and serve. A port held by another worker is waited for, `wait_s` at most."""
        config = self._config
        ae = AE(ae_title=str(self.ae_title))
        ae.require_called_aet = True
        ae.require_calling_aet = list(config.pacs_ae_titles)
        ae.maximum_pdu_size = config.max_pdu
        ae.maximum_associations = 1_000_000  # the guard limits them; pynetdicom counts connections without one too
        ae.acse_timeout = config.acse_timeout_s
        ae.dimse_timeout = config.dimse_timeout_s
        ae.network_timeout = config.network_timeout_s
        ae.add_supported_context(Verification)
        ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        for sop_class in STORAGE_CLASSES:
            ae.add_supported_context(sop_class, accepted_syntaxes(sop_class))
        handlers = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_N_EVENT_REPORT, self.on_event_report),
            (evt.EVT_REJECTED, self._on_rejected),
            (evt.EVT_CONN_OPEN, self._on_open),
            (evt.EVT_DATA_RECV, hasten),
        ]
        deadline = time.monotonic() + wait_s
        while True:
            try:
                self._server = GuardedServer(ae, (config.move_host, self._port), handlers, config, self._tls)
                self._server.serve()
                return
            except OSError as err:
                if time.monotonic() > deadline:
                    raise TransientError(
                        f"listening on {config.move_host}:{self._port} for {config.called_ae_title!r}: "
                        f"{err.strerror or err}; another worker of this host may hold the port (one at a time); "
                        "tried again later"
                    ) from err
                time.sleep(0.1)  # the other worker closes it when its retrieve ends; nothing tells us

    def stop(self) -> None:
        """Let running associations end, a second at most, then close the port."""
        server = self._running
        deadline = time.monotonic() + 1.0
        while server.active_associations and time.monotonic() < deadline:
            time.sleep(0.01)
        for assoc in server.active_associations:
            cut_socket(assoc)
        server.shutdown()

    @property
    def _running(self) -> GuardedServer:
        if self._server is None:
            raise RuntimeError("this listener was not started")
        return self._server

    @contextmanager
    def receiving(self, arrivals: Arrivals, touch: Callable[[], None]) -> Iterator[None]:
        """Hand arriving instances to a retrieve while the block runs; `touch` is called for each."""
        entry = (arrivals, touch)
        with self._lock:
            self._retrieves.append(entry)
        try:
            yield
        finally:
            with self._lock:
                self._retrieves.remove(entry)

    @contextmanager
    def awaiting(self, transaction_uid: str, verdict: Verdict) -> Iterator[None]:
        """Hand the commitment report of a transaction to `verdict` while the block runs."""
        with self._lock:
            self._commitments[transaction_uid] = verdict
        try:
            yield
        finally:
            with self._lock:
                del self._commitments[transaction_uid]

    def on_event_report(self, event: evt.Event) -> tuple[int, None]:
        """Handler of ``evt.EVT_N_EVENT_REPORT``; a report for nobody is acknowledged too, or it is sent again."""
        transaction = str(event.event_information.get("TransactionUID", ""))
        with self._lock:
            verdict = self._commitments.get(transaction)
        if verdict is None:
            log.info("pacs.commitment.report_unknown", transaction_uid=transaction)
        else:
            verdict(event)
        return SUCCESS, None

    def _on_open(self, event: evt.Event) -> None:
        hasten(event)
        count_bytes(event, lambda: self._on_bytes(event.assoc))

    def _on_bytes(self, assoc: Association) -> None:
        """Bytes from the PACS: whoever waits for instances knows that it is alive."""
        if assoc.is_established:
            with self._lock:
                waiting = list(self._retrieves)
            for _, touch in waiting:
                touch()

    def _on_store(self, event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID or "")
        with self._lock:
            waiting = list(self._retrieves)
        if not waiting:
            return OUT_OF_RESOURCES
        for arrivals, touch in waiting:
            if uid in arrivals.expected:
                touch()
                return arrivals.take(event)
        # Nobody asked for it: dropped, and no retrieve is kept alive, or ended, by it.
        unasked = self._unasked[event.assoc] = self._unasked.get(event.assoc, 0) + 1
        if unasked > self._config.max_instances:
            log.warning(
                "pacs.listener.cut", address=event.assoc.requestor.address, reason=f"{unasked} unasked instances"
            )
            cut_socket(event.assoc)
            return OUT_OF_RESOURCES
        return SUCCESS

    def _on_rejected(self, event: evt.Event) -> None:
        log.warning(
            "pacs.listener.rejected",
            calling_ae_title=event.assoc.requestor.ae_title,
            called_ae_title=event.assoc.requestor.primitive.called_ae_title,
            address=event.assoc.requestor.address,
            advice="if this is the PACS by another of its names, add the name to pacs.accepted_ae_titles",
        )


class Listeners:
    """The listeners of this process, one a port, shared while somebody needs them and closed after."""

    def __init__(self, config: PacsConfig) -> None:
        self._config = config
        self._open: dict[int, tuple[Listener, int]] = {}
        self._locks: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)  # one a port: waiting takes long

    @contextmanager
    def on(self, port: int, ae_title: str, wait_s: float | None = None) -> Iterator[Listener]:
        """A running listener on `port` (0: any free one).

        Parameters
        ----------
        wait_s : float, optional
            Longest wait for a port that another process holds; default ``pacs.acse_timeout_s``.

        Raises
        ------
        ConfigError
            The same port for two AE titles, or an interface that is all of them.
        TransientError
            The port is taken.
        """
        with self._locks[port]:
            listener, users = self._open.get(port) or (Listener(self._config, port, ae_title), 0)
            if listener.ae_title != AETitle(ae_title):
                raise ConfigError(
                    f"port {port} is wanted for AE {ae_title!r} and AE {str(listener.ae_title)!r}; give "
                    "pacs.move_port and pacs.commitment_port different ports, or one AE title"
                )
            if users == 0:
                listener.start(self._config.acse_timeout_s if wait_s is None else wait_s)
            self._open[port] = (listener, users + 1)
        try:
            yield listener
        finally:
            with self._locks[port]:
                listener, users = self._open.pop(port)
                if users > 1:
                    self._open[port] = (listener, users - 1)
            if users == 1:
                listener.stop()
