"""PEM files of every TLS connection: a file that cannot be used is named at once, and nobody waits for a passphrase."""

from __future__ import annotations

import os
import pty
import ssl
from pathlib import Path

import attrs
import pytest
from cryptography.hazmat.primitives import serialization

from gtr_batch.config import AuditTrailConfig, DicomwebConfig, FhirConfig, PacsConfig, RisConfig
from gtr_batch.dicomweb.client import Server
from gtr_batch.errors import ConfigError
from gtr_batch.fhir.server import FhirServer
from gtr_batch.pacs import tls as pacs_tls
from gtr_batch.ris import tls as ris_tls
from gtr_batch.syslog.sender import SyslogReceiver
from tests.certificates import Authority

CONNECTIONS = ("pacs, to it", "pacs, from it", "ris, to it", "ris, from it", "fhir", "dicomweb", "audit_trail")


@pytest.fixture
def files(tmp_path):
    """Whom we believe, our certificate, its key."""
    authority = Authority(tmp_path, "hospital")
    return (authority.ca, *authority.issue("us"))


def connect(which: str, ca: str, certificate: str, key: str) -> object:
    section = which.partition(",")[0]
    if section in ("pacs", "ris"):
        config = {"pacs": PacsConfig, "ris": RisConfig}[section]()
        config = attrs.evolve(config, tls_ca=ca, tls_cert=certificate, tls_key=key)
        made = {"pacs": pacs_tls, "ris": ris_tls}[section]
        return made.client_context(config) if which.endswith("to it") else made.server_context(config)
    names = {"ca_file": ca, "certificate": certificate, "key": key}
    if section == "fhir":
        return FhirServer(FhirConfig(url="https://127.0.0.1/fhir", **names), "UTC")
    if section == "dicomweb":
        return Server(DicomwebConfig(url="https://127.0.0.1/dicom-web", **names))
    return SyslogReceiver(AuditTrailConfig(syslog="127.0.0.1:6514", **names))


@pytest.mark.parametrize("which", CONNECTIONS)
def test_files_that_belong_together_are_taken(which, files):
    assert connect(which, *files)


@pytest.mark.parametrize("which", CONNECTIONS)
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (0, "No such file or directory"),
        (1, "No such file or directory"),
        ("key of another", "its key does not belong to it"),
        ("text", "no PEM file of that kind"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_setting(which, files, tmp_path, spoil, says):
    given = list(files)
    if spoil == "key of another":
        given[2] = Authority(tmp_path / "other", "other").issue("other")[1]
    elif spoil == "text":
        Path(given[0]).write_text("nothing")
    else:
        given[spoil] = str(tmp_path / "absent.pem")

    with pytest.raises(ConfigError, match=rf"{which.partition(',')[0]}\.[a-z_]+ = .*: .*{says}"):
        connect(which, *given)


@pytest.mark.parametrize("which", CONNECTIONS)
def test_a_key_with_a_passphrase_is_refused_and_not_asked_for_at_a_terminal(which, files):
    """In a process that has one: OpenSSL would wait there."""
    key = serialization.load_pem_private_key(Path(files[2]).read_bytes(), None)
    Path(files[2]).write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"a passphrase"),
        )
    )
    child, terminal = pty.fork()
    if child == 0:
        try:
            connect(which, *files)
        except ConfigError as err:
            os._exit(7 if "without a passphrase" in str(err) else 8)
        os._exit(9)
    os.write(terminal, b"a passphrase\n")  # who types it gets no further either
    _, status = os.waitpid(child, 0)
    os.close(terminal)

    assert os.waitstatus_to_exitcode(status) == 7


@pytest.mark.parametrize("which", ["pacs, to it", "pacs, from it", "ris, to it", "ris, from it"])
def test_tls_1_2_is_the_least(which, files):
    assert connect(which, *files).minimum_version == ssl.TLSVersion.TLSv1_2
