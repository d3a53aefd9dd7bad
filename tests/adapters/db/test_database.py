"""Connections: lazy, one a process, replaced when lost; the library's errors become ours."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import traceback
from datetime import date
from uuid import uuid4

import psycopg2
import pytest
from psycopg2._psycopg import sqlstate_errors

from gtr_batch.config import DatabaseConfig
from gtr_batch.db import Database, migrate
from gtr_batch.db.faults import translate
from gtr_batch.db.queries import Query
from gtr_batch.errors import ConfigError, DatabaseBusy, DatabaseRefused, GtrError, PermanentError, TransientError
from gtr_batch.simulation.servers.services import EmbeddedPostgres
from tests.case_moves import Moves
from tests.fixtures_db import as_role

NIGHT = date(2026, 3, 1)


def statement(sql: str) -> Query:
    return Query("test", frozenset(), sql)


@pytest.fixture
def own_server(tmp_path):
    """A server that a test may stop and start."""
    server = EmbeddedPostgres(tmp_path / "pg", durable=True)
    server.start()
    yield server
    server.delete()


def carrying(kind: type[psycopg2.Error], code: str | None) -> psycopg2.Error:
    """An error as the server sends it, with its SQLSTATE."""
    return type(kind.__name__, (kind,), {"pgcode": code})("row values: PHI")


def test_every_error_of_the_library_is_mapped():
    assert len(sqlstate_errors) > 200

    for code, kind in sqlstate_errors.items():
        translated = translate(carrying(kind, code), "test")

        assert isinstance(translated, (TransientError, PermanentError)), code
        assert "PHI" not in str(translated), code


@pytest.mark.parametrize(
    "code", ["08006", "40001", "40P01", "53100", "53300", "55P03", "57014", "57P01", "57P02", "57P03", "58030"]
)
def test_what_may_pass_is_busy(code):
    assert isinstance(translate(carrying(psycopg2.OperationalError, code), "test"), DatabaseBusy)


@pytest.mark.parametrize("kind", [psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.DatabaseError])
def test_a_lost_connection_is_busy(kind):
    assert isinstance(translate(kind("server closed the connection unexpectedly"), "test"), DatabaseBusy)


def test_a_refused_statement_never_quotes_the_row(database):
    who = uuid4().hex
    insert = Query("test", frozenset({"who"}), "insert into ehr_patient values (%(who)s, 'unheard of', '1960-01-01')")

    with pytest.raises(DatabaseRefused) as caught, database.transaction("test") as tx:
        tx.run(insert, who=who)

    assert who not in "".join(traceback.format_exception(caught.value))
    assert "23514" in str(caught.value)
    assert caught.value.__context__ is None


def test_a_block_that_raises_leaves_nothing(database):
    book = Moves.on(database)

    with pytest.raises(ZeroDivisionError), database.transaction("test") as tx:
        tx.run(statement("insert into night (night) values ('2026-03-01')"))
        raise ZeroDivisionError

    assert book.last_night() is None


def test_a_block_that_was_refused_leaves_nothing(database):
    book = Moves.on(database)

    with pytest.raises(DatabaseRefused), database.transaction("test") as tx:
        tx.run(statement("insert into night (night) values ('2026-03-01')"))
        tx.run(statement("select 1 / 0"))

    assert book.last_night() is None


def test_transactions_do_not_nest(database):
    with pytest.raises(RuntimeError, match="nest"), database.transaction("outer"), database.transaction("inner"):
        pass


def test_makes_no_connection_before_it_is_used():
    Database(DatabaseConfig(dsn="postgresql://nobody@127.0.0.1:1/none"))


def test_a_server_that_is_not_there_is_busy(free_port):
    database = Database(DatabaseConfig(dsn=f"postgresql://nobody:x@127.0.0.1:{free_port}/none"))

    with pytest.raises(DatabaseBusy), database.transaction("test"):
        pass


@pytest.mark.parametrize("dsn", ["", "postgresql://user:SECRET@[broken", "password=SECRET nonsense"])
def test_a_dsn_that_is_none_is_never_shown(dsn):
    database = Database(DatabaseConfig(dsn=dsn))

    with pytest.raises(ConfigError) as caught, database.transaction("test"):
        pass

    assert "SECRET" not in "".join(traceback.format_exception(caught.value))
    assert "dsn" in str(caught.value).lower()


def test_a_wrong_password_or_database_is_a_wrong_setting(dsn):
    wrong = psycopg2.extensions.make_dsn(**{**psycopg2.extensions.parse_dsn(dsn), "password": "SECRET"})
    absent = psycopg2.extensions.make_dsn(**{**psycopg2.extensions.parse_dsn(dsn), "dbname": "none"})

    for given in (wrong, absent):
        with (
            pytest.raises(ConfigError, match=r"database\.dsn") as caught,
            Database(DatabaseConfig(dsn=given)).transaction("test"),
        ):
            pass
        assert "SECRET" not in str(caught.value)


def test_a_schema_that_was_not_migrated_names_the_command(empty_dsn):
    book = Moves.on(Database(DatabaseConfig(dsn=empty_dsn)))

    with pytest.raises(DatabaseRefused, match="gtr migrate"):
        book.last_night()


def test_the_app_role_cannot_change_the_schema_or_the_events(database):
    for sql in ("create table mine (id integer)", "delete from case_event", "update case_event set state = 'found'"):
        with pytest.raises(DatabaseRefused, match="42501"), database.transaction("test") as tx:
            tx.run(statement(sql))


def test_a_statement_that_takes_too_long_is_busy(dsn):
    database = Database(DatabaseConfig(dsn=dsn, statement_timeout_s=1))

    with pytest.raises(DatabaseBusy, match="57014"), database.transaction("test") as tx:
        tx.run(statement("select pg_sleep(30)"))
    with database.transaction("test") as tx:
        assert tx.one(statement("select 1 as one")) == {"one": 1}


def test_a_lock_that_is_held_is_busy_and_not_for_ever(dsn, database):
    Moves.on(database).open_night(NIGHT, "v")
    other = Database(DatabaseConfig(dsn=dsn, statement_timeout_s=1))

    with database.transaction("holder") as tx:
        tx.run(statement("select * from night for update"))
        with pytest.raises(DatabaseBusy):
            Moves.on(other).open_night(NIGHT, "w")

    Moves.on(other).open_night(NIGHT, "w")


def test_a_connection_that_the_server_ended_is_replaced_unseen(dsn, database):
    book = Moves.on(database)
    book.open_night(NIGHT, "v")
    admin = Database(DatabaseConfig(dsn=dsn))

    with admin.transaction("admin") as tx:
        tx.run(
            statement(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )
        )

    assert book.last_night() == NIGHT


def test_a_connection_lost_in_a_block_is_busy_and_the_next_block_works(dsn, database):
    admin = Database(DatabaseConfig(dsn=dsn))

    with pytest.raises(DatabaseBusy), database.transaction("victim") as tx:
        pid = tx.one(statement("select pg_backend_pid() as pid"))["pid"]
        with admin.transaction("admin") as ax:
            ax.run(Query("kill", frozenset({"pid"}), "select pg_terminate_backend(%(pid)s, 5000)"), pid=pid)
        tx.run(statement("select 1"))

    assert Moves.on(database).last_night() is None


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_of_the_server_between_two_calls_costs_nothing(own_server, mode):
    migrate(own_server.uri)
    port = own_server.port
    book = Moves.on(Database(DatabaseConfig(dsn=as_role(own_server.uri, "gtr_app"), connect_timeout_s=5)))
    book.open_night(NIGHT, "v")

    own_server.stop(mode)
    with pytest.raises(DatabaseBusy):
        book.last_night()
    own_server.start()

    assert own_server.port == port
    assert book.last_night() == NIGHT


def _once_a_slot_is_free(question, within_s=20.0):
    """`question()`, asked again while the server still counts a connection that the client has closed."""
    until = time.monotonic() + within_s
    while True:
        try:
            return question()
        except DatabaseBusy:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def test_too_many_connections_are_busy(own_server):
    own_server.stop()
    with (own_server.data / "postgresql.conf").open("a") as file:
        file.write("superuser_reserved_connections = 199\n")
    own_server.start()
    migrate(own_server.uri)
    admin = Database(DatabaseConfig(dsn=own_server.uri))
    with admin.transaction("admin") as tx:
        tx.run(statement("create role worker login password 'w' in role gtr_app"))
    admin.close()
    uri = own_server.uri_of("worker", "w")
    first, second = Database(DatabaseConfig(dsn=uri)), Database(DatabaseConfig(dsn=uri))

    _once_a_slot_is_free(lambda: Moves.on(first).open_night(NIGHT, "v"))
    with pytest.raises(DatabaseBusy):
        Moves.on(second).last_night()
    first.close()

    assert _once_a_slot_is_free(Moves.on(second).last_night) == NIGHT


def _child(database: Database, answer) -> None:
    try:
        answer.put((os.getpid(), str(Moves.on(database).last_night())))
        database.close()
    except GtrError as err:
        answer.put((os.getpid(), repr(err)))


def test_a_forked_process_takes_a_connection_of_its_own(database):
    book = Moves.on(database)
    book.open_night(NIGHT, "v")
    context = multiprocessing.get_context("fork")
    answer = context.Queue()

    children = [context.Process(target=_child, args=(database, answer)) for _ in range(2)]
    for child in children:
        child.start()
    answers = [answer.get(timeout=60) for _ in children]
    for child in children:
        child.join()

    assert {text for _, text in answers} == {str(NIGHT)}
    assert book.last_night() == NIGHT  # the parent's connection lives


def test_each_thread_has_a_connection_of_its_own(database):
    pids = []
    barrier = threading.Barrier(2)

    def ask() -> None:
        with database.transaction("thread") as tx:
            barrier.wait(timeout=30)
            pids.append(tx.one(statement("select pg_backend_pid() as pid"))["pid"])

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(pids)) == 2
