"""Receivers of HL7 on free ports of this machine: two that are not ours, and one that answers as a test says."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import hl7
from hl7.mllp import start_hl7_server
from hl7apy.mllp import AbstractHandler, MLLPServer

START, END = b"\x0b", b"\x1c\r"


@contextmanager
def asyncio_receiver(received: list[str], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The MLLP server of the package `hl7`, which acknowledges everything; yields its port."""
    loop = asyncio.new_event_loop()

    async def serve(reader, writer) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                message = await reader.readmessage()
                received.append(str(message))
                writer.writemessage(message.create_ack())
                await writer.drain()
        writer.close()

    async def start():
        return await start_hl7_server(serve, "127.0.0.1", 0, encoding="utf-8", ssl=tls)

    server = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Acknowledge(AbstractHandler):
    def __init__(self, message: str, received: list[str]) -> None:
        super().__init__(message)
        self._received = received

    def reply(self) -> str:
        self._received.append(self.incoming_message)
        return f"\x0b{hl7.parse(self.incoming_message).create_ack()}\x1c\r"


@contextmanager
def threaded_receiver(received: list[str], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The MLLP server of the package `hl7apy`, which ends the connection after each message; yields its port."""
    server = MLLPServer("127.0.0.1", 0, {"ORU^R01^ORU_R01": (_Acknowledge, received)})
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ack(code: str, control_id: str, error: str = "") -> bytes:
    """An acknowledgement in its frame."""
    text = f"MSH|^~\\&|RIS|H|GTRBATCH||20260301||ACK^R01^ACK|1|P|2.5.1\rMSA|{code}|{control_id}\r"
    if error:
        text += f"ERR|||{error}^said over there^HL70357|E|||A name that nobody must see\r"
    return START + text.encode() + END


def control_id(message: str) -> str:
    """MSH-10."""
    return message.split("\r", maxsplit=1)[0].split("|")[9]


Behaviour = Callable[[socket.socket, str], None]


class ScriptedReceiver:
    """Does to each message what comes next in its script, and acknowledges once that is at its end."""

    def __init__(self, *script: Behaviour) -> None:
        self.received: list[str] = []
        self._script = list(script)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> ScriptedReceiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        got = b""
        with suppress(OSError):
            while part := connection.recv(4096):
                got += part
                while END in got:
                    frame, _, got = got.partition(END)
                    message = frame[1:].decode()
                    self.received.append(message)
                    (self._script.pop(0) if self._script else says("AA"))(connection, message)


def says(code: str, error: str = "") -> Behaviour:
    """Answers with this code."""
    return lambda connection, message: connection.sendall(ack(code, control_id(message), error))


def silent(connection: socket.socket, message: str) -> None:
    """Says nothing."""


def hangs_up(connection: socket.socket, message: str) -> None:
    """Ends the connection without an answer."""
    connection.shutdown(socket.SHUT_RDWR)


def half_closes(connection: socket.socket, message: str) -> None:
    """Says that nothing will come, and goes on reading."""
    connection.shutdown(socket.SHUT_WR)


def half_an_answer(connection: socket.socket, message: str) -> None:
    """Ends the connection inside the answer."""
    connection.sendall(ack("AA", control_id(message))[:-20])
    connection.shutdown(socket.SHUT_RDWR)


def of_another(connection: socket.socket, message: str) -> None:
    """Acknowledges a message that was not sent."""
    connection.sendall(ack("AA", "SOMETHING-ELSE"))


def no_frame(connection: socket.socket, message: str) -> None:
    """Answers, and not in MLLP."""
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n\x1c\r")


def endless(connection: socket.socket, message: str) -> None:
    """Answers, and does not end."""
    connection.sendall(START + b"x" * 200_000)
