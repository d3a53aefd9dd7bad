"""PostgreSQL for many short requests at once: a few connections that they share, and none waits long for one."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import psycopg2.extensions

from gtr_batch.config import DatabaseConfig
from gtr_batch.db.connection import Database, Transaction, connect, is_alive, transaction_on
from gtr_batch.db.faults import translate
from gtr_batch.errors import DatabaseBusy


class PooledDatabase(Database):
    """`Database` with at most `connections` connections, whichever thread asks.

    Parameters
    ----------
    config : DatabaseConfig
    connections : int
        At once. One that is given back is used again.
    wait_s : float
        For one to be given back; then the request is told that the database is busy.
    trusted_s : float
        For how long after its last use a connection is taken without asking the server, where nothing has come in on
        it: a server that ends says so. A page is ten statements, and each would ask.
    """

    def __init__(self, config: DatabaseConfig, connections: int, wait_s: float = 2.0, trusted_s: float = 5.0) -> None:
        super().__init__(config)
        self._free = threading.BoundedSemaphore(connections)
        self._wait_s, self._trusted_s = wait_s, trusted_s
        self._lock = threading.Lock()
        self._idle: list[tuple[psycopg2.extensions.connection, float]] = []  # with the time of their last use

    @contextmanager
    def transaction(self, doing: str = "database") -> Iterator[Transaction]:
        """As `Database.transaction`; raises `DatabaseBusy` too where all connections are in use for `wait_s`."""
        if not self._free.acquire(timeout=self._wait_s):
            raise DatabaseBusy(f"{doing}: every connection of the console is in use; try again in a moment")
        try:
            connection = self._taken(doing)
            intact = False
            try:
                with transaction_on(connection, doing) as transaction:
                    yield transaction
                intact = True
            except psycopg2.Error as err:
                raise translate(err, doing) from None
            finally:
                if intact:
                    with self._lock:
                        self._idle.append((connection, time.monotonic()))
                else:
                    connection.close()  # whatever state it is in, the next transaction gets a new one
        finally:
            self._free.release()

    def close(self) -> None:
        """Close the connections that nobody uses at the moment."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    def _taken(self, doing: str) -> psycopg2.extensions.connection:
        while True:
            with self._lock:
                idle = self._idle.pop() if self._idle else None
            if idle is None:
                return connect(self._config, self._config.dsn, doing)
            connection, used_at = idle
            trusted = time.monotonic() - used_at < self._trusted_s and not _has_news(connection)
            if not connection.closed and (trusted or is_alive(connection)):
                return connection
            connection.close()


def _has_news(connection: psycopg2.extensions.connection) -> bool:
    """Whether anything came in on an idle connection: the server's farewell, or that its end was closed."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))
