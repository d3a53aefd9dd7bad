"""Numbered forward-only migrations out of ``sql/migrations``, and the views of ``sql/views`` as their texts are now."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import psycopg2
import psycopg2.extensions
from attrs import frozen

from gtr_batch.config import DatabaseConfig
from gtr_batch.db import queries
from gtr_batch.db.connection import Transaction, connect
from gtr_batch.db.faults import translate
from gtr_batch.errors import ConfigError, DatabaseRefused
from gtr_batch.logs import get_logger
from gtr_batch.ports import Progress

log = get_logger("migrate")

_VIEW = re.compile(r"^drop view if exists (?P<name>\w+);\ncreate view (?P=name) as$", re.MULTILINE)
_FILE = re.compile(r"(?P<number>\d{4})_[a-z0-9_]+\.sql")
# Migrations may rewrite large tables; a waiting second `gtr migrate` waits as long.
_TIMEOUT_S = 3600


@frozen
class View:
    """One file of ``sql/views``: the view of that name."""

    name: str
    sha256: str
    sql: str


@frozen
class Migration:
    """One file of ``sql/migrations``."""

    number: int
    name: str
    sha256: str
    sql: str


def migrations() -> list[Migration]:
    """All migrations of this checkout, in order.

    Raises
    ------
    ConfigError
        A file is not named ``NNNN_what_it_does.sql``, or a number is missing or comes twice.
    """
    found = []
    for path in sorted((queries.sql_folder() / "migrations").glob("*.sql")):
        name = _FILE.fullmatch(path.name)
        if not name:
            raise ConfigError(f"migration {path.name} is not named NNNN_what_it_does.sql")
        found.append(_read(path, int(name["number"])))
    if [m.number for m in found] != list(range(1, len(found) + 1)):
        raise ConfigError(f"migrations are not numbered 0001 to {len(found):04d} without gaps or doubles")
    return found


def views() -> list[View]:
    """All views of this checkout, by name.

    Raises
    ------
    ConfigError
        A file does not create the view that it is named after.
    """
    found = []
    for path in sorted((queries.sql_folder() / "views").glob("*.sql")):
        sql, sha256 = _text_of(path)
        made = _VIEW.search(sql)
        if made is None or made["name"] != path.stem:
            raise ConfigError(
                f"sql/views/{path.name} does not drop and create the view {path.stem}, each on its own line"
            )
        found.append(View(path.stem, sha256, sql))
    return found


def migrate(dsn: str, progress: Progress | None = None) -> list[str]:
    """Apply what is not applied yet, each file in a transaction of its own; two at once wait for one another.

    Then every view whose text has changed is made anew, all of them in one transaction: readers see the old ones until
    the new ones are there.

    Parameters
    ----------
    dsn : str
        A login that may create roles, or is a member of gtr_owner where the roles are there.
    progress : callable, optional
        Called with (done, total) after each file.

    Returns
    -------
    list of str
        Names of the migrations applied now, oldest first, then of the views that were made anew, as ``view NAME``.

    Raises
    ------
    DatabaseRefused
        An applied file was edited, or the database is newer than this checkout, or a file was refused (it and those
        after it are not applied, those before it stay).
    DatabaseBusy
        The server does not answer, or not now.
    """
    known, done = migrations(), []
    connection = connect(DatabaseConfig(statement_timeout_s=_TIMEOUT_S), dsn, "migrate", of_patients=False)
    try:
        with connection:
            Transaction(connection, "migrate").run(_book()["lock"])
        with connection:
            transaction = Transaction(connection, "migrate")
            if not (transaction.one(_book()["book_exists"]) or {})["found"]:
                transaction.run(_book()["make_book"])
            applied = transaction.all(_book()["applied"])
        waiting = _waiting(known, applied)
        for migration in waiting:
            _apply(connection, migration)
            done.append(migration.name)
            if progress is not None:
                progress(len(done), len(waiting))
        done += [_named(view) for view in _make_views(connection)]
    except psycopg2.Error as err:  # a commit, or a connection that is gone
        raise translate(err, "migrate") from None
    finally:
        connection.close()
    return done


def pending(dsn: str) -> list[str]:
    """Names of the migrations that `migrate` would apply, and of the views; asks as any role that may read.

    Raises
    ------
    DatabaseRefused
        As `migrate`.
    """
    applied: Sequence[dict] = []
    known = migrations()
    connection = connect(DatabaseConfig(), dsn, "pending migrations", of_patients=False)
    try:
        transaction = Transaction(connection, "pending migrations")
        if (transaction.one(_book()["book_exists"]) or {})["found"]:
            applied = transaction.all(_book()["applied"])
        changed = _changed_views(transaction)
    finally:
        connection.close()
    return [*(m.name for m in _waiting(known, applied)), *(_named(view) for view in changed)]


def _read(path: Path, number: int) -> Migration:
    sql, sha256 = _text_of(path)
    return Migration(number, path.stem, sha256, sql)


def _text_of(path: Path) -> tuple[str, str]:
    """The text of a file and its digest."""
    sql = path.read_text(encoding="utf-8").replace("\r\n", "\n")  # a checkout on Windows is no edit
    return sql, hashlib.sha256(sql.encode()).hexdigest()


def _named(view: View) -> str:
    return f"view {view.name}"


def _changed_views(transaction: Transaction) -> list[View]:
    known: dict[str, str] = {}
    if (transaction.one(_book()["list_of_views_exists"]) or {})["found"]:
        known = {row["name"]: row["sha256"] for row in transaction.all(_book()["views"])}
    return [view for view in views() if known.get(view.name) != view.sha256]


def _make_views(connection: psycopg2.extensions.connection) -> list[View]:
    """Make every changed view anew; its file drops it, since none can be replaced by one with fewer columns."""
    with connection:
        transaction = Transaction(connection, "views")
        changed = _changed_views(transaction)
        if changed:
            transaction.run(_book()["become_owner"])
            transaction.run(_book()["make_list_of_views"])
        for view in changed:
            transaction.script(view.sql)
            transaction.run(_book()["note_view"], name=view.name, sha256=view.sha256)
    return changed


def _waiting(known: Sequence[Migration], applied: Sequence[dict]) -> list[Migration]:
    for row, migration in zip(applied, known, strict=False):
        if (row["number"], row["sha256"]) != (migration.number, migration.sha256):
            raise DatabaseRefused(
                f"migration {row['name']} was edited after it was applied, or is another file: restore it, and put the "
                "change into a new migration"
            )
    if len(applied) > len(known):
        raise DatabaseRefused(
            f"the database has {len(applied)} migrations, this checkout knows {len(known)}: install the newer version"
        )
    return list(known[len(applied) :])


def _apply(connection: psycopg2.extensions.connection, migration: Migration) -> None:
    with connection:
        transaction = Transaction(connection, f"migration {migration.name}")
        if migration.number > 1:  # the first makes the role
            transaction.run(_book()["become_owner"])
        transaction.script(migration.sql)
        transaction.run(_book()["note"], number=migration.number, name=migration.name, sha256=migration.sha256)
    for said in connection.notices:
        if said.startswith("WARNING:"):  # counts of what could not be moved; never a row
            log.warning("migration.warning", migration=migration.name, said=" ".join(said.split()[1:]))
    connection.notices.clear()


def _book() -> dict[str, queries.Query]:
    return queries.load("migration")
