"""The socket side of our SCP: who may connect, how many at once, how much and how long, before pynetdicom reads a byte.

pynetdicom reads whatever length a PDU claims, has no time limit inside a PDU, shakes hands (TLS) in the thread that
accepts, and counts connections that never asked for an association among the associations. A stranger could so take the
memory, or the place, of the PACS.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from attrs import frozen
from pynetdicom import AE, evt
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from gtr_batch.config import PacsConfig
from gtr_batch.errors import ConfigError
from gtr_batch.logs import get_logger

log = get_logger("pacs")

HALF_OPEN = 16  # connections without an association at once; one more costs the oldest its place
MAX_REQUEST = 1 << 20  # bytes of an association request; the largest that is lawful for 128 contexts is a tenth of it
MAX_MESSAGE = 1 << 30  # bytes of one C-STORE
_SAY_EVERY_S = 10.0
_NO_LIMIT_PDU = 1 << 24  # bytes of a PDU where pacs.max_pdu is 0, "no limit"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@frozen
class Limits:
    """What one accepted connection may do. Times in seconds.

    `request_s` until its association request is in, `idle_s` of silence (by bytes), `total_s` of life, `max_bytes` in
    all, `max_pdu` in one PDU.
    """

    request_s: float
    idle_s: float
    total_s: float
    max_bytes: int
    max_pdu: int

    @classmethod
    def of(cls, config: PacsConfig) -> Limits:
        """The limits of the settings."""
        return cls(
            request_s=config.acse_timeout_s,
            idle_s=config.network_timeout_s,
            total_s=config.association_limit_s,
            max_bytes=config.max_bytes,
            max_pdu=config.max_pdu or _NO_LIMIT_PDU,
        )


def peer_networks(config: PacsConfig) -> tuple[Network, ...]:
    """The addresses that may connect: ``pacs.peer_addresses`` or, where that is empty, those of ``pacs.host``.

    Raises
    ------
    ConfigError
        An entry that is neither an address, a network nor a name that resolves.
    """
    setting = "pacs.peer_addresses" if config.peer_addresses else "pacs.host"
    found: list[Network] = []
    for entry in config.peer_addresses or (config.host,):
        try:
            found.append(ipaddress.ip_network(entry, strict=False))
            continue
        except ValueError:
            pass
        try:
            answers = socket.getaddrinfo(entry, None, type=socket.SOCK_STREAM)
        except OSError as err:
            raise ConfigError(
                f"{setting}: {entry!r} is no address, no network and no host name that resolves here; it says who may "
                "connect to our port"
            ) from err
        found += [ipaddress.ip_network(str(answer[4][0]).partition("%")[0]) for answer in answers]
    return tuple(found)


class Connection:
    """One accepted connection: counts what comes in; `over` says which limit it passed.

    Parameters
    ----------
    raw : socket.socket
    address : str
        Of the peer.
    """

    def __init__(self, raw: socket.socket, address: str, limits: Limits) -> None:
        self.address = address
        self.raw = raw
        self.associated = False
        self.ended = False
        self._limits = limits
        self._opened = self._last = time.monotonic()
        self._received = self._message = 0
        self._body = False  # the next read is the rest of a PDU, whose length its header claims

    def recv(self, nr_bytes: int) -> bytearray:
        """As ``AssociationSocket.recv``: the bytes, fewer where the connection ended or passed a limit."""
        got = bytearray()
        if self._body:
            allowed = self._limits.max_pdu if self.associated else MAX_REQUEST
            if nr_bytes > allowed:
                self.cut(f"a PDU of {nr_bytes} bytes, {allowed} at most")
                return got
        while len(got) < nr_bytes:
            try:
                part = self.raw.recv(min(1 << 16, nr_bytes - len(got)))
            except OSError:  # reset by the other end, or cut by us
                break
            if not part:
                break
            got += part
            self._last = time.monotonic()
            self._received += len(part)
            self._message += len(part)
            if self._limits.max_bytes and self._received > self._limits.max_bytes:
                self.cut(f"more than {self._limits.max_bytes} bytes (pacs.max_bytes)")
                break
            if self._message > MAX_MESSAGE:
                self.cut(f"more than {MAX_MESSAGE} bytes in one message")
                break
        self._body = not self._body
        return got

    def message_done(self) -> None:
        """A whole message came."""
        self._message = 0

    def over(self, now: float) -> str | None:
        """The time limit that is passed, in words, or None."""
        if not self.associated and now - self._opened > self._limits.request_s:
            return f"no association within {self._limits.request_s:g} s"
        if now - self._last > self._limits.idle_s:
            return f"silent for {self._limits.idle_s:g} s"
        if now - self._opened > self._limits.total_s:
            return f"not done after {self._limits.total_s:g} s"
        return None

    def cut(self, reason: str = "") -> None:
        """Close it for a reason of ours, which is logged once."""
        if reason and not self.ended:
            self.ended = True
            log.warning("pacs.listener.cut", address=self.address, reason=reason)
        with suppress(OSError):
            self.raw.shutdown(socket.SHUT_RDWR)


class _Handler(RequestHandler):
    """Lets pynetdicom read through the connection's counter."""

    server: GuardedServer

    def _create_association(self) -> Any:
        assoc = super()._create_association()
        connection = self.server.connection_of(self.request)
        assoc.dul.socket.recv = connection.recv  # type: ignore[union-attr, method-assign, assignment]
        assoc.bind(evt.EVT_REQUESTED, _on_requested, [connection, self.server])
        assoc.bind(evt.EVT_ESTABLISHED, _on_established, [connection])
        assoc.bind(evt.EVT_DIMSE_RECV, _on_message, [connection])
        assoc.bind(evt.EVT_CONN_CLOSE, _on_closed, [connection, self.server])
        return assoc


