"""A session is encrypted where it leaves this machine, and none of its statements reaches the server's log."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2
import pytest

from gtr_batch.config import DatabaseConfig
from gtr_batch.db import Database, migrate
from gtr_batch.db.connection import connect
from gtr_batch.db.queries import Query
from gtr_batch.db.session import check_encrypted
from gtr_batch.errors import ConfigError, DatabaseRefused
from gtr_batch.simulation.servers.postgres import EmbeddedPostgres

PLANTED = "PLANTED-4711"
ADMIT = "insert into ehr_patient (patient_id, sex, birth_date) values (%(patient_id)s, 'female', '1960-01-01')"


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://night@db.hospital.example/gtr",
        "postgresql://night@db.hospital.example/gtr?sslmode=require",
        "postgresql://night@db.hospital.example/gtr?sslmode=verify-ca",
        "host=10.1.2.3 user=night",
        "host=localhost hostaddr=10.1.2.3 user=night",
        "host=127.0.0.1,db.hospital.example user=night",
        "host=127.0.0.1.hospital.example user=night",
        "service=gtr",
    ],
)
def test_no_way_to_another_machine_without_a_checked_certificate(dsn, monkeypatch):
    monkeypatch.delenv("PGSSLMODE", raising=False)

    with pytest.raises(ConfigError, match="Write sslmode=verify-full and sslrootcert=") as refused:
        connect(DatabaseConfig(connect_timeout_s=1), dsn, "a test")

    assert "night" not in str(refused.value)


def test_a_host_that_only_the_environment_names_is_another_machine_too(monkeypatch):
    monkeypatch.setenv("PGHOST", "db.hospital.example")

    with pytest.raises(ConfigError, match="verify-full"):
        connect(DatabaseConfig(connect_timeout_s=1), "user=night", "a test")


@pytest.mark.parametrize(
    "given",
    [
        {"host": "db.hospital.example", "sslmode": "verify-full"},
        {"host": "10.1.2.3", "sslmode": "verify-full"},
        {"host": "127.0.0.1"},
        {"host": "127.8.9.1"},
        {"host": "::1"},
        {"host": "localhost"},
        {"host": "/var/run/postgresql"},
        {"host": "@abstract"},
        {},
    ],
)
def test_this_machine_needs_no_certificate_and_another_is_reached_with_one(given, monkeypatch):
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)

    check_encrypted(given, "a test")


@pytest.fixture
def logging_server(tmp_path) -> Iterator[EmbeddedPostgres]:
    """A server that logs every statement, its duration and its values."""
    server = EmbeddedPostgres(tmp_path / "pg")
    server.start()
    migrate(server.uri)
    _as_superuser(
        server,
        "create role night login password 'n' in role gtr_app",
        "alter system set log_statement = 'all'",
        "alter system set log_min_duration_statement = 0",
        "alter system set log_error_verbosity = 'verbose'",
        "alter system set log_min_error_statement = 'debug5'",
        "select pg_reload_conf()",
    )
    server.stop()
    server.start()  # so that every session has the new settings from its first statement on
    yield server
    server.delete()


def _as_superuser(server: EmbeddedPostgres, *statements: str) -> None:
    connection = psycopg2.connect(server.uri)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


def _admit_twice(dsn: str) -> None:
    """A statement that ends well and takes its time, one that fails, and one that a COPY refuses."""
    database = Database(DatabaseConfig(dsn=dsn))
    admit = Query("admit", frozenset({"patient_id"}), ADMIT)
    try:
        with database.transaction("admission") as tx:
            tx.run(admit, patient_id=PLANTED)
        with pytest.raises(DatabaseRefused), database.transaction("admission") as tx:
            tx.run(admit, patient_id=PLANTED)
        with pytest.raises(DatabaseRefused), database.transaction("admission") as tx:
            tx.run(Query("admit", frozenset({"patient_id"}), ADMIT + ", (1 / 0)::text"), patient_id=PLANTED)
    finally:
        database.close()


def test_a_patient_id_in_a_failing_or_slow_statement_is_not_in_the_servers_log(logging_server):
    _admit_twice(logging_server.uri_of("night", "n"))
    _as_superuser(logging_server, "select 'the log is written'")

    log = logging_server.log.read_text()
    assert "the log is written" in log  # it does log statements
    assert "duplicate key value" in log  # and it does say that one was refused
    assert PLANTED not in log


def test_the_same_statements_without_our_settings_are_in_the_log(logging_server):
    """Otherwise the test above would show nothing."""
    connection = psycopg2.connect(logging_server.uri_of("night", "n"))
    with connection, connection.cursor() as cursor:
        cursor.execute(ADMIT, {"patient_id": PLANTED})
    connection.close()

    assert PLANTED in logging_server.log.read_text()


def test_where_the_login_may_not_silence_the_log_no_session_is_opened(logging_server):
    _as_superuser(
        logging_server,
        "revoke set on parameter log_min_error_statement, log_error_verbosity, log_statement, "
        "log_min_duration_statement, log_min_duration_sample, log_transaction_sample_rate, log_parameter_max_length "
        "from gtr_app",
    )

    with pytest.raises(ConfigError, match=r"log_min_error_statement = debug5.*sql/README\.md, Server log"):
        _admit_twice(logging_server.uri_of("night", "n"))
    assert PLANTED not in logging_server.log.read_text()

    for name, value in (
        ("log_min_error_statement", "panic"),
        ("log_error_verbosity", "terse"),
        ("log_statement", "none"),
        ("log_min_duration_statement", "-1"),
        ("log_parameter_max_length", "0"),
    ):
        _as_superuser(logging_server, f"alter role night set {name} = '{value}'")

    _admit_twice(logging_server.uri_of("night", "n"))
    assert PLANTED not in logging_server.log.read_text()
