"""Strangers at our port: whatever they send, or do not send, the PACS gets through, and memory stays ours."""

from __future__ import annotations

import ipaddress
import resource
import socket
import ssl
import struct
import time
from contextlib import suppress

import attrs
import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification

from gtr_batch.errors import ConfigError
from gtr_batch.pacs.checkpoint import hold_firmly
from gtr_batch.pacs.guard import HALF_OPEN, MAX_REQUEST, peer_networks
from gtr_batch.pacs.scp import Listeners
from tests.adapters.pacs.peers import a_free_port
from tests.adapters.pacs.test_pacs_tls import context_of, echo_over
from tests.certificates import Authority


@pytest.fixture
def listening(config):
    port = a_free_port()
    with Listeners(attrs.evolve(config, acse_timeout_s=2, network_timeout_s=2)).on(port, "GTRBATCH"):
        yield port


def echo(port: int) -> bool:
    ae = AE("PACS")
    ae.connection_timeout = ae.acse_timeout = 10
    ae.add_requested_context(Verification)
    assoc = ae.associate("127.0.0.1", port, ae_title="GTRBATCH")
    answered = assoc.is_established and assoc.send_c_echo().get("Status") == 0x0000
    if assoc.is_established:
        assoc.release()
    return answered


def closed(client: socket.socket, within_s: float = 20.0) -> bool:
    """Whether the other end closes the connection."""
    client.settimeout(within_s)
    try:
        while client.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def connect(port: int, sent: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.sendall(sent)
    return client


@pytest.mark.parametrize("sent", [b"", b"\x01", b"\x01\x00\x00\x00\x01\x00"], ids=["silent", "a byte", "a header"])
def test_idle_connections_do_not_lock_out_the_pacs(listening, sent):
    clients = [connect(listening, sent) for _ in range(4 * HALF_OPEN)]

    assert echo(listening)

    assert all(closed(client) for client in clients)


def test_a_connection_that_trickles_its_request_is_cut(listening):
    client = connect(listening, b"\x01\x00\x00\x00\x10\x00")
    until = time.monotonic() + 20
    cut = False
    while not cut and time.monotonic() < until:
        try:
            client.sendall(b"\x00")
            time.sleep(0.1)
        except OSError:
            cut = True

    assert cut


def test_a_request_that_claims_300_megabytes_is_not_read(listening):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    client = connect(listening, b"\x01\x00" + struct.pack(">L", 300 << 20))
    block = bytes(1 << 20)
    sent = 0
    try:
        while sent < 300:
            client.sendall(block)
            sent += 1
    except OSError:
        pass

    assert sent < 100  # what fits into the buffers of both ends
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # kB
    assert echo(listening)


def test_a_pdu_over_our_maximum_ends_its_association(listening, config):
    ae = AE("PACS")
    ae.add_requested_context(Verification)
    assoc = ae.associate("127.0.0.1", listening, ae_title="GTRBATCH")
    assert assoc.is_established

    assoc.dul.socket.socket.sendall(b"\x04\x00" + struct.pack(">L", config.max_pdu + 1) + bytes(64))

    assoc.join(20)
    assert not assoc.is_alive()
    assert echo(listening)


def test_an_association_that_falls_silent_within_a_pdu_is_cut(listening):
    ae = AE("PACS")
    ae.add_requested_context(Verification)
    assoc = ae.associate("127.0.0.1", listening, ae_title="GTRBATCH")
    assoc.dul.socket.socket.sendall(b"\x04\x00" + struct.pack(">L", 1000) + bytes(64))

    assoc.join(20)
    assert not assoc.is_alive()


@pytest.mark.parametrize(
    ("limit", "value"), [("max_bytes", 50_000), ("association_limit_s", 1.0), ("max_instances", 3)]
)
def test_a_flood_of_instances_that_nobody_asked_for_is_cut(config, series, limit, value):
    port = a_free_port()
    ended = attrs.evolve(config, **{limit: value})
    ae = AE("PACS")
    ae.dimse_timeout = 5
    ae.add_requested_context(CTImageStorage)
    with Listeners(ended).on(port, "GTRBATCH") as listener, listener.receiving(_Nothing(), lambda: None):
        assoc = ae.associate("127.0.0.1", port, ae_title="GTRBATCH", evt_handlers=[(evt.EVT_CONN_OPEN, hold_firmly)])
        until = time.monotonic() + 60
        while assoc.is_established and time.monotonic() < until:
            with suppress(RuntimeError, ValueError, OSError):  # it is cut while we send
                assoc.send_c_store(series[0])

        assert not assoc.is_established


class _Nothing:
    """A retrieve that expects nothing and must not be given anything."""

    expected: frozenset[str] = frozenset()

    def take(self, event):
        raise AssertionError("an instance that nobody asked for was handed to a retrieve")


def test_only_the_addresses_of_the_pacs_may_connect(config):
    port = a_free_port()
    with Listeners(attrs.evolve(config, peer_addresses=("10.1.2.3", "192.168.0.0/16"))).on(port, "GTRBATCH"):
        with connect(port) as client:
            assert closed(client, 5)
        assert not echo(port)
    with Listeners(attrs.evolve(config, peer_addresses=("127.0.0.0/8",))).on(port, "GTRBATCH"):
        assert echo(port)


def test_without_a_list_only_the_pacs_own_host_may_connect(config):
    assert peer_networks(attrs.evolve(config, host="10.1.2.3")) == (ipaddress.ip_network("10.1.2.3/32"),)
    assert ipaddress.ip_network("127.0.0.1/32") in peer_networks(attrs.evolve(config, host="localhost"))


def test_an_entry_that_is_no_address_names_the_setting(config):
    with pytest.raises(ConfigError, match="peer_addresses"):
        peer_networks(attrs.evolve(config, peer_addresses=("no such host.invalid",)))


def test_a_silent_client_does_not_hold_up_the_handshakes_of_others(config, tmp_path):
    authority = Authority(tmp_path, "hospital")
    cert, key = authority.issue("gtr")
    secure = attrs.evolve(config, tls_ca=authority.ca, tls_cert=cert, tls_key=key, acse_timeout_s=30)
    port = a_free_port()
    pki = {"ca": authority.ca, "pacs": authority.issue("pacs")}
    with Listeners(secure).on(port, "GTRBATCH"):
        silent = [connect(port) for _ in range(3)]
        assert echo_over(port, context_of(pki, "pacs", ssl.PROTOCOL_TLS_CLIENT))
        for client in silent:
            client.close()


def test_the_largest_lawful_request_is_read():
    """128 contexts of 38 transfer syntaxes, each UID 64 characters long, stay below the limit."""
    assert MAX_REQUEST > 128 * (8 + 68 + 38 * 68)
