"""TLS both ways, against a PACS that demands it: right, wrong, expired and revoked certificates, and none."""

from __future__ import annotations

import ssl

import attrs
import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from gtr_batch.config import PacsConfig
from gtr_batch.errors import ConfigError
from gtr_batch.pacs import Pacs
from gtr_batch.pacs.scp import Listeners
from tests.adapters.pacs.peers import HostilePacs, a_free_port, orthanc
from tests.adapters.pacs.test_pacs_retrieve import names, wanted
from tests.certificates import Authority


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """Our authority and a stranger's; certificates by name."""
    folder = tmp_path_factory.mktemp("pki")
    ours, theirs = Authority(folder, "hospital"), Authority(folder, "stranger")
    return {
        "ca": ours.ca,
        "gtr": ours.issue("gtr"),
        "pacs": ours.issue("pacs"),
        "elsewhere": ours.issue("elsewhere", address="10.1.2.3"),
        "expired": ours.issue("expired", days=-1),
        "revoked": (revoked := ours.issue("revoked")),
        "foreign": theirs.issue("foreign"),
        "crl": ours.revoke(revoked[0]),
    }


def with_tls(config: PacsConfig, pki, who: str = "gtr", **settings) -> PacsConfig:
    cert, key = pki[who]
    return attrs.evolve(config, tls_ca=pki["ca"], tls_cert=cert, tls_key=key, **settings)


def context_of(pki, who: str, purpose: int) -> ssl.SSLContext:
    context = ssl.SSLContext(purpose)
    context.load_verify_locations(pki["ca"])
    context.load_cert_chain(*pki[who])
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def server_of(pki, who: str = "pacs") -> ssl.SSLContext:
    return context_of(pki, who, ssl.PROTOCOL_TLS_SERVER)


def test_a_series_and_a_commitment_come_over_tls_in_both_directions(config, pki, series, tmp_path):
    peer, our_port = HostilePacs(series), a_free_port()
    peer.move_to = ("127.0.0.1", our_port)
    peer.tls = server_of(pki)
    peer.tls_out = context_of(pki, "pacs", ssl.PROTOCOL_TLS_CLIENT)
    with peer.running():
        secure = with_tls(config, pki, port=peer.port, retrieve_mode="move", move_port=our_port, tls_crl=pki["crl"])
        Pacs(secure).retrieve(*wanted(series), tmp_path / "move")
        Pacs(attrs.evolve(secure, retrieve_mode="get")).retrieve(*wanted(series), tmp_path / "get")

    assert len(names(tmp_path / "move")) == len(names(tmp_path / "get")) == 12


@pytest.mark.parametrize(
    ("theirs", "said"),
    [("foreign", "unable to get local issuer"), ("expired", "expired"), ("revoked", "revoked")],
)
def test_a_pacs_whose_certificate_is_not_good_is_not_talked_to(config, pki, theirs, said):
    peer = HostilePacs()
    peer.tls = server_of(pki, theirs)
    with peer.running(), pytest.raises(ConfigError, match=said):
        Pacs(with_tls(config, pki, port=peer.port, tls_crl=pki["crl"])).echo()


def test_a_certificate_for_another_host_is_not_taken_for_the_pacs(config, pki):
    peer = HostilePacs()
    peer.tls = server_of(pki, "elsewhere")
    with peer.running(), pytest.raises(ConfigError, match=r"mismatch|not valid for"):
        Pacs(with_tls(config, pki, port=peer.port)).echo()


@pytest.mark.parametrize("ours", ["foreign", "expired"])
def test_a_pacs_that_does_not_accept_our_certificate_names_the_setting(config, pki, ours):
    peer = HostilePacs()
    peer.tls = server_of(pki)
    with peer.running(), pytest.raises(ConfigError, match="tls_cert"):
        Pacs(with_tls(config, pki, ours, port=peer.port)).echo()


def test_a_pacs_without_tls_names_the_port(config, pki):
    with HostilePacs().running() as peer, pytest.raises(ConfigError, match="TLS port"):
        Pacs(with_tls(config, pki, port=peer.port)).echo()


@pytest.fixture
def listening(config, pki):
    port = a_free_port()
    with Listeners(with_tls(config, pki, called_ae_title="PACS", tls_crl=pki["crl"])).on(port, "GTRBATCH"):
        yield port


def echo_over(port: int, tls: ssl.SSLContext | None) -> bool:
    """Whether our port answers the PACS's C-ECHO."""
    ae = AE("PACS")
    ae.connection_timeout = ae.acse_timeout = 5
    ae.add_requested_context(Verification)
    assoc = ae.associate("127.0.0.1", port, ae_title="GTRBATCH", tls_args=(tls, "127.0.0.1") if tls else None)
    answered = assoc.is_established and assoc.send_c_echo().get("Status") == 0x0000
    if assoc.is_established:
        assoc.release()
    return answered


def test_our_port_takes_the_pacs_with_its_certificate(listening, pki):
    assert echo_over(listening, context_of(pki, "pacs", ssl.PROTOCOL_TLS_CLIENT))


@pytest.mark.parametrize("who", ["foreign", "expired", "revoked"])
def test_our_port_takes_nobody_whose_certificate_is_not_good(listening, pki, who):
    assert not echo_over(listening, context_of(pki, who, ssl.PROTOCOL_TLS_CLIENT))
    assert echo_over(listening, context_of(pki, "pacs", ssl.PROTOCOL_TLS_CLIENT))


def test_our_port_takes_nobody_without_a_certificate_or_without_tls(listening, pki):
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.load_verify_locations(pki["ca"])

    assert not echo_over(listening, bare)
    assert not echo_over(listening, None)


@pytest.mark.parametrize("absent", ["tls_ca", "tls_cert", "tls_key"])
def test_half_of_tls_is_a_mistake(config, pki, absent):
    with pytest.raises(ConfigError, match=f"pacs.{absent}"):
        attrs.evolve(with_tls(config, pki), **{absent: ""})


@pytest.mark.parametrize("setting", ["tls_ca", "tls_cert", "tls_key", "tls_crl"])
def test_a_file_that_is_none_names_its_setting(config, pki, tmp_path, setting):
    (tmp_path / "none.pem").write_text("no certificate\n")
    broken = attrs.evolve(with_tls(config, pki, tls_crl=pki["crl"]), **{setting: str(tmp_path / "none.pem")})
    with pytest.raises(ConfigError, match="pacs.tls_cert" if setting == "tls_key" else f"pacs.{setting}"):
        Pacs(broken).echo()


def test_orthanc_is_talked_to_over_tls(config, pki, series_folder, series, tmp_path, need_program):
    port, our_port = a_free_port(), a_free_port()
    cert, key = pki["pacs"]
    secure = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": cert,
        "DicomTlsPrivateKey": key,
        "DicomTlsTrustedCertificates": pki["ca"],
        "DicomTlsRemoteCertificateRequired": True,
        "DicomModalities": {"gtr": {"AET": "GTRBATCH", "Host": "127.0.0.1", "Port": our_port, "UseDicomTls": True}},
    }
    ours = with_tls(
        config, pki, port=port, called_ae_title="ORTHANC", retrieve_mode="move", move_port=our_port, dimse_timeout_s=30
    )
    alive = Pacs(ours)
    with orthanc(need_program("Orthanc", "orthanc"), tmp_path / "orthanc", port, echo=alive.echo, **secure):
        alive.store(sorted(series_folder.glob("*.dcm")))
        alive.retrieve(*wanted(series), tmp_path / "move")

    assert len(names(tmp_path / "move")) == 12
