"""pynetdicom's two loops, woken by what they have to do instead of looking for it every millisecond.

An association runs two threads: one moves PDUs between the socket and queues (the DUL), one looks for messages that
nobody waits for (the reactor). Both sleep a millisecond between two looks, which on a busy machine is several: each of
the messages of a C-STORE waits for it, and both take processor time where nothing happens. Here the first waits for the
socket and for what is to be sent, the second for a message (`Checkpoint.wait`). ADR 6.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

from gtr_batch.pacs.checkpoint import LOOK_AGAIN_S, hold_firmly

_CLOSING = "Sta13"  # waits for the connection to close: what has not come is not waited for
_EXCHANGING = "Sta6"  # the association is established: P-DATA-TF may go out (PS3.8, 9.2)
_TOGETHER = 262_144  # bytes of P-DATA-TF PDUs that are handed to the system at once
_PAUSE_S = 0.001  # pynetdicom's own, for who waits for the thread to end


class Bell:
    """Rung from any thread: a wait for the socket ends at once."""

    def __init__(self) -> None:
        self.handle, self._rope = os.pipe()
        for end in (self.handle, self._rope):
            os.set_blocking(end, False)
            weakref.finalize(self, os.close, end)

    def ring(self) -> None:
        """End the wait that runs, or the next one."""
        with suppress(BlockingIOError):  # full: it rings
            os.write(self._rope, b"\0")

    def silence(self) -> None:
        """It was heard."""
        with suppress(BlockingIOError):
            os.read(self.handle, 4096)


class WokenDul(DULServiceProvider):
    """The DUL whose pause is the wait of `WokenSocket.ready`, and which is woken to end."""

    @property
    def _run_loop_delay(self) -> float:
        return 0.0 if threading.current_thread() is self else _PAUSE_S

    @_run_loop_delay.setter
    def _run_loop_delay(self, delay: float) -> None:
        """What pynetdicom says of it changes nothing."""

    @property
    def _kill_thread(self) -> bool:
        before = self.__dict__.get("_kill_thread", False)  # said before it was woken
        return bool(self.__dict__.get("to_end", before) or before)

    @_kill_thread.setter
    def _kill_thread(self, to_end: bool) -> None:
        self.__dict__["to_end"] = to_end
        self.__dict__["bell"].ring()

    def _process_recv_primitive(self) -> bool:
        """Send what the user has handed over; P-DATA as much as waits at once, without a turn of the loop for each PDU.

        That is what DT-1 of the state machine does. Everything else, and P-DATA where somebody listens to PDUs, goes
        through it.
        """
        waiting = self.to_provider_queue.queue
        if self.state_machine.current_state != _EXCHANGING or self.assoc.get_handlers(evt.EVT_PDU_SENT):
            return super()._process_recv_primitive()
        parts: list[bytes] = []
        size = 0
        while waiting and isinstance(waiting[0], P_DATA) and size < _TOGETHER:
            primitive = self.to_provider_queue.get(block=False)
            items = [
                struct.pack(">LB", len(value) + 1, context) + value
                for context, value in primitive.presentation_data_value_list
            ]
            parts += [struct.pack(">BBL", 0x04, 0, sum(map(len, items))), *items]
            size += sum(map(len, items))
        if not parts:
            return super()._process_recv_primitive()
        if self.socket is not None:
            self.socket.send(b"".join(parts))
        return True


class WokenSocket(AssociationSocket):
    """The connection whose `ready` waits for bytes, or for the bell."""

    @property
    def ready(self) -> bool:
        """Whether bytes have come; False once something is to be sent, or after a while."""
        dul = self.assoc.dul
        bell: Bell = dul.__dict__["bell"]
        connection = self.socket if self._is_connected else None
        if isinstance(connection, ssl.SSLSocket) and connection.pending():
            return True
        poll = select.poll()
        poll.register(bell.handle, select.POLLIN)
        try:
            if connection is not None:
                acknowledge_at_once(connection)
                poll.register(connection, select.POLLIN)
            at_once = dul.state_machine.current_state == _CLOSING or not dul.event_queue.empty()
            found = dict(poll.poll(0 if at_once else 1000 * LOOK_AGAIN_S))
            if bell.handle in found:
                bell.silence()
            if connection is None or connection.fileno() not in found:
                return False
            if not found[connection.fileno()] & select.POLLNVAL:
                return True
        except (OSError, ValueError):
            pass
        self.event_queue.put("Evt17")  # transport connection closed
        return False


def acknowledge_at_once(connection: socket.socket) -> None:
    """Ask the system not to hold back its acknowledgement of what comes next.

    It lasts for one answer only, so it is asked for again at every PDU, and before each wait: else a peer with Nagle's
    algorithm keeps the second part of its answer to a C-STORE back for 40 ms.
    """
    with suppress(OSError, AttributeError):  # AttributeError: no QUICKACK but on Linux
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def wait_for_events(event: evt.Event) -> None:
    """Handler of ``evt.EVT_CONN_OPEN`` of an association that we request: holds its reactor firmly, and wakes both."""
    assoc: Association = event.assoc
    dul = assoc.dul

    def has_work() -> bool:
        return bool(assoc.dimse.msg_queue.queue or dul.to_user_queue.queue or assoc._kill or dul._kill_thread)

    hold_firmly(event, has_work)
    checkpoint = assoc._reactor_checkpoint
    dul.__dict__["bell"] = bell = Bell()
    _tell(dul.to_provider_queue, bell.ring)
    _tell(dul.event_queue, lambda: None if threading.current_thread() is dul else bell.ring())
    _tell(dul.to_user_queue, checkpoint.look)
    _tell(assoc.dimse.msg_queue, checkpoint.look)
    dul.__class__, dul.socket.__class__ = WokenDul, WokenSocket


def _tell(queue: Any, told: Callable[[], None]) -> None:
    """Call `told` after everything that is put into a queue."""
    put = queue.put

    def put_and_tell(item: Any, *args: Any, **options: Any) -> None:
        put(item, *args, **options)
        told()

    queue.put = put_and_tell
