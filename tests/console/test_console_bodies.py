"""What a stranger may send: the console as uvicorn serves it, over a socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
import uvicorn

from gtr_console.protection import AT_ONCE, LARGEST_BODY

PATH = "/gtr/cases/0/words"
FORM = "content-type: application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def connect(app_of) -> Iterator[Callable[[], socket.socket]]:
    """A function that connects to the console of a site that nobody has to open."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app_of(lambda: None, prefix=""), log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    yield lambda: socket.create_connection(listening.getsockname(), timeout=120)
    server.should_exit = True
    thread.join()


def head(method: str, *lines: str, path: str = PATH) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: airflow.example", *lines, "", ""]).encode()


def status(connection: socket.socket) -> int:
    with connection.makefile("rb") as answer:
        return int(answer.readline().split()[1])


@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
def test_a_request_that_says_it_is_too_large_is_refused_unread(connect, method):
    for stated in (LARGEST_BODY + 1, 10**12):
        with closing(connect()) as connection:
            connection.sendall(head(method, FORM, f"content-length: {stated}"))

            assert status(connection) == 413


@pytest.mark.parametrize("kind", [FORM, "content-type: multipart/form-data; boundary=x"])
def test_a_body_without_a_length_is_refused_as_soon_as_it_is_too_large(connect, kind):
    begin = b'--x\r\ncontent-disposition: form-data; name="why"; filename="x"\r\n\r\n'
    body = begin + b"a" * (LARGEST_BODY + 1 - len(begin))
    with closing(connect()) as connection:
        connection.sendall(head("POST", kind, "transfer-encoding: chunked"))
        connection.sendall(f"{len(body):x}\r\n".encode() + body + b"\r\n")  # and it goes on

        assert status(connection) == 413


def test_the_largest_form_is_read_and_its_sender_is_asked_who_they_are(connect):
    body = b"why=" + b"a" * (LARGEST_BODY - 4)
    with closing(connect()) as connection:
        connection.sendall(head("POST", FORM, f"content-length: {len(body)}") + body)

        assert status(connection) == 401


def test_who_sends_slowly_keeps_nobody_from_their_turn(connect):
    with ExitStack() as held:
        for _ in range(AT_ONCE):
            slow = held.enter_context(closing(connect()))
            slow.sendall(head("POST", FORM, "content-length: 100") + b"why=")
        with closing(connect()) as connection:
            connection.sendall(head("GET", path="/gtr/worklist"))

            assert status(connection) == 401
