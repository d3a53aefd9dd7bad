"""Connections to PostgreSQL: one a process and thread, opened when first needed, opened anew when lost."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any, TextIO

import attrs
import psycopg2
import psycopg2.extensions
import psycopg2.extras
from psycopg2.sql import Composable

from gtr_batch.config import DatabaseConfig
from gtr_batch.db import queries
from gtr_batch.db.faults import translate
from gtr_batch.db.queries import Query
from gtr_batch.db.session import check_encrypted, keep_out_of_the_log
from gtr_batch.errors import ConfigError, DatabaseBusy, GtrError
from gtr_batch.operating_system import operating_system_user

# A network that swallows packets must not hold a night: seconds until a dead peer is noticed.
_KEEPALIVE = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}


class Transaction:
    """The open transaction of `Database.transaction`: runs named queries.

    psycopg2's errors become ours at each statement and not further out: an error on its way through a ``with`` block
    stays attached to whatever replaces it, and PostgreSQL's own text may quote a row.
    """

    def __init__(self, connection: psycopg2.extensions.connection, doing: str) -> None:
        self._cursor = connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor)
        self._doing = doing

    def run(self, query: Query, **parameters: Any) -> int:
        """Run a statement; returns the number of rows it touched."""
        self._execute(query, parameters)
        return self._cursor.rowcount

    def one(self, query: Query, **parameters: Any) -> dict[str, Any] | None:
        """The first row, or None."""
        self._execute(query, parameters)
        row = self._cursor.fetchone()
        return None if row is None else dict(row)

    def all(self, query: Query, **parameters: Any) -> list[dict[str, Any]]:
        """All rows."""
        self._execute(query, parameters)
        return [dict(row) for row in self._cursor.fetchall()]

    def each(self, query: Query, **parameters: Any) -> Iterator[dict[str, Any]]:
        """All rows, a thousand at a time: of many and wide ones only what the caller keeps is in memory as objects."""
        self._execute(query, parameters)
        while rows := self._fetched(query.name):
            yield from map(dict, rows)

    def copy(self, statement: Composable, rows: TextIO) -> None:
        """COPY FROM STDIN."""
        self._guard("copy", lambda: self._cursor.copy_expert(statement, rows))

    def text_of(self, statement: Composable) -> str:
        """A composed statement with its identifiers quoted."""
        return statement.as_string(self._cursor)

    def script(self, text: str) -> None:
        """Run a file of statements without parameters."""
        self._guard("script", lambda: self._cursor.execute(text))

    def close(self) -> None:
        """Close the cursor."""
        self._cursor.close()

    def _execute(self, query: Query, parameters: Mapping[str, Any]) -> None:
        assert query.parameters == parameters.keys(), f"{query.name} wants {sorted(query.parameters)}"
        self._guard(query.name, lambda: self._cursor.execute(query.sql, parameters))

    def _fetched(self, name: str) -> list[Mapping[str, Any]]:
        rows: list[Mapping[str, Any]] = []
        self._guard(name, lambda: rows.extend(self._cursor.fetchmany(1000)))
        return rows

    def _guard(self, name: str, work: Callable[[], object]) -> None:
        refused: GtrError | None = None
        try:
            work()
        except psycopg2.Error as err:
            refused = translate(err, f"{self._doing} ({name})")
        if refused is not None:
            raise refused


@contextmanager
def transaction_on(connection: psycopg2.extensions.connection, doing: str) -> Iterator[Transaction]:
    """A transaction of this connection: committed at the end of the block, rolled back where the block raises."""
    with connection:
        transaction = Transaction(connection, doing)
        try:
            yield transaction
        finally:
            transaction.close()


class Database:
    """PostgreSQL as one role. Makes no connection before the first transaction; safe to carry through a fork.

    Parameters
    ----------
    config : DatabaseConfig
        `dsn` is the one that is used, `governor_dsn` that of `governor`.
    """

    def __init__(self, config: DatabaseConfig) -> None:
        self._config = config
        self._local = threading.local()

    @cached_property
    def governor(self) -> Database:
        """The same database as the login that may decide; this one where the settings name no other."""
        dsn = self._config.governor_dsn
        return Database(attrs.evolve(self._config, dsn=dsn, governor_dsn="")) if dsn else self

    @contextmanager
    def transaction(self, doing: str = "database") -> Iterator[Transaction]:
        """A transaction: committed at the end of the block, rolled back where the block raises.

        A connection that the server closed meanwhile (restart, time-out) is replaced before the block begins; one that
        breaks inside the block ends it, since nobody knows what the block has seen.

        Raises
        ------
        DatabaseBusy
            Down, restarting, locked, out of connections, timed out, or lost in the middle.
        ConfigError, DatabaseRefused
            Wrong login; a statement that would be refused again.
        """
        if getattr(self._local, "busy", False):
            raise RuntimeError("a transaction is open already in this thread; they do not nest")
        self._local.busy = True
        try:
            connection = self._ready(doing)
            with transaction_on(connection, doing) as transaction:
                yield transaction
        except DatabaseBusy:
            self.close()  # whatever state it is in, the next transaction gets a new one
            raise
        except psycopg2.Error as err:  # the commit, or the rollback of a connection that is gone
            self.close()
            raise translate(err, doing) from None
        finally:
            self._local.busy = False

    def close(self) -> None:
        """Close this thread's connection, where there is one, and that of the governor."""
        governor = vars(self).get("governor")  # made when first asked for
        if governor is not None and governor is not self:
            governor.close()
        connection, pid = getattr(self._local, "connection", None), getattr(self._local, "pid", None)
        self._local.connection = None
        # A connection made before a fork belongs to the parent; closing it here would end the parent's session.
        if connection is not None and pid == os.getpid():
            connection.close()

    def _ready(self, doing: str) -> psycopg2.extensions.connection:
        connection = getattr(self._local, "connection", None)
        if connection is not None and self._local.pid == os.getpid() and not connection.closed and is_alive(connection):
            return connection
        self.close()
        self._local.connection = connect(self._config, self._config.dsn, doing)
        self._local.pid = os.getpid()
        return self._local.connection


