"""Frames of MLLP: a message between a start block and an end block (HL7 v2.5.1 Implementation Guide, Appendix C)."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

from gtr_batch.errors import ReceiverUnreachable

START, END = b"\x0b", b"\x1c\x0d"
LONGEST_ANSWER = 1 << 16  # bytes


class FrameLost(Exception):
    """No whole frame came: what was sent may have been received. Says why, in words of ours."""


def framed(text: str) -> bytes:
    """A message in its frame, in UTF-8."""
    return START + text.encode("utf-8") + END


def exchange(connection: socket.socket, text: str, timeout_s: float) -> str:
    """Send a message and read the frame that answers it, all within the time.

    Raises
    ------
    FrameLost
        Nothing, less than a frame, or too much came; or it was not sent whole.
    """
    until = time.monotonic() + timeout_s
    try:
        connection.settimeout(timeout_s)
        connection.sendall(framed(text))
        return _frame(connection, until)
    except TimeoutError:
        raise FrameLost("no answer in time") from None
    except OSError as err:
        raise FrameLost(f"connection lost ({type(err).__name__})") from None


def _frame(connection: socket.socket, until: float) -> str:
    got = b""
    while END not in got:
        left = until - time.monotonic()
        if left <= 0:
            raise FrameLost("no answer in time")
        connection.settimeout(left)
        part = connection.recv(4096)
        if not part:
            raise FrameLost("connection ended without an answer" if not got else "connection ended inside the answer")
        got += part
        if len(got) > LONGEST_ANSWER:
            raise FrameLost("the answer is too long")
    frame, _, rest = got.partition(END)
    if not frame.startswith(START) or rest:
        raise FrameLost("the answer is no frame of MLLP")
    return frame[1:].decode("utf-8", "replace")


def is_open(connection: socket.socket) -> bool:
    """Whether the other side still listens on an idle connection, and has said nothing that nobody asked for."""
    try:
        connection.settimeout(0)
        connection.recv(1)
    except (BlockingIOError, InterruptedError):
        return True
    except OSError as err:
        return type(err).__name__ == "SSLWantReadError"
    return False


def end(connection: socket.socket) -> None:
    """Close a connection, whatever it is in."""
    with suppress(OSError):
        connection.close()


def unreachable(what: str, err: OSError) -> ReceiverUnreachable:
    """No connection: nothing was sent."""
    reason = getattr(err, "verify_message", None) or getattr(err, "reason", None) or type(err).__name__
    return ReceiverUnreachable(f"{what} takes no connection ({reason}); nothing was sent, what waits is sent later")