def _on_requested(_event: evt.Event, connection: Connection, server: GuardedServer) -> None:
    server.check_room(connection)


def _on_established(_event: evt.Event, connection: Connection) -> None:
    connection.associated = True


def _on_message(_event: evt.Event, connection: Connection) -> None:
    connection.message_done()


def _on_closed(_event: evt.Event, connection: Connection, server: GuardedServer) -> None:
    server.forget(connection)


class GuardedServer(ThreadedAssociationServer):
    """pynetdicom's server behind a list of addresses, limits, and TLS that no silent peer can hold up.

    Parameters
    ----------
    ae : pynetdicom.AE
        With its supported contexts.
    address : (str, int)
    handlers : sequence of tuple
        pynetdicom event handlers.
    config : PacsConfig
    tls : ssl.SSLContext, optional

    Raises
    ------
    ConfigError
        As `peer_networks`.
    OSError
        The port is taken.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        ae: AE,
        address: tuple[str, int],
        handlers: Sequence[tuple[Any, ...]],
        config: PacsConfig,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._limits, self._networks, self._tls = Limits.of(config), peer_networks(config), tls
        self._most = 4 * max(1, config.associations)
        self._connections: list[Connection] = []
        self._logged_at: dict[str, float] = {}
        self._guard = threading.Lock()
        super().__init__(
            ae, address, ae.ae_title, ae.supported_contexts, evt_handlers=list(handlers), request_handler=_Handler
        )

    def serve(self) -> None:
        """Serve in a thread of its own, until `shutdown`."""
        self.ae._servers.append(self)
        threading.Thread(target=self.serve_forever, name="pacs-listener", daemon=True).start()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether the peer's address may connect at all."""
        address = ipaddress.ip_address(str(client_address[0]).partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        if any(address in network for network in self._networks):
            return True
        self._say("pacs.listener.stranger", address=str(address))
        return False

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """TLS, where it is on, then pynetdicom's handler; in the thread of this connection."""
        connection = Connection(request, str(client_address[0]), self._limits)
        self._admit(connection)
        if self._tls is not None:
            try:
                request.settimeout(self._limits.request_s)
                request = self._tls.wrap_socket(request, server_side=True)
                request.settimeout(None)
            except OSError as err:
                self.forget(connection)
                reason = getattr(err, "verify_message", None) or getattr(err, "reason", None) or type(err).__name__
                self._say("pacs.listener.tls_refused", address=connection.address, reason=str(reason))
                self.shutdown_request(request)
                return
            connection.raw = request
        super().process_request_thread(request, client_address)

    def service_actions(self) -> None:
        """Called twice a second: cut what has passed a time limit."""
        super().service_actions()
        now = time.monotonic()
        with self._guard:
            late = [(c, reason) for c in self._connections if (reason := c.over(now)) is not None]
        for connection, reason in late:
            connection.cut(reason)
            self.forget(connection)

    def shutdown(self) -> None:
        """Stop serving, and close what is still open."""
        super().shutdown()
        with self._guard:
            left, self._connections = self._connections, []
        for connection in left:
            with suppress(OSError):
                connection.raw.shutdown(socket.SHUT_RDWR)

    def connection_of(self, request: Any) -> Connection:
        """The connection of an accepted socket."""
        with self._guard:
            for connection in self._connections:
                if connection.raw is request:
                    return connection
        raise ConnectionAbortedError("this connection was cut before its association began")

    def check_room(self, connection: Connection) -> None:
        """Cut a connection that asks for one association too many; the PACS tries again."""
        with self._guard:
            associated = sum(c.associated for c in self._connections)
        if associated >= self._most:
            connection.cut(f"more than {self._most} associations at once")

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        with self._guard, suppress(ValueError):
            self._connections.remove(connection)

    def _admit(self, connection: Connection) -> None:
        with self._guard:
            self._connections.append(connection)
            waiting = [c for c in self._connections if not c.associated]
            oldest = waiting[0] if len(waiting) > HALF_OPEN else None
            if oldest is not None:
                self._connections.remove(oldest)
        if oldest is not None:
            oldest.cut()
            reason = f"more than {HALF_OPEN} connections without an association"
            self._say("pacs.listener.cut", address=oldest.address, reason=reason)

    def _say(self, event: str, **fields: str) -> None:
        """Log a warning, the same one every ten seconds at most: a flood must not fill the disk with lines."""
        now = time.monotonic()
        if now - self._logged_at.get(event, -_SAY_EVERY_S) >= _SAY_EVERY_S:
            self._logged_at[event] = now
            log.warning(event, **fields)
