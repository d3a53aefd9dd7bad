"""The audit trail at a real rsyslog: DICOM audit messages over TLS, none lost and none doubled."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gtr_batch.access import looked, looked_at_patient, send_waiting
from gtr_batch.config import AuditTrailConfig, load
from gtr_batch.db.access import PostgresAccessTrail
from gtr_batch.domain.access import WaitingEvent
from gtr_batch.errors import ConfigError, ReceiverUnreachable
from gtr_batch.loopback import free_port, listens
from gtr_batch.syslog import SyslogReceiver, audit_message, framed, syslog_message
from tests.adapters.db.test_cases import a_case
from tests.case_moves import Moves
from tests.fixtures_db import *  # noqa: F403

EVENT = WaitingEvent(
    event_id=7,
    at=datetime(2026, 3, 2, 3, 4, 5, 678000, tzinfo=UTC),
    action="report.send",
    object_kind="case",
    object_id="6d0e7a3c-0000-5000-8000-000000000000",
    actor="gtr-batch",
    outcome="success",
    db_user="staging_night",
    os_user="gtr",
    xact="1234",
    study_uid="1.2.3",
)


# The message


def test_a_delivery_is_a_transfer_of_instances_of_a_study_by_its_uid():
    root = ET.fromstring(audit_message(EVENT, source="gtr-batch@here"))

    what = root.find("EventIdentification")
    assert what.attrib == {
        "EventActionCode": "R",
        "EventDateTime": "2026-03-02T03:04:05.678+00:00",
        "EventOutcomeIndicator": "0",
    }
    assert what.find("EventID").attrib == {
        "csd-code": "110104",
        "codeSystemName": "DCM",
        "originalText": "DICOM Instances Transferred",
    }
    who = root.find("ActiveParticipant").attrib
    assert who == {"UserID": "gtr-batch", "AlternativeUserID": "gtr; staging_night", "UserIsRequestor": "true"}
    assert root.find("AuditSourceIdentification").get("AuditSourceID") == "gtr-batch@here"
    study, case = root.findall("ParticipantObjectIdentification")
    assert (study.get("ParticipantObjectID"), study.find("ParticipantObjectIDTypeCode").get("csd-code")) == (
        "1.2.3",
        "110180",
    )
    assert case.get("ParticipantObjectID") == EVENT.object_id


@pytest.mark.parametrize(
    ("action", "event", "kind"),
    [
        ("case.look", "110103", "case.look"),
        ("night.look", "110103", "night.look"),
        ("report.supersede", "110104", "report.supersede"),
        ("report.reject", "110104", "report.reject"),
        ("model.promote", "110113", "110131"),
        ("setting.change", "110113", "110131"),
        ("alarm.acknowledge", "110113", "110132"),
        ("holdout.open", "110113", "110132"),
        ("approval.approve", "110113", "110132"),
    ],
)
def test_every_action_has_an_event_of_the_standard_and_its_own_name(action, event, kind):
    root = ET.fromstring(audit_message(attrs.evolve(EVENT, action=action), source="x"))

    assert root.find("EventIdentification/EventID").get("csd-code") == event
    codes = [one.get("csd-code") for one in root.findall("EventIdentification/EventTypeCode")]
    assert codes[0] == kind
    assert codes[-1] == action


def test_a_refusal_is_a_failure_and_an_event_of_no_study_names_none():
    root = ET.fromstring(audit_message(attrs.evolve(EVENT, outcome="failure", study_uid=""), source="x"))

    assert root.find("EventIdentification").get("EventOutcomeIndicator") == "4"
    assert len(root.findall("ParticipantObjectIdentification")) == 1


def test_no_name_breaks_the_message():
    said = audit_message(attrs.evolve(EVENT, actor='Eve <"&\x00\x1b>', object_id="\ud800"), source="x\n")

    assert ET.fromstring(said.encode("utf-8", "strict")).find("ActiveParticipant").get("UserID").startswith('Eve <"&')


def test_the_syslog_message_is_rfc_5424_with_its_number_and_a_frame_of_its_length_in_bytes():
    message = syslog_message(attrs.evolve(EVENT, actor="Äda"), source="x", host="sun and moon")

    head, _, body = message.partition(b"\xef\xbb\xbf")
    assert head == (b'<85>1 2026-03-02T03:04:05.678Z sunandmoon gtr-batch - DICOM+RFC3881 [meta sequenceId="7"] ')
    assert ET.fromstring(body.decode()).find("ActiveParticipant").get("UserID") == "Äda"
    assert framed(message) == b"%d " % len(message) + message


@pytest.mark.parametrize("given", ["here", "here:", ":6514", "here:no", "here:0", "here:65536"])
def test_a_receiver_is_a_host_and_a_port(given):
    with pytest.raises(ConfigError, match=r"audit_trail\.syslog"):
        load(environ={"GTR_AUDIT_TRAIL__SYSLOG": given})


def test_an_address_may_be_of_version_6():
    assert AuditTrailConfig(syslog="[::1]:6514").address == ("::1", 6514)


# Certificates


@attrs.frozen
class Authority:
    """A certificate authority in a folder; makes certificates for this machine's loopback address."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    name: x509.Name

    @property
    def file(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, who: str) -> tuple[Path, Path]:
        """Certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = (
            _certificate(who, self.name, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .sign(self.key, hashes.SHA256())
        )
        return _written(self.folder / f"{who}.pem", made), _written(self.folder / f"{who}.key", key)


def authority(folder: Path) -> Authority:
    folder.mkdir()
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, folder.name)]),
    )
    made = (
        _certificate(folder.name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    _written(folder / "ca.pem", made)
    return Authority(folder, key, name)


def _certificate(who: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, who)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
    )


def _written(path: Path, made: x509.Certificate | ec.EllipticCurvePrivateKey) -> Path:
    pem = serialization.Encoding.PEM
    if isinstance(made, x509.Certificate):
        path.write_bytes(made.public_bytes(pem))
    else:
        nothing = serialization.NoEncryption()
        path.write_bytes(made.private_bytes(pem, serialization.PrivateFormat.PKCS8, nothing))
    return path


@pytest.fixture
def hospital(tmp_path) -> Authority:
    """The hospital's certificate authority."""
    return authority(tmp_path / "hospital")


