"""A FHIR server that results are sent to: one transaction a message, by POST to its base URL."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

import httpx

from gtr_batch.config import FhirConfig
from gtr_batch.domain.result_message import AnswerKind, Channel, ReceiverAnswer, ResultMessage
from gtr_batch.errors import ReceiverUnreachable
from gtr_batch.fhir.resources import bundle_of
from gtr_batch.tls import client_context

#: What the same transaction would get again: it is not understood, or what it is about is gone or contradicts.
REFUSED = (400, 404, 405, 409, 410, 412, 413, 415, 422)
LONGEST_ANSWER = 1 << 20  # bytes


class FhirServer:
    """Port `ResultReceiver` by HTTP.

    Parameters
    ----------
    config : FhirConfig
    timezone : str
        Of the hospital.

    Raises
    ------
    ConfigError
        A certificate or key cannot be read.
    """

    channel = Channel.FHIR

    def __init__(self, config: FhirConfig, timezone: str) -> None:
        self._config, self._timezone = config, timezone
        self._tls = client_context("fhir", config.ca_file, config.certificate, config.key)
        self._client: httpx.Client | None = None
        self.lease_s = 4 * config.timeout_s + 30

    def connect(self) -> None:
        """Whether the server takes a connection; raises `ReceiverUnreachable`."""
        if self._client is not None:
            return
        url = urlsplit(self._config.url)
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            socket.create_connection((url.hostname or "", port), timeout=self._config.timeout_s).close()
        except OSError as err:
            raise ReceiverUnreachable(
                f"the FHIR server (fhir.url) takes no connection ({type(err).__name__}); nothing was sent, what waits "
                "is sent later"
            ) from None
        headers = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
        if self._config.token:
            headers["Authorization"] = f"Bearer {self._config.token}"
        self._client = httpx.Client(
            headers=headers, timeout=self._config.timeout_s, follow_redirects=False, verify=self._tls, trust_env=False
        )

    def send(self, message: ResultMessage) -> ReceiverAnswer:
        """Send one transaction and wait for its answer; raises as the port says."""
        body = bundle_of(message, self._config, self._timezone)
        self.connect()
        assert self._client is not None  # connected
        try:
            with self._client.stream("POST", self._config.url, content=body.encode("utf-8")) as answer:
                return _meaning(answer, time.monotonic() + self._config.timeout_s)
        except (httpx.HTTPError, httpx.InvalidURL) as err:
            self.close()
            return ReceiverAnswer(AnswerKind.NOT_NOW, type(err).__name__)  # not its text: it quotes the URL

    def close(self) -> None:
        """End the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _meaning(answer: httpx.Response, until: float) -> ReceiverAnswer:
    """What a status means; success counts where a FHIR server says it, and not a page of a proxy."""
    code = f"HTTP {answer.status_code}"
    if answer.status_code in REFUSED:
        return ReceiverAnswer(AnswerKind.REFUSED, code)
    if not answer.is_success:
        return ReceiverAnswer(AnswerKind.NOT_NOW, code)
    got = b""
    for part in answer.iter_bytes():
        got += part
        if len(got) > LONGEST_ANSWER or time.monotonic() > until:
            return ReceiverAnswer(AnswerKind.NOT_NOW, f"{code}, the answer is too long")
    if _is_transaction_response(got):
        return ReceiverAnswer(AnswerKind.ACCEPTED, code)
    return ReceiverAnswer(AnswerKind.NOT_NOW, f"{code}, no answer of a FHIR server to a transaction")


def _is_transaction_response(body: bytes) -> bool:
    from fhir.resources.R4B.bundle import Bundle
    from pydantic import ValidationError

    try:
        return bool(Bundle.model_validate_json(body).type == "transaction-response")
    except (ValidationError, ValueError):
        return False
