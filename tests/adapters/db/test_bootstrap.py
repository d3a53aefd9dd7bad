"""The container's bootstrap on a real PostgreSQL: databases, logins and roles, twice."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import make_dsn

from gtr_batch.simulation.servers.services import embedded_postgres

BOOTSTRAP = Path(__file__).resolve().parents[3] / "docker" / "bootstrap.py"


@pytest.fixture
def bootstrap(tmp_path, monkeypatch):
    """The module, with a password in each file."""
    spec = importlib.util.spec_from_file_location("bootstrap", BOOTSTRAP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SECRETS", tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for _, name, _ in module.LOGINS:
        (tmp_path / name).write_text(f"secret-of-{name}")
    return module


def asked(dsn: str, statement: str) -> list[tuple]:
    with psycopg2.connect(dsn) as session, session.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


@pytest.mark.slow
def test_every_login_is_in_its_role_and_no_other_and_a_second_run_changes_nothing_but_passwords(bootstrap, tmp_path):
    with embedded_postgres(tmp_path / "server") as server:
        bootstrap.bootstrap(server)
        (tmp_path / "night_password").write_text("another")
        bootstrap.bootstrap(server)
        ours = make_dsn(server, dbname="gtr")
        members = asked(
            ours,
            "select m.rolname, g.rolname from pg_auth_members as a join pg_roles as m on m.oid = a.member "
            "join pg_roles as g on g.oid = a.roleid where m.rolcanlogin and not m.rolsuper order by 1",
        )
        might = asked(
            ours,
            "select rolname, has_database_privilege(rolname, 'gtr', 'connect'), "
            "has_database_privilege(rolname, 'airflow', 'connect') from pg_roles where rolcanlogin and not rolsuper",
        )
        hashed = asked(ours, "select count(*) from pg_authid where rolcanlogin and rolpassword like 'SCRAM-SHA-256%'")
        schema = asked(ours, "select count(*) > 30 from schema_migration")
        log = "".join(p.read_text(errors="replace") for p in (tmp_path / "server").rglob("*log*") if p.is_file())

    assert members == sorted((login, group) for login, _, group in bootstrap.LOGINS if group)
    assert {name: (gtr, airflow) for name, gtr, airflow in might} == {
        login: (bool(group), not group) for login, _, group in bootstrap.LOGINS
    }
    assert hashed[0][0] >= len(bootstrap.LOGINS)
    assert schema == [(True,)]
    assert "secret-of" not in log
