"""A real PostgreSQL for tests: one embedded server a session, a fresh migrated database a test.

Load with ``from tests.fixtures_db import *`` in a conftest, or by ``pytest_plugins`` in the topmost one.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import make_dsn, parse_dsn

from gtr_batch.config import DatabaseConfig
from gtr_batch.db import Database, migrate
from gtr_batch.simulation.servers.services import embedded_postgres

__all__ = ["database", "dsn", "empty_dsn", "migrated_template", "module_dsn", "postgres_uri"]

_COUNT = itertools.count()
MEMORY, LEAST_FREE = Path("/dev/shm"), 4 * 1024**3


@pytest.fixture(scope="session")
def postgres_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URI of the superuser of an embedded PostgreSQL, stopped and deleted when the session ends."""
    with _in_memory() as folder, embedded_postgres(folder or tmp_path_factory.mktemp("postgres")) as uri:
        yield uri


@pytest.fixture(scope="session")
def migrated_template(postgres_uri: str) -> str:
    """Name of a migrated database that `database` copies."""
    migrate(create_database(postgres_uri, "gtr_template"))
    return "gtr_template"


@pytest.fixture
def empty_dsn(postgres_uri: str) -> Iterator[str]:
    """Superuser's DSN of a fresh database without any migration."""
    name = f"gtr_empty_{next(_COUNT)}"
    yield create_database(postgres_uri, name)
    _drop(postgres_uri, name)


@pytest.fixture
def dsn(postgres_uri: str, migrated_template: str) -> Iterator[str]:
    """Superuser's DSN of a fresh, migrated, empty database."""
    name = f"gtr_test_{next(_COUNT)}"
    yield create_database(postgres_uri, name, migrated_template)
    _drop(postgres_uri, name)


@pytest.fixture(scope="module")
def module_dsn(postgres_uri: str, migrated_template: str) -> Iterator[str]:
    """As `dsn`, for all tests of a module together."""
    name = f"gtr_module_{next(_COUNT)}"
    yield create_database(postgres_uri, name, migrated_template)
    _drop(postgres_uri, name)


@pytest.fixture
def database(dsn: str) -> Iterator[Database]:
    """A fresh, migrated, empty database with the rights of gtr_app, and of gtr_governor for decisions; no more."""
    made = Database(logins(dsn))
    yield made
    made.close()


def create_database(uri: str, name: str, template: str = "template0") -> str:
    """Create a database and return the superuser's DSN of it; `uri` may be a DSN."""
    statement = sql.SQL("create database {} template {} strategy file_copy").format(
        sql.Identifier(name), sql.Identifier(template)
    )
    _as_superuser(uri, statement)
    return make_dsn(**{**parse_dsn(uri), "dbname": name})


def enter_patient(cursor: psycopg2.extensions.cursor, patient_id: str) -> None:
    """Make a patient known to the EHR, with a proven gastric adenocarcinoma."""
    cursor.execute(
        "insert into ehr_patient (patient_id, sex, birth_date) values (%s, 'female', '1960-01-01')", [patient_id]
    )
    cursor.execute(
        "insert into ehr_biopsy (patient_id, biopsy_date, site, adenocarcinoma, lauren, differentiation)"
        " values (%s, '2026-02-01', 'stomach', true, 'diffuse', 'poor')",
        [patient_id],
    )


def logins(dsn: str) -> DatabaseConfig:
    """Settings with a login for the rows and one for the decisions, as a site has them."""
    return DatabaseConfig(dsn=as_role(dsn, "gtr_app"), governor_dsn=as_role(dsn, "gtr_governor"))


def as_role(dsn: str, role: str) -> str:
    """`dsn` with the rights of a group role."""
    return make_dsn(**{**parse_dsn(dsn), "options": f"-c role={role}"})


@contextmanager
def _in_memory() -> Iterator[Path | None]:
    """A folder in memory where that is large enough: a database is 600 files, 0.5 s on a busy disk, 0.05 s there."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < LEAST_FREE:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="gtr-postgres-", dir=MEMORY, ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)  # PostgreSQL runs under another account where the tests run as root
        yield Path(name)


def _drop(uri: str, name: str) -> None:
    _as_superuser(uri, sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def _as_superuser(uri: str, statement: sql.Composed) -> None:
    connection = psycopg2.connect(uri)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
