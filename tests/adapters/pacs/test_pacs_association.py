"""Associations: every way to fail has its error, and its error says what to mend."""

from __future__ import annotations

import logging
import socket
import threading

import attrs
import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from gtr_batch.config import PacsConfig
from gtr_batch.errors import AssociationLost, AssociationRefused, ConfigError, GtrError, PacsUnreachable
from gtr_batch.pacs import Pacs, contexts
from gtr_batch.pacs.association import Caller
from gtr_batch.pacs.scp import Listeners
from tests.adapters.pacs.peers import HostilePacs, a_free_port, orthanc


def test_echo_answers(pacs_at):
    with HostilePacs().running() as peer:
        pacs_at(peer).echo()


def test_nobody_listening_is_unreachable(pacs_at, free_port):
    with pytest.raises(PacsUnreachable, match=f"127.0.0.1:{free_port}"):
        pacs_at(free_port).echo()


def test_an_unknown_host_is_unreachable(pacs_at):
    with pytest.raises(PacsUnreachable):
        pacs_at(104, host="pacs.invalid").echo()


def test_a_server_that_never_answers_is_unreachable(pacs_at):
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(PacsUnreachable, match="no answer"):
        pacs_at(server.getsockname()[1], acse_timeout_s=0.5).echo()


def test_a_server_that_hangs_up_is_lost(pacs_at):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            server.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        with pytest.raises(AssociationLost, match="registered"):
            pacs_at(server.getsockname()[1]).echo()


@pytest.mark.parametrize(
    ("bend", "setting"),
    [
        (lambda peer: setattr(peer, "require_calling", ["SOMEBODY"]), "calling_ae_title"),
        (lambda peer: setattr(peer, "require_called", True) or setattr(peer, "ae_title", "OTHER"), "called_ae_title"),
    ],
)
def test_wrong_ae_titles_name_the_setting_to_mend(pacs_at, bend, setting):
    peer = HostilePacs()
    bend(peer)
    with peer.running(), pytest.raises(ConfigError, match=setting):
        pacs_at(peer).echo()


def test_a_local_limit_is_refused_for_now(pacs_at):
    """Also where the PACS calls it permanent: source 3 is congestion."""
    peer = HostilePacs()
    ae = AE("PACS")
    ae.add_supported_context(Verification)

    def reject(event: evt.Event) -> None:
        event.assoc.acse.send_reject(0x01, 0x03, 0x02)
        event.assoc.is_rejected = True
        event.assoc.kill()

    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_REQUESTED, reject)])
    peer.port = server.server_address[1]
    with pytest.raises(AssociationRefused, match="tried again later"):
        pacs_at(peer).echo()

    ae.shutdown()


def test_a_pacs_that_takes_no_service_of_ours_is_a_matter_of_settings(pacs_at):
    ae = AE("PACS")
    ae.add_supported_context("1.2.840.10008.5.1.4.31")
    server = ae.start_server(("127.0.0.1", 0), block=False)
    with pytest.raises(ConfigError, match="every presentation context"):
        pacs_at(server.server_address[1]).echo()

    ae.shutdown()


def test_orthanc_checks_our_ae_titles(pacs_at, need_program, tmp_path, free_port):
    with orthanc(need_program("Orthanc", "orthanc"), tmp_path / "orthanc", free_port):
        pacs_at(free_port, called_ae_title="ORTHANC").echo()
        with pytest.raises(ConfigError, match="called_ae_title"):
            pacs_at(free_port, called_ae_title="NOBODY").echo()


def test_no_more_associations_at_once_than_the_settings_allow(pacs_at):
    peer, now, most = HostilePacs(), [], []

    def find(event: evt.Event):
        now.append(1)
        most.append(len(now))
        threading.Event().wait(0.1)
        now.pop()
        yield 0x0000, None

    peer.on_find = find
    with peer.running():
        pacs = pacs_at(peer, associations=2)
        threads = [threading.Thread(target=pacs.find_series, args=("1.2.3",)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

    assert len(most) == 6
    assert max(most) == 2


def test_an_ae_title_that_is_none_is_refused_at_once():
    with pytest.raises(ConfigError, match="AE title"):
        Pacs(PacsConfig(called_ae_title="A TITLE THAT IS TOO LONG"))


def test_associations_have_room_for_all_contexts():
    offered = contexts.retrieve_contexts()

    assert len(offered) + 2 <= contexts.MAX_CONTEXTS
    assert len({(cx.abstract_syntax, tuple(cx.transfer_syntax)) for cx in offered}) == len(offered)
    assert {len(cx.transfer_syntax) for cx in offered} == {1}


@pytest.fixture
def listener(config):
    port = a_free_port()
    with Listeners(attrs.evolve(config, called_ae_title="PACS")).on(port, "GTRBATCH"):
        yield port


@pytest.mark.parametrize(
    ("calling", "called", "diagnostic"), [("STRANGER", "GTRBATCH", 0x03), ("PACS", "SOMEBODY", 0x07)]
)
def test_our_scp_rejects_strangers_and_wrong_numbers(listener, calling, called, diagnostic):
    ae = AE(calling)
    ae.add_requested_context(Verification)

    for _ in range(5):  # pynetdicom may see that the line was closed before it reads the answer that came before that
        assoc = ae.associate("127.0.0.1", listener, ae_title=called)
        if assoc.is_rejected:
            break

    assert assoc.is_rejected
    answer = assoc.acceptor.primitive
    assert (answer.result, answer.result_source, answer.diagnostic) == (0x01, 0x01, diagnostic)


def test_our_scp_answers_the_pacs(listener):
    ae = AE("PACS")
    ae.add_requested_context(Verification)

    assoc = ae.associate("127.0.0.1", listener, ae_title="GTRBATCH")

    assert assoc.send_c_echo().Status == 0x0000
    assoc.release()


def test_one_port_is_not_for_two_ae_titles(config):
    listeners, port = Listeners(config), a_free_port()
    with listeners.on(port, "ONE"), pytest.raises(ConfigError, match="commitment_port"), listeners.on(port, "TWO"):
        pass


def test_pynetdicom_never_logs_identifiers(pacs_at, caplog):
    from tests.adapters.pacs.test_pacs_find import DAY, study

    caplog.set_level(logging.DEBUG)
    with HostilePacs([study(7)]).running() as peer:
        pacs_at(peer).find_studies(*DAY)

    assert "P7" not in caplog.text


def test_a_request_after_the_association_ended_is_translated(config):
    with HostilePacs().running() as peer:
        caller = Caller(attrs.evolve(config, port=peer.port))
        contexts_ = [contexts.build_context(StudyRootQueryRetrieveInformationModelFind)]
        with pytest.raises(GtrError), caller.associate(contexts_) as line:
            line.assoc.abort()
            line.assoc.send_c_echo()
