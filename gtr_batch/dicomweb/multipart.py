"""Multipart bodies (RFC 2046, 5.1; PS3.18, 8.6.1), read as they come and never held.

Our own reader: that of Python's library holds the whole body; python-multipart, which is made for forms, takes a body
that was cut for a whole one, and refuses text before the first boundary and blanks after one (RFC 2046 allows both).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from email.message import Message

MOST_HEADERS = 16_384  # bytes before a part's data, and before the first part


class NotMultipart(ValueError):
    """A body that is none, or whose boundary cannot be."""


class EndsEarly(ValueError):
    """A body that ends before its last boundary."""


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names; `NotMultipart` where it is no multipart/related."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary("")
    if message.get_content_type() != "multipart/related" or not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise NotMultipart("the answer is no multipart/related with a boundary")
    return boundary.encode("ascii")


def parts(chunks: Iterable[bytes], boundary: bytes) -> Iterator[tuple[Mapping[str, str], Iterator[bytes]]]:
    """Headers (names in lower case) and data of each part, one after another.

    What a caller leaves of a part's data is read and dropped.

    Raises
    ------
    EndsEarly, NotMultipart
        Also while a part's data is read.
    """
    stream, delimiter = _Stream(chunks), b"\r\n--" + boundary
    stream.before(delimiter)
    while not stream.starts_with(b"--"):
        stream.before(b"\r\n")  # blanks after a boundary mean nothing
        headers = _headers(b"" if stream.skip(b"\r\n") else stream.before(b"\r\n\r\n"))
        data = stream.until(delimiter)
        yield headers, data
        for _ in data:
            pass


class _Stream:
    """Bytes as they come, with what was read too far kept for the next question."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = bytearray(b"\r\n")  # the first boundary may have no line before it

    def before(self, mark: bytes) -> bytes:
        """What comes before a mark, which is passed; at most `MOST_HEADERS` bytes."""
        while (at := self._held.find(mark)) < 0:
            if len(self._held) > MOST_HEADERS:
                break
            self._more()
        if not 0 <= at <= MOST_HEADERS:
            raise NotMultipart(f"more than {MOST_HEADERS} bytes lie where a part's headers should")
        found = bytes(self._held[:at])
        del self._held[: at + len(mark)]
        return found

    def until(self, mark: bytes) -> Iterator[bytes]:
        """What comes before a mark, in pieces; the mark is passed."""
        while (at := self._held.find(mark)) < 0:
            keep = len(mark) - 1  # the mark may have begun
            if len(self._held) > keep:
                piece = bytes(self._held[:-keep])
                del self._held[:-keep]
                yield piece
            self._more()
        piece = bytes(self._held[:at])
        del self._held[: at + len(mark)]
        if piece:
            yield piece

    def starts_with(self, mark: bytes) -> bool:
        """Whether a mark comes next; it is not passed."""
        while len(self._held) < len(mark):
            self._more()
        return self._held.startswith(mark)

    def skip(self, mark: bytes) -> bool:
        """Whether a mark comes next; it is passed then."""
        found = self.starts_with(mark)
        if found:
            del self._held[: len(mark)]
        return found

    def _more(self) -> None:
        for chunk in self._chunks:
            if chunk:
                self._held += chunk
                return
        raise EndsEarly("the answer ended before its last boundary")


def _headers(block: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in block.decode("latin-1").split("\r\n"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
