"""The reactor of an association is held before a request, also when requests follow one another at once."""

from __future__ import annotations

import threading
import time

import pytest

from gtr_batch.pacs.checkpoint import LOOK_AGAIN_S, Checkpoint
from gtr_batch.pacs.reactor import WokenSocket
from tests.adapters.pacs.peers import HostilePacs, a_free_port, qrscp
from tests.phantoms import abdomen_hu, write_series


class Reactor(threading.Thread):
    """Loops as pynetdicom's reactor does, but is slow to go on after the checkpoint, as on a busy machine."""

    def __init__(self):
        super().__init__(daemon=True)
        self.checkpoint = Checkpoint(self)
        self.taken = 0
        self.ended = False

    def run(self):
        while not self.ended:
            self.checkpoint.wait()
            time.sleep(0.002)
            self.taken += 1


def test_nothing_is_taken_between_clear_and_set():
    reactor = Reactor()
    reactor.start()

    for _ in range(50):
        reactor.checkpoint.clear()
        before = reactor.taken
        time.sleep(0.004)
        assert reactor.taken == before
        reactor.checkpoint.set()

    reactor.ended = True


def test_clear_does_not_wait_for_a_reactor_that_has_ended():
    reactor = Reactor()
    reactor.ended = True
    reactor.start()
    reactor.join()

    reactor.checkpoint.clear()

    assert not reactor.checkpoint.is_set()


@pytest.mark.slow
def test_no_answer_is_lost_among_many_stores_on_a_busy_machine(pacs_at, tmp_path):
    """Threads that burn time make the reactor late; before the checkpoint held, every second round lost an answer."""
    files = write_series(tmp_path / "series", abdomen_hu(60, 16), name="busy")
    burning = threading.Event()
    burning.set()

    def burn():
        while burning.is_set():
            sum(range(1000))

    port = a_free_port()
    with qrscp(tmp_path / "pacs", port):
        for _ in range(3):
            threading.Thread(target=burn, daemon=True).start()
        try:
            receipts = pacs_at(port).store(files)
        finally:
            burning.clear()

    assert [r.status for r in receipts] == [0] * len(files)


def test_an_idle_association_looks_for_work_a_few_times_a_second_only(pacs_at, monkeypatch):
    """Every millisecond, as pynetdicom does, it would be some 500 times; a loaded machine makes it fewer."""
    looks, ready = [], WokenSocket.ready.fget
    monkeypatch.setattr(WokenSocket, "ready", property(lambda socket: (looks.append(1), ready(socket))[1]))
    peer, pause = HostilePacs(), threading.Event()
    with peer.running():
        pacs = pacs_at(peer)
        with pacs.connected():
            pacs.find_series("1.2.3")
            looks.clear()
            pause.wait(0.5)
            idle = len(looks)
            found = pacs.find_series("1.2.3")

    assert idle <= 0.5 / LOOK_AGAIN_S + 5
    assert (found, len(peer.opened)) == ([], 1)
