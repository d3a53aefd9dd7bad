"""PEM files of a TLS connection: whom we believe, who we are, and who was revoked; one reader for all connections."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from gtr_batch.errors import ConfigError


class PemFile(NamedTuple):
    """A file, and the setting that names it."""

    setting: str
    path: str | Path


def load_pem_files(
    context: ssl.SSLContext,
    *,
    trusted: PemFile | None = None,
    certificate: PemFile | None = None,
    key: PemFile | None = None,
    revoked: PemFile | None = None,
) -> None:
    """Load a connection's files; TLS 1.2 is the least that is spoken.

    Parameters
    ----------
    context : ssl.SSLContext
    trusted : PemFile, optional
        Certificates of those who sign whom we believe.
    certificate, key : PemFile, optional
        Ours; without `key` it stands in the certificate's file.
    revoked : PemFile, optional
        A revocation list; with it the other end's own certificate is looked up there.

    Raises
    ------
    ConfigError
        A file is absent, is of another kind, or its key has a passphrase: nobody is there at night to type one.
    """
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if trusted is not None:
        _load(trusted, lambda: context.load_verify_locations(trusted.path))
    if certificate is not None:
        path = key.path if key is not None else None
        _load(certificate, lambda: context.load_cert_chain(certificate.path, path, _no_passphrase), key)
    if revoked is not None:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        _load(revoked, lambda: context.load_verify_locations(revoked.path))


def client_context(section: str, ca_file: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """TLS of a connection that we open to a named host.

    Parameters
    ----------
    section : str
        Of the settings that name the files.
    ca_file, certificate, key : Path or None
        Without `ca_file`, who signs for this machine is believed.

    Raises
    ------
    ConfigError
        As `load_pem_files`.
    """
    given = {"ca_file": ca_file, "certificate": certificate, "key": key}
    found = {name: PemFile(f"{section}.{name}", path) for name, path in given.items() if path is not None}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if "ca_file" in found else ssl.create_default_context()
    load_pem_files(context, trusted=found.get("ca_file"), certificate=found.get("certificate"), key=found.get("key"))
    return context


class _Encrypted(ValueError):
    """A key wants a passphrase."""


def _no_passphrase() -> str:
    """Asked by OpenSSL, which without this would wait at the terminal."""
    raise _Encrypted


def _load(file: PemFile, load: Callable[[], None], key: PemFile | None = None) -> None:
    named = " or ".join(f"{one.setting} = {str(one.path)!r}" for one in (file, key) if one is not None)
    try:
        load()
    except _Encrypted:
        said = "the key is encrypted; give a file without a passphrase that only the service can read"
    except (FileNotFoundError, PermissionError) as err:
        said = str(err.strerror)
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        said = "no PEM file of that kind, or its key does not belong to it"
    else:
        return
    raise ConfigError(f"{named}: {said}")