# The real rsyslog


class Rsyslog:
    """rsyslogd on a port of loopback; it takes messages over TLS from those whose certificate the hospital signed."""

    def __init__(self, folder: Path, hospital: Authority) -> None:
        self.port, self.file, self._folder = free_port(), folder / "received", folder
        certificate, key = hospital.issue("repository")
        self._process: subprocess.Popen | None = None
        (folder / "rsyslog.conf").write_text(f"""
global(workDirectory="{folder}" maxMessageSize="64k"
  DefaultNetstreamDriver="gtls" DefaultNetstreamDriverCAFile="{hospital.file}"
  DefaultNetstreamDriverCertFile="{certificate}" DefaultNetstreamDriverKeyFile="{key}")
module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="x509/certvalid")
input(type="imtcp" port="{self.port}" address="127.0.0.1")
template(name="whole" type="string" string="%rawmsg%\\n")
action(type="omfile" file="{self.file}" template="whole")
""")

    def start(self) -> None:
        conf, pid = self._folder / "rsyslog.conf", self._folder / "pid"
        pid.unlink(missing_ok=True)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_rsyslogd(), "-n", "-f", str(conf), "-i", str(pid)], stdout=log, stderr=log
            )
        while not listens(self.port):
            assert self._process.poll() is None, (self._folder / "log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """End it; what it has read is written then."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def numbers(self) -> list[int]:
        """Numbers of the events in its file."""
        text = self.file.read_text(encoding="utf-8") if self.file.exists() else ""
        return [int(n) for n in re.findall(r'\[meta sequenceId="(\d+)"\]', text)]


def _rsyslogd() -> str:
    found = shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin")
    if found is None and not os.environ.get("CI"):
        pytest.skip("rsyslogd is not installed (Debian: rsyslog, rsyslog-gnutls)")
    assert found is not None, "CI installs rsyslog and rsyslog-gnutls"
    return found


@pytest.fixture
def rsyslog(tmp_path, hospital) -> Iterator[Rsyslog]:
    folder = tmp_path / "rsyslog"
    folder.mkdir()
    made = Rsyslog(folder, hospital)
    yield made
    made.stop()


@pytest.fixture
def receiver(rsyslog, hospital) -> SyslogReceiver:
    """What a site configures."""
    certificate, key = hospital.issue("gtr")
    return SyslogReceiver(settings(rsyslog.port, ca_file=hospital.file, certificate=certificate, key=key))


def settings(port: int, **more: object) -> AuditTrailConfig:
    return AuditTrailConfig(syslog=f"127.0.0.1:{port}", timeout_s=20, **more)


@pytest.fixture
def trail(database) -> PostgresAccessTrail:
    return PostgresAccessTrail(database)


def note(trail: PostgresAccessTrail, count: int) -> None:
    for number in range(count):
        looked(trail, "case", f"case {number}")


def noted(trail: PostgresAccessTrail) -> list[int]:
    return sorted(event.event_id for event in trail.newest(1000))


def test_while_the_repository_is_away_everything_waits_and_then_comes_once_in_order(trail, rsyslog, receiver):
    note(trail, 3)
    with pytest.raises(ReceiverUnreachable, match=r"3 events to 127\.0\.0\.1.*they wait"):
        send_waiting(trail, receiver)

    rsyslog.start()
    assert send_waiting(trail, receiver) == 3
    rsyslog.stop()
    note(trail, 4)
    with pytest.raises(ReceiverUnreachable):
        send_waiting(trail, receiver)
    note(trail, 1)
    rsyslog.start()
    assert send_waiting(trail, receiver) == 5
    assert send_waiting(trail, receiver) == 0
    rsyslog.stop()

    assert rsyslog.numbers() == noted(trail)
    lines = rsyslog.file.read_text(encoding="utf-8").splitlines()
    bodies = [ET.fromstring(line.partition("\ufeff")[2]) for line in lines]
    assert {body.tag for body in bodies} == {"AuditMessage"}


def test_many_messages_come_whole(trail, rsyslog, receiver):
    note(trail, 600)
    rsyslog.start()

    assert send_waiting(trail, receiver) == 600
    rsyslog.stop()

    assert rsyslog.numbers() == noted(trail)


@pytest.mark.parametrize("named", [False, True])
def test_a_patient_is_named_to_the_repository_only_where_the_site_says_so(trail, database, rsyslog, hospital, named):
    book, case = Moves.on(database), a_case(patient_id="SECRET-7", issuer_of_patient_id="CLINIC")
    book.open_night(case.night, "v1")
    book.record([case])
    looked_at_patient(trail, case.case_id, by="Ada", why="the ward asks")
    looked(trail, "night", str(case.night))
    rsyslog.start()
    certificate, key = hospital.issue("gtr with patients")
    given = {"ca_file": hospital.file, "certificate": certificate, "key": key, "name_patients": named}

    send_waiting(trail, SyslogReceiver(settings(rsyslog.port, **given)))
    rsyslog.stop()

    about_case, about_night = (
        ET.fromstring(line.partition("\ufeff")[2]) for line in rsyslog.file.read_text(encoding="utf-8").splitlines()
    )
    objects = {
        (one.get("ParticipantObjectTypeCode"), one.get("ParticipantObjectTypeCodeRole")): one.get("ParticipantObjectID")
        for one in about_case.iter("ParticipantObjectIdentification")
    }
    assert about_case.find("EventIdentification/EventID").get("csd-code") == "110103"
    assert objects[("2", "3")] == case.study_uid
    assert objects.get(("1", "1")) == ("SECRET-7^^^CLINIC" if named else None)
    assert ("SECRET-7" in ET.tostring(about_case, encoding="unicode")) is named
    assert "SECRET" not in ET.tostring(about_night, encoding="unicode")


def test_without_the_certificate_that_the_repository_asks_for_nothing_counts_as_sent(trail, rsyslog, hospital):
    note(trail, 2)
    rsyslog.start()
    stranger = SyslogReceiver(settings(rsyslog.port, ca_file=hospital.file))

    with pytest.raises(ReceiverUnreachable):
        send_waiting(trail, stranger)
    rsyslog.stop()

    assert rsyslog.numbers() == []


def test_a_repository_that_another_authority_signed_gets_nothing(trail, rsyslog, tmp_path):
    note(trail, 2)
    rsyslog.start()
    elsewhere = authority(tmp_path / "elsewhere")

    with pytest.raises(ReceiverUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
        send_waiting(trail, SyslogReceiver(settings(rsyslog.port, ca_file=elsewhere.file)))
    rsyslog.stop()

    assert rsyslog.numbers() == []


@pytest.fixture
def cut_off(hospital) -> Iterator[int]:
    """Port of a repository that reads a little and is killed then."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*hospital.issue("cut off"))
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            plain, _ = listening.accept()
            with context.wrap_socket(plain, server_side=True) as secure:
                secure.recv(100)
                secure.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # as the kernel does

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


def test_what_a_repository_did_not_say_it_had_read_is_sent_again(trail, rsyslog, receiver, cut_off, hospital):
    note(trail, 5)
    gone = SyslogReceiver(settings(cut_off, ca_file=hospital.file))
    with pytest.raises(ReceiverUnreachable):
        trail.send(receiver.name, gone.deliver, 100)

    rsyslog.start()
    send_waiting(trail, receiver)
    rsyslog.stop()

    assert rsyslog.numbers() == noted(trail)


def test_a_certificate_that_cannot_be_read_is_a_setting_to_mend(tmp_path):
    with pytest.raises(ConfigError, match=r"audit_trail\.ca_file"):
        SyslogReceiver(settings(6514, ca_file=tmp_path / "none.pem"))
