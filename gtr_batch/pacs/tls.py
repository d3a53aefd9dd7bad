"""TLS of both directions (PS3.15, B.12): who we are, whom we believe, and what a failed handshake means.

Both ends show a certificate. `pacs.tls_ca` signs those that we believe, `pacs.tls_cert` and `pacs.tls_key` are ours,
`pacs.tls_crl` (where the site has one) names those that were revoked.
"""

from __future__ import annotations

import ssl

from gtr_batch.config import PacsConfig
from gtr_batch.errors import ConfigError, GtrError, PacsUnreachable
from gtr_batch.tls import PemFile, load_pem_files

_ALERTS_ABOUT_US = (
    "CERTIFICATE_REQUIRED",
    "BAD_CERTIFICATE",
    "UNKNOWN_CA",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REVOKED",
)


class _Socket(ssl.SSLSocket):
    """Keeps the error of a failed handshake, which pynetdicom only logs."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError as err:
            if isinstance(self.context, ClientContext):
                self.context.failed = err
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except ssl.SSLError as err:  # with TLS 1.3 the other end's refusal of our certificate comes after the handshake
            if isinstance(self.context, ClientContext):
                self.context.failed = err
            raise


class ClientContext(ssl.SSLContext):
    """TLS for one association that we open; `failed` is what ended its handshake."""

    sslsocket_class = _Socket
    failed: OSError | None = None


def client_context(config: PacsConfig) -> ClientContext | None:
    """TLS for an association to the PACS, whose certificate must name ``pacs.host``; None where TLS is off.

    Raises
    ------
    ConfigError
        A file of the settings is absent or is no certificate, key or revocation list.
    """
    if not config.tls_ca:
        return None
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    _load(context, config)
    return context


def server_context(config: PacsConfig) -> ssl.SSLContext | None:
    """TLS for the associations of the PACS to us, which must show a certificate too; None where TLS is off.

    Raises
    ------
    ConfigError
        As `client_context`.
    """
    if not config.tls_ca:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    _load(context, config)
    return context


def handshake_error(tried: str, failed: OSError) -> GtrError:
    """What a failed handshake means: a setting or a certificate to mend, or a connection that was lost."""
    if isinstance(failed, ssl.SSLCertVerificationError):
        return ConfigError(
            f"{tried}: the PACS's certificate is not accepted ({failed.verify_message}); check it against pacs.tls_ca, "
            "pacs.tls_crl and the name in pacs.host"
        )
    reason = str(getattr(failed, "reason", "") or "")
    if any(alert in reason for alert in _ALERTS_ABOUT_US):
        return ConfigError(
            f"{tried}: the PACS does not accept our certificate ({reason}); have pacs.tls_cert signed by a CA that it "
            "knows, or renewed"
        )
    if isinstance(failed, ssl.SSLError):
        return ConfigError(f"{tried}: no TLS ({reason or 'handshake failed'}); is pacs.port the PACS's TLS port?")
    return PacsUnreachable(f"{tried}: the TLS handshake was cut; tried again later")


def _load(context: ssl.SSLContext, config: PacsConfig) -> None:
    load_pem_files(
        context,
        trusted=PemFile("pacs.tls_ca", config.tls_ca),
        certificate=PemFile("pacs.tls_cert", config.tls_cert),
        key=PemFile("pacs.tls_key", config.tls_key),
        revoked=PemFile("pacs.tls_crl", config.tls_crl) if config.tls_crl else None,
    )
