"""Takes ADT^A40 by MLLP: kept in the database, then acknowledged, and nothing else.

Whoever reaches the port may be a stranger: addresses, connections, bytes and time are limited before anything is
believed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from gtr_batch.config import RisConfig
from gtr_batch.errors import ConfigError, GtrError, InputRefused, TransientError
from gtr_batch.logs import get_logger
from gtr_batch.ports import PatientMerges
from gtr_batch.ris import adt
from gtr_batch.ris.mllp import END, START, framed
from gtr_batch.ris.tls import server_context

log = get_logger("ris")
MOST = 16  # connections at once
LONGEST = 256 * 1024  # bytes of a message
IDLE_S = 3600.0  # between two messages of a connection


class MergeListener:
    """Listens until `stop`.

    Parameters
    ----------
    config : RisConfig
    merges : PatientMerges
    applied : callable, optional
        Called in a thread of its own after each message that was kept.

    Raises
    ------
    ConfigError
        `ris.listen_port` is 0, or a certificate or key cannot be read.
    """

    def __init__(self, config: RisConfig, merges: PatientMerges, applied: Callable[[], object] | None = None) -> None:
        if not config.listen_port:
            raise ConfigError("ris.listen_port is 0: nobody listens; see docs/ris.md")
        self._config, self._merges, self._applied = config, merges, applied
        self._tls: ssl.SSLContext | None = server_context(config)
        self._networks = [ipaddress.ip_network(peer, strict=False) for peer in config.listen_peers]
        self._database = ThreadPoolExecutor(1, "merges")  # one message at a time, as they came
        self._worker = ThreadPoolExecutor(1, "apply-merges")
        self._waits_to_apply = False
        self._open: set[asyncio.StreamWriter] = set()
        self._stopped = asyncio.Event()

    async def run(self, ready: Callable[[], object] | None = None) -> None:
        """Listen; `ready` is called once the port is open.

        Raises
        ------
        ConfigError
            The port cannot be opened.
        """
        config = self._config
        try:
            server = await asyncio.start_server(
                self._serve,
                config.listen_host,
                config.listen_port,
                limit=LONGEST,
                ssl=self._tls,
                ssl_handshake_timeout=config.listen_timeout_s if self._tls else None,
            )
        except OSError as err:
            raise ConfigError(
                f"ris.listen_host, ris.listen_port: the port cannot be opened ({type(err).__name__})"
            ) from None
        async with server:
            log.info("ris.listening", port=config.listen_port)
            if ready is not None:
                ready()
            await self._stopped.wait()
            server.close()
            for writer in list(self._open):
                writer.close()
        self._database.shutdown()
        self._worker.shutdown()

    def stop(self) -> None:
        """End; what was kept and not yet acknowledged is acknowledged when it comes again."""
        self._stopped.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = str(writer.get_extra_info("peername")[0])
        self._open.add(writer)
        try:
            if not self._may_connect(peer):
                log.warning("ris.listener.stranger", address=peer)
            elif len(self._open) > MOST:
                log.warning("ris.listener.cut", address=peer, reason=f"more than {MOST} connections")
            else:
                while not self._stopped.is_set() and await self._one(reader, writer, peer):
                    pass
        except (TimeoutError, OSError, EOFError, asyncio.LimitOverrunError) as err:
            log.warning("ris.listener.cut", address=peer, reason=type(err).__name__)
        finally:
            self._open.discard(writer)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> bool:
        """Take one message and acknowledge it; False where the connection is over."""
        first = await asyncio.wait_for(reader.read(1), IDLE_S)
        if not first:
            return False
        if first != START:
            log.warning("ris.listener.cut", address=peer, reason="no start of a frame")
            return False
        frame = await asyncio.wait_for(reader.readuntil(END), self._config.listen_timeout_s)
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self._database, self._taken, frame.removesuffix(END), peer)
        writer.write(framed(answer))
        await asyncio.wait_for(writer.drain(), self._config.listen_timeout_s)
        return True

    def _taken(self, frame: bytes, peer: str) -> str:
        """Keep a message; its acknowledgement, which says AA only after the commit."""
        try:
            text = adt.decoded(frame)
        except adt.NotTaken as err:
            text = frame.decode("latin-1")
            return adt.acknowledgement(text, err.code, err.reason, self._config)
        try:
            message = adt.merge_message(frame, self._config)
            new = self._merges.receive(message.sender, message.control_id, message.merges, peer=peer)
        except adt.NotTaken as err:
            log.warning("merge.not_taken", address=peer, code=err.code, reason=err.reason)
            return adt.acknowledgement(text, err.code, err.reason, self._config)
        except InputRefused as err:
            log.error("merge.refused", address=peer, reason=str(err))
            return adt.acknowledgement(text, adt.ERROR, adt.DUPLICATE, self._config)
        except TransientError as err:
            log.error("merge.not_kept", address=peer, error=type(err).__name__)
            return adt.acknowledgement(text, adt.REJECTED, adt.INTERNAL, self._config)
        except GtrError as err:
            log.error("merge.not_kept", address=peer, error=type(err).__name__)
            return adt.acknowledgement(text, adt.ERROR, adt.INTERNAL, self._config)
        log.info("merge.kept", address=peer, merges=len(message.merges), new=new)
        self._apply_soon()
        return adt.acknowledgement(text, adt.ACCEPTED, "", self._config)

    def _apply_soon(self) -> None:
        if self._applied is not None and not self._waits_to_apply:
            self._waits_to_apply = True
            self._worker.submit(self._apply)

    def _apply(self) -> None:
        self._waits_to_apply = False
        assert self._applied is not None  # asked before
        try:
            self._applied()
        except GtrError as err:  # housekeeping does it again
            log.error("merges.not_applied", error=str(err))

    def _may_connect(self, peer: str) -> bool:
        address = ipaddress.ip_address(peer.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks)
