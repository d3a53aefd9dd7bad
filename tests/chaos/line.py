"""The line between the service and its PACS: carried byte by byte, so that it can be cut, or slow for a while."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress

_PIECE = 65_536
_SLOW_PIECE, _SLOW_PAUSE_S = 256, 0.25  # 1 KB a second
_LINGER = struct.pack("ii", 1, 0)  # closed with RST, as a cut line is


class Line:
    """Listens on a port of its own and carries to `to_port`, until it is closed."""

    def __init__(self, to_port: int) -> None:
        self._to = to_port
        self._slow_until = 0.0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Cut every connection now; new ones are carried."""
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def slow_for(self, seconds: float) -> None:
        """Carry 1 KB a second, each way and connection, for a while."""
        self._slow_until = time.monotonic() + seconds

    def close(self) -> None:
        """Cut everything and listen no more."""
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._server.accept()
                try:
                    theirs = socket.create_connection(("127.0.0.1", self._to), 5)
                except OSError:
                    ours.close()
                    continue
                theirs.settimeout(None)
                with self._lock:
                    self._open |= {ours, theirs}
                for source, sink in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while True:
                slow = time.monotonic() < self._slow_until
                piece = source.recv(_SLOW_PIECE if slow else _PIECE)
                if not piece:
                    break
                if slow:
                    time.sleep(_SLOW_PAUSE_S)
                sink.sendall(piece)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open -= {source, sink}
