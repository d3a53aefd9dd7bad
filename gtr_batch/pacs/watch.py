"""Watching an association, and ending it when a limit is passed."""

from __future__ import annotations

import fcntl
import socket
import termios
import threading
import time
from array import array
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association

from gtr_batch.errors import AssociationLost, GtrError, PermanentError
from gtr_batch.pacs.reactor import acknowledge_at_once, wait_for_events

_PIECE = 16384  # bytes that are written at once; each piece shows that the peer is alive
_READ = 262_144  # most bytes that are read at once
P_DATA = b"\x04"  # type of the PDU that carries messages (PS3.8, 9.3.5)


class Watch:
    """Watches one association: cuts it after a silence, a total time or a number of bytes.

    Silence is judged by bytes, in either direction, and not by whole PDUs: a large PDU on a slow line takes its time.
    pynetdicom has no time limit for the rest of a PDU that began; a stalled peer would hang the night. Cutting the
    socket wakes all its threads. Where several calls share the association, each is watched from its own beginning.

    Parameters
    ----------
    idle_s : float
        Longest silence, in seconds.
    total_s : float
        Longest life of the association, or of one call on a shared one, in seconds.
    max_bytes : int
        Most bytes received, by one call where several share the association; 0 for no limit.
    """

    def __init__(self, idle_s: float, total_s: float, max_bytes: int = 0) -> None:
        self.idle_s = idle_s
        self.opened = False
        self.received = 0
        self.answered = False  # a part of a message came since the watch began
        self.error: GtrError | None = None
        self._total_s, self._max_bytes = total_s, max_bytes
        self._began = self._last = time.monotonic()
        self._assoc: Association | None = None
        self._unsent = 0
        self._done = threading.Event()

    @property
    def handlers(self) -> list[tuple[Any, ...]]:
        """Event handlers to bind to the association."""
        return [(evt.EVT_CONN_OPEN, self._on_open), (evt.EVT_DATA_RECV, self._on_data)]

    def start(self, idle_s: float | None = None, max_bytes: int | None = None) -> None:
        """Start watching, from now on; new limits where they are given."""
        self.stop()
        self.idle_s = self.idle_s if idle_s is None else idle_s
        self._max_bytes = self._max_bytes if max_bytes is None else max_bytes
        self._began = self._last = time.monotonic()
        self.received, self.answered, self._done = 0, False, threading.Event()
        threading.Thread(target=self._run, args=(self._done,), name="association-watch", daemon=True).start()

    def stop(self) -> None:
        """Stop watching."""
        self._done.set()

    def touch(self) -> None:
        """Something happened elsewhere (an instance arrived by C-MOVE): the peer is alive."""
        self._last = time.monotonic()

    def cut(self, error: GtrError) -> None:
        """Close the connection for a reason of ours; the first reason stays."""
        self.error = self.error or error
        if self._assoc is not None:
            cut_socket(self._assoc)

    def _on_open(self, event: evt.Event) -> None:
        self._assoc, self.opened = event.assoc, True
        count_bytes(event, self._on_bytes)
        wait_for_events(event)
        self.touch()
        hasten(event)

    def _on_bytes(self) -> None:
        self.touch()
        self._unsent = unsent_bytes(self._assoc)

    def _still_sending(self) -> bool:
        """Whether the system has sent more of what it took from us since it was last asked."""
        before, self._unsent = self._unsent, unsent_bytes(self._assoc)
        return self._unsent < before

    def _on_data(self, event: evt.Event) -> None:
        self.touch()
        hasten(event)
        self.received += len(event.data)
        self.answered = self.answered or event.data[:1] == P_DATA
        if self._max_bytes and self.received > self._max_bytes:
            self.cut(PermanentError(f"more than {self._max_bytes} bytes in one association (pacs.max_bytes)"))

    def _run(self, done: threading.Event) -> None:
        while not done.is_set():
            now = time.monotonic()
            left = min(self._last + self.idle_s, self._began + self._total_s) - now
            if left <= 0 and now - self._began < self._total_s and self._still_sending():
                self.touch()
                continue
            if left <= 0:
                silent = now - self._last >= self.idle_s
                reason = f"silent for {self.idle_s:g} s" if silent else f"not done after {self._total_s:g} s"
                self.cut(AssociationLost(f"{reason}; cut"))
                return
            if done.wait(left):
                return


def count_bytes(event: evt.Event, moved: Callable[[], None]) -> None:
    """Handler of ``evt.EVT_CONN_OPEN``: `moved` is called for all bytes that come or go on this connection.

    pynetdicom tells of whole PDUs only. Its own timer of idle associations is wound up by bytes too.
    """
    assoc = event.assoc
    transport = assoc.dul.socket

    def noted() -> None:
        assoc.dul._idle_timer.restart()
        moved()

    guarded = getattr(transport, "connection", None)
    if guarded is not None:  # our own port: the guard reads, and tells
        guarded.moved = noted

    def recv(count: int) -> bytearray:
        if guarded is not None:
            return bytearray(guarded.recv(count))
        received = bytearray()
        while len(received) < count:
            piece = transport.socket.recv(min(_READ, count - len(received)))
            if not piece:  # closed by the peer
                break
            received += piece
            noted()
        return received

    def send(data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[transport.socket.send(rest[:_PIECE]) :]
                noted()
            evt.trigger(assoc, evt.EVT_DATA_SENT, {"data": data})
        except Exception:  # noqa: BLE001 - as pynetdicom has it: whatever it was, the connection is closed
            transport.event_queue.put("Evt17")

    transport.recv, transport.send = recv, send


def unsent_bytes(assoc: Association | None) -> int:
    """How many bytes the system has taken from us and the peer has not received yet; 0 where it cannot be told."""
    raw = getattr(getattr(getattr(assoc, "dul", None), "socket", None), "socket", None)
    if raw is None:
        return 0
    answer = array("i", [0])
    with suppress(OSError, ValueError):  # closed meanwhile, or a system that does not tell
        fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, answer)
    return answer[0]


def hasten(event: evt.Event) -> None:
    """Handler that keeps TCP from waiting.

    A DIMSE message is a short write (command) and another (data set); with Nagle's algorithm at one end and delayed
    acknowledgement at the other, each message stands still for 40 ms.
    """
    raw = getattr(getattr(event.assoc.dul, "socket", None), "socket", None)
    if raw is not None:
        with suppress(OSError):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        acknowledge_at_once(raw)


def cut_socket(assoc: Association) -> None:
    """Shut a connection down from any thread; pynetdicom then ends the association by itself."""
    wrapper = getattr(assoc.dul, "socket", None)
    raw = getattr(wrapper, "socket", None)
    if raw is not None:
        with suppress(OSError):
            raw.shutdown(socket.SHUT_RDWR)


def abort(assoc: Association) -> None:
    """A-ABORT, and the connection cut soon after: `abort` alone has no time limit where the peer stalls in a PDU."""
    if not assoc.is_established:
        cut_socket(assoc)
        return
    timer = threading.Timer(1.0, cut_socket, args=(assoc,))
    timer.daemon = True
    timer.start()
    try:
        assoc.abort()
    finally:
        timer.cancel()
