"""A mail server and a webhook on the loopback interface that keep what they are sent, or refuse it as told."""

from __future__ import annotations

import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class MailServer(socketserver.ThreadingTCPServer):
    """SMTP (RFC 5321) with STARTTLS where it has a certificate; `answers` replaces the answer to a command."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, certificate: tuple[str, str] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.received: list[EmailMessage] = []
        self.encrypted: list[bool] = []
        self.answers: dict[str, str] = {}
        self.context: ssl.SSLContext | None = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Session(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self.over_tls = False
        try:
            self._say("220 mail.hospital.example ESMTP")
            while line := self.rfile.readline():
                verb = line.split(None, 1)[0].decode().upper() if line.strip() else ""
                if not self._answer(verb):
                    return
        except OSError:  # a client that does not trust our certificate leaves
            return

    def _answer(self, verb: str) -> bool:
        if verb in self.server.answers:
            self._say(self.server.answers[verb])
        elif verb == "EHLO":
            offers = self.server.context is not None and not self.over_tls
            self._say("250-mail.hospital.example\r\n250 STARTTLS" if offers else "250 mail.hospital.example")
        elif verb == "STARTTLS" and self.server.context is not None:
            self._say("220 go ahead")
            self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
            self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
            self.over_tls = True
        elif verb == "DATA":
            self._say("354 end with a dot")
            self.server.received.append(self._message())
            self.server.encrypted.append(self.over_tls)
            self._say("250 taken")
        elif verb == "QUIT":
            self._say("221 bye")
            return False
        else:
            self._say("250 ok")
        return True

    def _message(self) -> EmailMessage:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        found = message_from_bytes(b"".join(lines), policy=policy.default)
        assert isinstance(found, EmailMessage)
        return found

    def _say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")
        self.wfile.flush()


class Webhook(ThreadingHTTPServer):
    """Takes JSON by POST; answers with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Post)
        self.received: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        self.status = 204

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook/s3cret"


class _Post(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.status < 300:
            self.server.received.append(json.loads(body))
            self.server.tokens.append(self.headers.get("Authorization", ""))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    """Serve in a thread until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
