"""A pause of pynetdicom's reactor that holds: its own can be run through, and an answer is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from pynetdicom import evt
from pynetdicom.association import Association

LOOK_AGAIN_S = 0.05  # timers and ends, of which nobody tells


class Thread(Protocol):
    """What is needed of the reactor's thread."""

    def is_alive(self) -> bool:
        """Whether it still runs."""


class Checkpoint:
    """Stands for ``Association._reactor_checkpoint``: `clear` returns only once the reactor is really held.

    pynetdicom 3.0.4 pauses its reactor before each request with ``checkpoint.clear()`` and then waits for the flag
    ``_is_paused``. Of two requests in a row, the second can find that flag still set from the first, while the reactor
    has already passed the checkpoint; it then takes the answer ("Received unexpected C-STORE service message") and the
    request never ends. Measured on two busy cores: one of 120 C-STOREs was lost in this way.

    Parameters
    ----------
    reactor : threading.Thread
        The association, which is its reactor's thread.
    has_work : callable, optional
        Whether the reactor would find something to do; until then, or for a moment at most, it waits where it can be
        held at once. Default: always.
    """

    def __init__(self, reactor: Thread, has_work: Callable[[], bool] = lambda: True) -> None:
        self._reactor, self._has_work = reactor, has_work
        self._open = True
        self._held = False
        self._change = threading.Condition()

    def is_set(self) -> bool:
        """Whether the reactor may pass."""
        return self._open

    def set(self) -> None:
        """Let the reactor pass."""
        with self._change:
            self._open = True
            self._change.notify_all()

    def look(self) -> None:
        """Tell the reactor that there may be something to do."""
        if self._open:
            with self._change:
                self._change.notify_all()

    def clear(self) -> None:
        """Hold the reactor; returns when it is held, has ended, or is the caller itself."""
        with self._change:
            self._open = False
            if threading.current_thread() is self._reactor:
                return
            while not self._held and not self._open and self._reactor.is_alive():
                self._change.wait(0.01)

    def wait(self, timeout: float | None = None) -> bool:
        """The reactor's call: returns when it may pass."""
        with self._change:
            self._held = True
            self._change.notify_all()
            if self._open:
                self._change.wait_for(lambda: not self._open or self._has_work(), LOOK_AGAIN_S)
            passed = self._change.wait_for(lambda: self._open, timeout)
            self._held = False
            return passed


class FirmAssociation(Association):
    """An association whose reactor is held by its `Checkpoint` alone.

    Beside its checkpoint pynetdicom has a flag ``_is_paused`` for which each request and the release wait without any
    limit. It serves an N-EVENT-REPORT in a thread of its own, at whose end it takes the flag away, also while the
    reactor is held: a commitment report that came before the N-ACTION response, or at once after it, left the release
    waiting without end. `Checkpoint.clear` has waited already, so here the flag is always up.
    """

    @property
    def _is_paused(self) -> bool:
        return True

    @_is_paused.setter
    def _is_paused(self, paused: bool) -> None:
        """What pynetdicom says of it changes nothing."""


def hold_firmly(event: evt.Event, has_work: Callable[[], bool] = lambda: True) -> None:
    """Handler of ``evt.EVT_CONN_OPEN`` of an association that we request: gives it a checkpoint that holds."""
    event.assoc._reactor_checkpoint = Checkpoint(event.assoc, has_work)
    event.assoc.__class__ = FirmAssociation
