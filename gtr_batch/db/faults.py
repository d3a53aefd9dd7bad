"""psycopg2's errors in our words. A database's own message may quote a row, so it never goes into ours."""

from __future__ import annotations

import psycopg2

from gtr_batch.errors import ConfigError, DatabaseBusy, DatabaseRefused, GtrError

# SQLSTATE classes and codes that may pass (PostgreSQL manual, Appendix A).
_PASSING_CLASSES = (
    "08",  # connection exception
    "40",  # transaction rollback: deadlock, serialization failure
    "53",  # insufficient resources: too many connections, disk full, out of memory
    "57",  # operator intervention: shutdown, cannot connect now, statement timeout
    "58",  # system error: I/O
)
_PASSING = (
    "55006",
    "55P03",
    "25P03",
    "25P04",
    "72000",
)  # in use, lock not available, idle/transaction timeout, snapshot too old
_NOT_PASSING = ("57P04",)  # the database was dropped
_NO_TABLE = ("42P01", "42703", "42883", "42704", "3F000")

# A refused connection carries no SQLSTATE, only libpq's English text.
_WRONG_LOGIN = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "is not permitted to log in",
    "permission denied for database",
    "could not translate host name",
    "invalid",
)


def translate(err: psycopg2.Error, doing: str) -> GtrError:
    """Our error for one of psycopg2's.

    Parameters
    ----------
    err : psycopg2.Error
        Any of its errors.
    doing : str
        What was tried, for example the query's name.

    Returns
    -------
    DatabaseBusy
        It may pass: restart, lock, deadlock, time-out, out of connections, lost connection.
    ConfigError
        Wrong login or database.
    DatabaseRefused
        All else; names SQLSTATE, table, column and constraint, never a value.
    """
    code = err.pgcode
    if code is None:
        return _without_code(err, doing)
    kind = type(err).__name__
    if code not in _NOT_PASSING and (code[:2] in _PASSING_CLASSES or code in _PASSING):
        return DatabaseBusy(f"{doing}: PostgreSQL answered {code} ({kind}); it may pass")
    if code[:2] == "28" or code in ("3D000", "57P04"):
        return ConfigError(
            f"{doing}: PostgreSQL refused the login or database, {code} ({kind}); see the setting database.dsn"
        )
    if code == "42501":
        return DatabaseRefused(
            f"{doing}: this login may not do that, {code} ({kind}): rows need a login of gtr_app (database.dsn), "
            "decisions, settings and holdouts one of gtr_governor (database.governor_dsn); see sql/README.md, Roles"
        )
    if code in _NO_TABLE:
        return DatabaseRefused(
            f"{doing}: the schema is not what this version needs, {code} ({kind}); run `gtr migrate`"
        )
    diag = err.diag
    where = ", ".join(
        f"{what} {name}"
        for what, name in (
            ("table", diag.table_name),
            ("column", diag.column_name),
            ("constraint", diag.constraint_name),
        )
        if name
    )
    return DatabaseRefused(f"{doing}: PostgreSQL refused, {code} ({kind}{', ' + where if where else ''}); not retried")


def _without_code(err: psycopg2.Error, doing: str) -> GtrError:
    if isinstance(err, psycopg2.OperationalError):
        text = str(err)
        if any(words in text for words in _WRONG_LOGIN):
            return ConfigError(f"{doing}: {' '.join(text.split())}; see the setting database.dsn")
        return DatabaseBusy(f"{doing}: {' '.join(text.split()) or 'the connection was lost'}")
    if isinstance(err, psycopg2.InterfaceError):
        return DatabaseBusy(f"{doing}: the connection to PostgreSQL was lost")
    if type(err) in (psycopg2.DatabaseError, psycopg2.Error):
        # libpq's "server closed the connection unexpectedly" and its kin come without a class of their own.
        return DatabaseBusy(f"{doing}: the connection to PostgreSQL broke")
    return DatabaseRefused(f"{doing}: psycopg2 refused ({type(err).__name__}); not retried")
