"""Once, and at every upgrade: databases, logins and schemas of compose.yaml. Run again, it changes nothing.

Passwords come from files; none is printed, and none reaches PostgreSQL's log.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection, make_dsn

SECRETS = Path(os.environ.get("GTR_SECRETS", "/run/secrets"))
SERVER = "host=postgres dbname=postgres user=postgres sslmode=verify-full sslrootcert=/run/secrets/ca"
#: Login, its password's file, the group role of ours that it is in (none: no role of ours).
LOGINS = (
    ("airflow", "airflow_password", ""),
    ("gtr_migrations", "owner_password", "gtr_owner"),
    ("gtr_night", "night_password", "gtr_app"),
    ("gtr_decisions", "governor_password", "gtr_governor"),
    ("gtr_pages", "console_password", "gtr_console"),
    ("worklist_display", "reader_password", "gtr_reader"),
)
DATABASES = (("airflow", "airflow"), ("gtr", "postgres"))  # with their owners


def secret(name: str) -> str:
    """What a secret's file holds."""
    return (SECRETS / name).read_text(encoding="utf-8").strip()


def make_logins(server: connection) -> None:
    """Every login, with its password as the files have it now."""
    with server.cursor() as cursor:
        cursor.execute("set log_statement = 'none'; set log_min_error_statement = 'panic'")
        cursor.execute("set log_min_duration_statement = -1; set password_encryption = 'scram-sha-256'")
        for login, password, _ in LOGINS:
            cursor.execute("select from pg_roles where rolname = %s", [login])
            verb = "alter" if cursor.fetchone() is not None else "create"
            statement = sql.SQL(f"{verb} role {{}} login password {{}}")
            cursor.execute(statement.format(sql.Identifier(login), sql.Literal(secret(password))))


def make_databases(server: connection) -> None:
    """Airflow's database and ours; nobody else may connect to them."""
    with server.cursor() as cursor:
        for name, owner in DATABASES:
            cursor.execute("select from pg_database where datname = %s", [name])
            if cursor.fetchone() is None:
                made = sql.SQL("create database {} owner {}").format(sql.Identifier(name), sql.Identifier(owner))
                cursor.execute(made)
            cursor.execute(sql.SQL("revoke all on database {} from public").format(sql.Identifier(name)))
        for login, _, group in LOGINS:
            if group:
                cursor.execute(sql.SQL("grant connect on database gtr to {}").format(sql.Identifier(login)))


def grant_roles(server: connection) -> None:
    """Put each login into its group, which the first migration has made."""
    with server.cursor() as cursor:
        for login, _, group in LOGINS:
            if group:
                cursor.execute(sql.SQL("grant {} to {}").format(sql.Identifier(group), sql.Identifier(login)))


def connected(dsn: str) -> connection:
    """A session in which every statement is a transaction of its own."""
    made = psycopg2.connect(dsn)
    made.autocommit = True
    return made


def run(*words: str, **environ: str) -> None:
    """Run a command; its failure is ours."""
    subprocess.run(words, check=True, env={**os.environ, **environ})


def bootstrap(server: str) -> None:
    """Databases, logins, our schema, and who is in which role."""
    with closing(connected(server)) as session:
        make_logins(session)
        make_databases(session)
        run("gtr", "migrate", GTR_DATABASE__OWNER_DSN=make_dsn(server, dbname="gtr"))
        grant_roles(session)


def main() -> int:
    """The whole of it."""
    bootstrap(make_dsn(SERVER, password=secret("superuser_password")))
    run("airflow", "db", "migrate")
    run("airflow", "pools", "import", "plugins/gtr_airflow/pools.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