def connect(
    config: DatabaseConfig, dsn: str, doing: str, *, of_patients: bool = True
) -> psycopg2.extensions.connection:
    """A new connection with this service's time-outs, in UTC, encrypted where it leaves this machine.

    `of_patients`: its statements may hold PatientIDs, so the server must not log them.

    Raises
    ------
    ConfigError
        The DSN is empty or malformed (it is never shown, it may hold a password), or the login is refused; the DSN
        leads to another machine without ``sslmode=verify-full``; the server would log statements.
    DatabaseBusy
        The server does not answer, or not now.
    """
    if not dsn:
        raise ConfigError(f"{doing}: no database given; set database.dsn (GTR_DATABASE__DSN), see sql/README.md")
    try:
        given = psycopg2.extensions.parse_dsn(dsn)
    except psycopg2.Error:
        given = None
    if given is None:
        raise ConfigError(f"{doing}: the database's DSN is neither a postgresql:// URI nor libpq keywords (not shown)")
    check_encrypted(given, doing)
    settings: dict[str, Any] = {
        "connect_timeout": str(config.connect_timeout_s),
        "application_name": "gtr_batch",
        "client_encoding": "UTF8",
        "gssencmode": "disable",  # libpq prefers it to TLS, and then asks for no certificate
        **_KEEPALIVE,
        **given,
    }
    refused: GtrError | None = None
    with ExitStack() as until_ready:
        try:
            connection = psycopg2.connect(**settings)
            until_ready.callback(connection.close)
            with connection, connection.cursor() as cursor:
                sql = queries.load("session")["settings"].sql
                timeout = str(config.statement_timeout_s * 1000)
                cursor.execute(sql, {"statement_timeout_ms": timeout, "os_user": operating_system_user()})
            if of_patients:
                keep_out_of_the_log(connection, doing)
        except psycopg2.Error as err:
            refused = translate(err, f"{doing}: connecting to PostgreSQL")
        if refused is not None:
            raise refused
        until_ready.pop_all()
    return connection


def is_alive(connection: psycopg2.extensions.connection) -> bool:
    """Whether the server still answers on an idle connection: one round trip, so that a restart costs no case."""
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(queries.load("session")["ping"].sql)
    except psycopg2.Error:
        return False
    return True
