"""One DICOMweb server by HTTP: who we are, whom we believe, how long we wait, and what a status means.

No redirect is followed, no proxy of the environment used, nothing inflated. No message and no log holds an address with
its query, nor a word of what the server wrote: it may quote a header.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any

import httpx

from gtr_batch.config import DicomwebConfig
from gtr_batch.errors import AssociationLost, ConfigError, GtrError, PacsBusy, PacsUnreachable, PermanentError
from gtr_batch.tls import client_context

LATER = (408, 425, 429, 500, 502, 503, 504, 507)  # the same request may be answered another time
_CUT = (httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError)
#: Every error of the library, from the special to the general; a test fails on one that is missing.
FAULTS: tuple[tuple[type[Exception], type[GtrError], str], ...] = (
    (httpx.ConnectTimeout, PacsUnreachable, "no connection in time; tried again later"),
    (httpx.ConnectError, PacsUnreachable, "no connection; tried again later"),
    (httpx.TimeoutException, AssociationLost, "no byte for too long (dicomweb.timeout_s); tried again later"),
    (httpx.NetworkError, AssociationLost, "the connection was cut; tried again later"),
    (httpx.RemoteProtocolError, AssociationLost, "the answer ended too early or is no HTTP; tried again later"),
    (httpx.TransportError, PermanentError, "cannot be sent; check dicomweb.url; not retried"),
    (httpx.HTTPError, PermanentError, "no answer that can be used; not retried"),
    (httpx.InvalidURL, PermanentError, "dicomweb.url is no address; not retried"),
    (httpx.CookieConflict, PermanentError, "no answer that can be used; not retried"),
    (httpx.StreamError, PermanentError, "no answer that can be used; not retried"),
)


class _Line:
    """The connections of one thread, which sends one request after another; `cut` ends what is under way."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._stream: Any = None  # of the newest connection
        self._ended = False

    def ask(
        self,
        method: str,
        address: str,
        headers: Mapping[str, str],
        *,
        query: Sequence[tuple[str, str]] = (),
        content: Iterable[bytes] | None = None,
    ) -> AbstractContextManager[httpx.Response]:
        """One request."""
        extensions = {"trace": self._note}
        return self._client.stream(
            method, address, params=list(query), headers=dict(headers), content=content, extensions=extensions
        )

    def begin(self) -> None:
        """Another request begins: what was cut before it does not count."""
        self._ended = False

    def cut(self) -> None:
        """From another thread: end the connection, so that whoever reads or writes hears of it at once."""
        self._ended = True
        with suppress(OSError, AttributeError):  # none is open
            socket.socket.shutdown(self._stream.get_extra_info("socket"), socket.SHUT_RDWR)

    def _note(self, event: str, info: Mapping[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._stream = info["return_value"]
            if self._ended:  # while it was being opened
                self.cut()


class _Limit:
    """The longest life of one request: a server that gives a byte now and then is never silent."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.passed = False

    @contextmanager
    def watching(self, line: _Line) -> Iterator[None]:
        """Cut the line when the time is over."""
        line.begin()
        timer = threading.Timer(self._seconds, self._pass, [line])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _pass(self, line: _Line) -> None:
        self.passed = True
        line.cut()


class Server:
    """Sends requests to ``dicomweb.url``.

    Within `connected` the requests of a thread share connections; outside, each has one of its own.

    Raises
    ------
    ConfigError
        A certificate or key cannot be read.
    """

    def __init__(self, config: DicomwebConfig) -> None:
        self.config = config
        self.peer = config.url.rstrip("/")
        self._tls = client_context("dicomweb", config.ca_file, config.certificate, config.key)
        self._local = threading.local()

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Share connections among the requests of this thread; a block within a block shares the outer one's."""
        if self._shared() is not None:
            yield
            return
        with self._new_line() as line:
            self._local.line = line
            try:
                yield
            finally:
                self._local.line = None

    @contextmanager
    def get(
        self, path: str, tried: str, accept: str, query: Sequence[tuple[str, str]] = ()
    ) -> Iterator[httpx.Response]:
        """The answer to a GET, its body not yet read; it is asked once more where a kept connection was found dead."""
        headers = {"Accept": accept}
        with ExitStack() as stack, self._faults(tried) as limit:
            line = stack.enter_context(self._line())
            stack.enter_context(limit.watching(line))
            try:
                answer = stack.enter_context(line.ask("GET", self._address(path), headers, query=query))
            except _CUT:
                if self._shared() is None or limit.passed:
                    raise
                answer = stack.enter_context(line.ask("GET", self._address(path), headers, query=query))
            yield answer

    @contextmanager
    def post(
        self, path: str, tried: str, headers: Mapping[str, str], content: Iterable[bytes]
    ) -> Iterator[httpx.Response]:
        """The answer to a POST, its body not yet read; never sent twice."""
        with ExitStack() as stack, self._faults(tried) as limit:
            line = stack.enter_context(self._line())
            stack.enter_context(limit.watching(line))
            yield stack.enter_context(line.ask("POST", self._address(path), headers, content=content))

    def body(self, answer: httpx.Response, tried: str, most: int) -> Iterator[bytes]:
        """The bytes of an answer as they come.

        Raises
        ------
        PermanentError
            More than `most` bytes, or packed although we said that we unpack nothing.
        """
        if answer.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise PermanentError(f"{tried} at {self.peer}: the answer is packed, which was not asked for; not retried")
        got = 0
        for chunk in answer.iter_raw():
            got += len(chunk)
            if got > most:
                raise PermanentError(f"{tried} at {self.peer}: the answer is longer than {most} bytes; not retried")
            yield chunk

    def whole_body(self, answer: httpx.Response, tried: str, most: int) -> bytes:
        """All bytes of an answer; raises as `body`."""
        return b"".join(self.body(answer, tried, most))

    def refusal(self, tried: str, status: int) -> GtrError:
        """What a status other than success means."""
        said = f"{tried} at {self.peer}: HTTP {status}"
        if 300 <= status < 400:
            return ConfigError(f"{said}, a redirect, which is not followed; set dicomweb.url to where the service is")
        if status in (401, 403, 407):
            return ConfigError(
                f"{said}; check dicomweb.token, or user and password, our certificate, and our rights in the PACS"
            )
        if status in LATER:
            return PacsBusy(f"{said}; tried again later")
        return PermanentError(f"{said}; not retried")

    def _address(self, path: str) -> str:
        return f"{self.peer}/{path}"

    @contextmanager
    def _faults(self, tried: str) -> Iterator[_Limit]:
        limit = _Limit(self.config.request_limit_s)
        try:
            yield limit
        except (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict, httpx.StreamError) as err:
            if limit.passed:
                raise self._too_long(tried) from None
            raise self._fault(err, tried) from None  # its text and its request may quote the address
        if limit.passed:  # of an answer without a length, the cut looks like its end
            raise self._too_long(tried)

    def _too_long(self, tried: str) -> AssociationLost:
        return AssociationLost(
            f"{tried} at {self.peer}: not at its end after {self.config.request_limit_s:g} s "
            "(dicomweb.request_limit_s); tried again later"
        )

    def _fault(self, err: Exception, tried: str) -> GtrError:
        said = f"{tried} at {self.peer}"
        if (failed := _tls_error(err)) is not None:
            return _tls_fault(said, failed)
        kind, meaning = next((ours, words) for theirs, ours, words in FAULTS if isinstance(err, theirs))
        return kind(f"{said}: {meaning} ({type(err).__name__})")

    def _shared(self) -> _Line | None:
        line: _Line | None = getattr(self._local, "line", None)
        return line

    @contextmanager
    def _line(self) -> Iterator[_Line]:
        shared = self._shared()
        if shared is not None:
            yield shared
            return
        with self._new_line() as line:
            yield line

    @contextmanager
    def _new_line(self) -> Iterator[_Line]:
        with self._new_client() as client:
            yield _Line(client)

    def _new_client(self) -> httpx.Client:
        config = self.config
        headers = {"Accept-Encoding": "identity", "User-Agent": "gtr-batch"}
        if config.token:
            headers["Authorization"] = f"Bearer {config.token}"
        return httpx.Client(
            headers=headers,
            auth=httpx.BasicAuth(config.user, config.password) if config.user else None,
            timeout=httpx.Timeout(config.timeout_s, connect=config.connect_timeout_s),
            follow_redirects=False,
            verify=self._tls,
            trust_env=False,
        )


def media_type(answer: httpx.Response) -> str:
    """The media type of an answer, without its parameters."""
    return str(answer.headers.get("Content-Type", "")).partition(";")[0].strip().lower()


def _tls_error(err: BaseException | None) -> ssl.SSLError | None:
    """The TLS error beneath an error of the library, if one is there."""
    for _ in range(8):
        if err is None or isinstance(err, ssl.SSLError):
            return err
        err = err.__cause__ or err.__context__
    return None


def _tls_fault(said: str, failed: ssl.SSLError) -> GtrError:
    if isinstance(failed, ssl.SSLCertVerificationError):
        return ConfigError(
            f"{said}: the server's certificate is not accepted ({failed.verify_message}); check it against "
            "dicomweb.ca_file and the name in dicomweb.url"
        )
    if isinstance(failed, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return AssociationLost(f"{said}: the TLS connection was cut; tried again later")
    return ConfigError(
        f"{said}: no TLS ({failed.reason or 'handshake failed'}); check dicomweb.url, and whether the server wants "
        "another dicomweb.certificate"
    )
