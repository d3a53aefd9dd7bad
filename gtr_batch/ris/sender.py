"""Results to the RIS, one message after another over one connection, each answered before the next."""

from __future__ import annotations

import socket

from gtr_batch.config import RisConfig
from gtr_batch.domain.result_message import AnswerKind, Channel, ReceiverAnswer, ResultMessage
from gtr_batch.ris import mllp
from gtr_batch.ris.hl7 import acknowledged, result_message
from gtr_batch.ris.tls import client_context


class RisReceiver:
    """Port `ResultReceiver` by MLLP.

    Parameters
    ----------
    config : RisConfig
    timezone : str
        Of the hospital.

    Raises
    ------
    ConfigError
        A certificate or key cannot be read.
    """

    channel = Channel.HL7

    def __init__(self, config: RisConfig, timezone: str) -> None:
        self._config, self._timezone, self._tls = config, timezone, client_context(config)
        self._connection: socket.socket | None = None
        self.lease_s = 2 * (config.connect_timeout_s + config.answer_timeout_s) + 30

    def connect(self) -> None:
        """Connect where there is no connection any more; raises `ReceiverUnreachable`."""
        if self._connection is not None and mllp.is_open(self._connection):
            return
        self.close()
        config = self._config
        try:
            plain = socket.create_connection((config.host, config.port), timeout=config.connect_timeout_s)
            try:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connection = (
                    plain if self._tls is None else self._tls.wrap_socket(plain, server_hostname=config.host)
                )
            except BaseException:
                plain.close()
                raise
        except OSError as err:
            raise mllp.unreachable("the RIS (ris.host, ris.port)", err) from None

    def send(self, message: ResultMessage) -> ReceiverAnswer:
        """Send one message and wait for its acknowledgement; raises as the port says."""
        text = result_message(message, self._config, self._timezone)
        self.connect()
        assert self._connection is not None  # connected
        try:
            answer = acknowledged(
                mllp.exchange(self._connection, text, self._config.answer_timeout_s), message.control_id
            )
        except mllp.FrameLost as err:
            self.close()
            return ReceiverAnswer(AnswerKind.NOT_NOW, str(err))
        if answer.kind is AnswerKind.NOT_NOW:
            self.close()  # what comes late on this connection must not be taken for the next answer
        return answer

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            mllp.end(self._connection)
            self._connection = None
