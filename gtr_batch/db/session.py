"""What a session with PostgreSQL must be: encrypted to a server that is known, and silent in the server's log.

psycopg2 writes parameters into the text of a statement. A server that logs failing or slow statements would so keep
PatientIDs in a file that nobody meant to hold any, for as long as its logs are kept.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from gtr_batch.db import queries
from gtr_batch.errors import ConfigError
from gtr_batch.loopback import is_loopback

WANTED = "verify-full"


def check_encrypted(given: Mapping[str, str], doing: str) -> None:
    """Refuse a way to the server that leaves this machine without TLS to a server whose certificate is checked.

    Raises
    ------
    ConfigError
        Says what to write. There is no setting that allows it.
    """
    if not _leaves_this_machine(given) or (given.get("sslmode") or os.environ.get("PGSSLMODE")) == WANTED:
        return
    raise ConfigError(
        f"{doing}: the database is on another machine, and its DSN has sslmode={given.get('sslmode', 'prefer')}: "
        f"patients would be sent to whoever answers. Write sslmode={WANTED} and sslrootcert=FILE (or "
        "sslrootcert=system) into the DSN; see sql/README.md, Encryption"
    )


def keep_out_of_the_log(connection: psycopg2.extensions.connection, doing: str) -> None:
    """Let this session's statements and their values stay out of the server's log.

    Raises
    ------
    ConfigError
        They would be logged, and this login may not change that; says what an administrator has to run.
    """
    names = loud(connection)
    if not names:
        return
    refused = False
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(_queries()["silence"].sql)
    except psycopg2.errors.InsufficientPrivilege:
        refused = True
    if refused or (names := loud(connection)):
        raise ConfigError(
            f"{doing}: PostgreSQL would write statements with PatientIDs into its log ({', '.join(names)}), and this "
            "login may not change that: let an administrator run the statements of sql/README.md, Server log"
        )


def loud(connection: psycopg2.extensions.connection) -> list[str]:
    """Settings by which the server would log statements of this session, as ``name = value``."""
    with connection, connection.cursor() as cursor:
        cursor.execute(_queries()["loud"].sql)
        return [f"{name} = {value}" for name, value in cursor.fetchall()]


def _leaves_this_machine(given: Mapping[str, str]) -> bool:
    if "service" in given or "PGSERVICE" in os.environ:
        return True  # a file says where; it must say sslmode too, and here it is not seen
    hosts = given.get("hostaddr") or given.get("host") or os.environ.get("PGHOSTADDR") or os.environ.get("PGHOST") or ""
    return not all(_is_local(host.strip()) for host in hosts.split(","))


def _is_local(host: str) -> bool:
    return not host or host[0] in "/@" or is_loopback(host)  # a socket of this machine, or its loopback interface


def _queries() -> dict[str, queries.Query]:
    return queries.load("session")
