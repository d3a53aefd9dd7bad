"""Silence is judged by bytes: a line that is slow and steady is no silence, whichever way the bytes go."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from pydicom import dcmread

from gtr_batch.loopback import free_port
from gtr_batch.pacs import Pacs
from tests.adapters.pacs.peers import HostilePacs, SlowLine
from tests.phantoms import write_series

SILENCE_S = 2.0  # one instance takes about twice as long on the slow line, in one PDU


@pytest.fixture
def files(tmp_path):
    """One instance that fills a PDU."""
    return write_series(tmp_path / "files", np.zeros((1, 256, 256)), name="slow")


@pytest.fixture
def instance(files):
    return dcmread(files[0])


@pytest.fixture
def names(instance):
    return instance.StudyInstanceUID, instance.SeriesInstanceUID, [instance.SOPInstanceUID]


@pytest.fixture
def impatient(config):
    """Settings under which a silence of two seconds ends an association, whoever opened it."""
    return attrs.evolve(
        config, dimse_timeout_s=SILENCE_S, network_timeout_s=SILENCE_S, max_pdu=1 << 20, acse_timeout_s=20
    )


def test_a_get_on_a_slow_and_steady_line_is_not_cut(impatient, instance, names, tmp_path):
    with HostilePacs([instance]).running() as peer, SlowLine(peer.port).running() as line:
        paths = Pacs(attrs.evolve(impatient, port=line.port)).retrieve(*names, tmp_path / "got")

    assert [path.stem for path in paths] == names[2]


def test_a_move_whose_instances_come_on_a_slow_and_steady_line_is_not_cut(impatient, instance, names, tmp_path):
    """The association that asks is silent meanwhile; the one that brings the instances is not."""
    ours = free_port()
    peer = HostilePacs([instance])
    with peer.running(), SlowLine(ours).running() as line:
        peer.move_to = ("127.0.0.1", line.port)
        pacs = Pacs(attrs.evolve(impatient, port=peer.port, retrieve_mode="move", move_port=ours))
        paths = pacs.retrieve(*names, tmp_path / "got")

    assert [path.stem for path in paths] == names[2]


def test_a_store_on_a_slow_and_steady_line_is_not_cut(impatient, files):
    """The system has taken all of it from us, and is still sending."""
    with HostilePacs().running() as peer, SlowLine(peer.port).running() as line:
        receipts = Pacs(attrs.evolve(impatient, port=line.port)).store(files)

    assert [receipt.status for receipt in receipts] == [0x0000]
