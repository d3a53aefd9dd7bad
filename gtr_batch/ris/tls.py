"""TLS of the messages to and from the RIS: whom we believe, and who we are."""

from __future__ import annotations

import ssl

from gtr_batch.config import RisConfig
from gtr_batch.errors import ConfigError


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
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(config.tls_ca)
        if config.tls_cert:
            context.load_cert_chain(config.tls_cert, config.tls_key, _no_password)
    except (OSError, ValueError) as err:  # ssl.SSLError is an OSError
        raise ConfigError(
            f"ris.tls_ca, ris.tls_cert or ris.tls_key: {type(err).__name__}; PEM files that this service can read, the "
            "key without a passphrase and of this certificate"
        ) from None
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")
