"""Syslog over TLS to one receiver, whose certificate is checked.

Syslog has no answer. What stands for one is the end of the connection: after the last message we say that we have ended
(close_notify), and the receiver, once it has read that, says so too or ends the connection in order. One that breaks,
or ends with bytes of ours unread, is reset. Then nothing counts as sent, and all of it is sent again; a receiver may
then see an event twice, with the same number both times.
"""

from __future__ import annotations

import fcntl
import socket
import ssl
import struct
import termios
import time
from collections.abc import Sequence

from gtr_batch.config import AuditTrailConfig
from gtr_batch.domain.access import WaitingEvent
from gtr_batch.errors import ReceiverUnreachable
from gtr_batch.syslog.message import framed, syslog_message
from gtr_batch.tls import client_context


class SyslogReceiver:
    """Port `AccessReceiver`.

    Parameters
    ----------
    config : AuditTrailConfig

    Raises
    ------
    ConfigError
        A certificate or key cannot be read.
    """

    def __init__(self, config: AuditTrailConfig) -> None:
        self._config = config
        self._context = client_context("audit_trail", config.ca_file, config.certificate, config.key)

    @property
    def name(self) -> str:
        """Host and port: what it has got is remembered by this."""
        return self._config.syslog

    def deliver(self, events: Sequence[WaitingEvent]) -> None:
        """Send all of these, and wait for the receiver's word that it has read them.

        Raises
        ------
        ReceiverUnreachable
            It does not answer, its certificate is not the one that is trusted, or it went away in the middle.
        """
        host, port = self._config.address
        here = socket.gethostname()
        source = self._config.source or f"gtr-batch@{here}"
        try:
            with (
                socket.create_connection((host, port), timeout=self._config.timeout_s) as plain,
                self._context.wrap_socket(plain, server_hostname=host) as secure,
            ):
                for event in events:
                    message = syslog_message(event, source=source, host=here, name_patients=self._config.name_patients)
                    secure.sendall(framed(message))
                _end(secure, self._config.timeout_s)
        except (OSError, ssl.SSLError) as err:
            raise ReceiverUnreachable(
                f"audit trail: {len(events)} events to {self.name} were not received ({type(err).__name__}: {err}); "
                "they wait and are sent again"
            ) from err


def _end(secure: ssl.SSLSocket, timeout_s: float) -> None:
    """Say that we have ended, and wait until the receiver has read it; OSError where it did not."""
    try:
        secure.unwrap()
    except ssl.SSLEOFError:  # RFC 5425 wants an answer; rsyslog ends the connection instead
        until = time.monotonic() + timeout_s
        while _unacknowledged(secure):
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def _unacknowledged(connection: socket.socket) -> int:
    """How many of our bytes the other machine has not acknowledged; OSError where the connection was reset."""
    waiting = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
    if error := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(error, "the connection was reset before everything was read")
    return int(waiting)
