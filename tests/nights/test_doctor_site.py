"""What `gtr doctor` finds around us: against a PACS that refuses, ports that are taken, certificates that expire."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import attrs
import numpy as np
import psycopg2
import pytest

from gtr_batch.cli import doctor_site
from gtr_batch.config import AuditTrailConfig, Config, DicomwebConfig, PacsConfig
from gtr_batch.errors import PacsUnreachable, ReceiverUnreachable
from gtr_batch.pacs import Pacs
from tests.adapters.pacs.peers import HostilePacs, a_free_port
from tests.certificates import Authority
from tests.dicomweb_servers import SmallDicomweb
from tests.phantoms import ct_dataset


def a_site(config=None, **given):
    config = config or Config()
    return SimpleNamespace(config=config, settings=config, **given)


def pacs_settings(port, **given):
    return PacsConfig(port=port, called_ae_title="PACS", connect_timeout_s=5, **given)


@pytest.mark.parametrize("mode", ["get", "move"])
def test_a_pacs_that_refuses_retrieval_or_our_objects_is_named_with_what_it_refuses(pacs, mode):
    limited = HostilePacs()  # takes CT images alone

    with limited.running():
        settings = pacs_settings(limited.port, retrieve_mode=mode)
        refused = doctor_site.services(a_site(Config(pacs=settings), archive=Pacs(settings)))
    settings = pacs_settings(pacs.port, retrieve_mode=mode)
    granted = doctor_site.services(a_site(Config(pacs=settings), archive=Pacs(settings)))

    assert refused.state == "red"
    assert "C-STORE of Comprehensive 3D SR Storage" in refused.found
    assert (granted.state, granted.found) == ("ok", f"retrieval (C-{mode.upper()}) and C-STORE are granted")


def test_a_port_that_somebody_holds_and_an_address_that_is_not_ours_are_told():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = doctor_site.our_port(a_site(Config(pacs=PacsConfig(commitment_port=holder.getsockname()[1]))))
    foreign = PacsConfig(retrieve_mode="move", move_host="192.0.2.1", move_port=a_free_port())
    free = PacsConfig(retrieve_mode="move", move_port=a_free_port())

    assert taken.state == "warn"
    assert doctor_site.our_port(a_site(Config(pacs=foreign))).state == "red"
    assert doctor_site.our_port(a_site(Config(pacs=PacsConfig(retrieve_mode="move")))).state == "warn"
    assert doctor_site.our_port(a_site(Config(pacs=free))).state == "ok"
    assert doctor_site.our_port(a_site()).state == "ok"


@pytest.mark.parametrize(("days", "state"), [(90, "ok"), (20, "warn"), (-1, "red")])
def test_a_certificate_is_told_before_it_expires(tmp_path, days, state):
    ours = Authority(tmp_path, "hospital")
    certificate, key = ours.issue("gtr", days=days)

    found = doctor_site.certificates(a_site(Config(pacs=PacsConfig(tls_ca=ours.ca, tls_cert=certificate, tls_key=key))))

    assert found.state == state
    assert "pacs.tls_cert" in found.found


def test_a_certificate_that_cannot_be_read_is_red_and_none_at_all_a_warning_for_a_pacs_elsewhere(tmp_path):
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")

    unread = doctor_site.certificates(a_site(Config(audit_trail=AuditTrailConfig(ca_file=broken))))
    plain = doctor_site.certificates(a_site(Config(pacs=PacsConfig(host="pacs.hospital.example"))))

    assert (unread.state, plain.state) == ("red", "warn")
    assert "audit_trail.ca_file" in unread.found


def settings_of_certificates():
    """Every setting that is said to be of certificates, as its comment or its name says."""
    config = Config()
    for section in attrs.asdict(config, recurse=False):
        for name in attrs.asdict(getattr(config, section), recurse=False):
            if (name.startswith("tls_c") and name != "tls_crl") or name.startswith(("ca_", "cert")):
                yield section, name


@pytest.mark.parametrize(("section", "name"), settings_of_certificates())
def test_every_certificate_that_a_setting_names_is_watched(tmp_path, section, name):
    authority = Authority(tmp_path, "hospital")
    old, key = authority.issue("old", days=-1)
    given = {"tls_ca": authority.ca, "tls_cert": old, "tls_key": key} if name == "tls_cert" else {name: old}
    if name == "tls_ca":
        given = {"tls_ca": old, "tls_cert": authority.issue("new")[0], "tls_key": key}
    config = attrs.evolve(Config(), **{section: attrs.evolve(getattr(Config(), section), **given)})

    found = doctor_site.certificates(a_site(config))

    assert (found.state, f"{section}.{name}" in found.found) == ("red", True)


def test_a_pacs_that_is_spoken_to_in_plain_is_a_warning_whatever_else_has_a_certificate(tmp_path):
    config = Config(
        pacs=PacsConfig(host="pacs.hospital.example"),
        audit_trail=AuditTrailConfig(ca_file=Authority(tmp_path, "hospital").ca),
    )

    found = doctor_site.certificates(a_site(config))

    assert (found.state, "plain TCP" in found.found) == ("warn", True)


def test_extracts_that_never_came_or_come_no_more_are_told(site, dsn):
    never = doctor_site.ehr(site)
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("insert into ehr_load (files) values ('{}')")
    connection.close()
    now = doctor_site.ehr(site)
    site.clock = SimpleNamespace(now=lambda: site.clinical.loaded_at() + doctor_site.LOADED_WITHIN * 2)

    assert (never.state, now.state, doctor_site.ehr(site).state) == ("warn", "ok", "warn")


def test_an_audit_repository_that_does_not_answer_is_told(site):
    nowhere = attrs.evolve(Config(), audit_trail=AuditTrailConfig(syslog=f"127.0.0.1:{a_free_port()}", timeout_s=5))

    with pytest.raises(ReceiverUnreachable):  # `gtr doctor` shows it as red
        doctor_site.audit_repository(a_site(nowhere))
    assert doctor_site.audit_repository(site).state == "ok"


def test_what_dicomweb_answers_is_told_and_what_a_site_does_not_use_is_a_warning():
    instances = [ct_dataset(0, np.zeros((16, 16)), name=name) for name in ("first", "second")]
    with SmallDicomweb(instances).running() as there:
        used, unused = (DicomwebConfig(url=there.url, retrieve=on, deliver=on) for on in (True, False))
        answered = doctor_site.dicomweb(a_site(Config(dicomweb=used)))
        idle = doctor_site.dicomweb(a_site(Config(dicomweb=unused)))
        [asked, _] = there.asked
        there.bend = lambda asked: there._listed(instances, "studies", attrs.evolve(asked, query={}))
        limitless = doctor_site.dicomweb(a_site(Config(dicomweb=used)))
    gone = attrs.evolve(used, url=f"http://127.0.0.1:{a_free_port()}/web")

    assert asked.query["limit"] == ["1"]
    assert (answered.state, answered.found) == (
        "ok", "QIDO-RS of one study was answered with 1; used to retrieve and deliver",
    )  # fmt: skip
    assert (idle.state, limitless.state) == ("warn", "warn")
    assert doctor_site.dicomweb(a_site()).state == "ok"
    with pytest.raises(PacsUnreachable):  # `gtr doctor` shows it as red
        doctor_site.dicomweb(a_site(Config(dicomweb=gone)))


def test_a_site_that_speaks_no_dimse_needs_no_port_and_no_certificate_of_it():
    web = DicomwebConfig(url="https://pacs.hospital.example/web", retrieve=True, deliver=True)
    here = a_site(
        Config(dicomweb=web, pacs=PacsConfig(host="pacs.hospital.example", commitment_port=1)),
        archive=SimpleNamespace(refused_services=lambda **_: []),
    )
    here.settings = SimpleNamespace(report=SimpleNamespace(pdf=False))

    assert [check(here).state for check in (doctor_site.our_port, doctor_site.certificates)] == ["ok", "ok"]
    assert "WADO-RS" in doctor_site.services(here).found and "STOW-RS" in doctor_site.services(here).found
