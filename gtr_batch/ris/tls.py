"""TLS of the messages to and from the RIS: whom we believe, and who we are."""

from __future__ import annotations

import ssl

from gtr_batch.config import RisConfig
from gtr_batch.tls import PemFile, load_pem_files


def client_context(config: RisConfig) -> ssl.SSLContext | None:
    """TLS to the RIS, whose certificate must name ``ris.host``; None where TLS is off.

    Raises
    ------
    ConfigError
        A file of the settings is absent or is no certificate or key.
    """
    return _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), config) if config.tls_ca else None


def server_context(config: RisConfig) -> ssl.SSLContext | None:
    """TLS for those who connect to us, who must show a certificate; None and errors as `client_context`."""
    if not config.tls_ca:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, config)


def _loaded(context: ssl.SSLContext, config: RisConfig) -> ssl.SSLContext:
    load_pem_files(
        context,
        trusted=PemFile("ris.tls_ca", config.tls_ca),
        certificate=PemFile("ris.tls_cert", config.tls_cert) if config.tls_cert else None,
        key=PemFile("ris.tls_key", config.tls_key) if config.tls_key else None,
    )
    return context
