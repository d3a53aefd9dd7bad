"""Airflow's real API server with the console's plugin, in a process of its own and on a database of its own."""

from __future__ import annotations

import json
import os
import queue
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import psycopg2
from attrs import field, frozen
from psycopg2.extensions import parse_dsn

from tests.console_hospital import ROLES, Hospital

REPOSITORY = Path(__file__).resolve().parents[2]


@frozen
class ApiServer:
    """Where it answers, and with which passwords; `database` is Airflow's own, as psycopg2 takes it."""

    url: str
    pid: int
    passwords: Mapping[str, str] = field(repr=False)
    database: str = field(repr=False)


@contextmanager
def api_server(
    hospital: Hospital, home: Path, users: Mapping[str, str], settings: Mapping[str, str] | None = None
) -> Iterator[ApiServer]:
    """Serve while the block runs; `users` have a role of Airflow's simple login each."""
    passwords = {user: secrets.token_urlsafe(12) for user in users}
    (home / "passwords.json").write_text(json.dumps(passwords))
    login = parse_dsn(hospital.dsn)
    name = f"{home.name}_{login['dbname']}"
    _administer(hospital.dsn, f"create database {name}")
    database = f"postgresql://{login['user']}:{login['password']}@{login['host']}:{login['port']}/{name}"
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "GTR_"))}
    environ = {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "plugins")]),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in users.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database.replace("postgresql:", "postgresql+psycopg2:", 1),
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "GTR_DATABASE__CONSOLE_DSN": hospital.config.database.console_dsn,
        "GTR_FILES__ROOT": str(hospital.config.files.root),
        "GTR_CONSOLE__ROLES": ",".join(ROLES),
        **(settings or {}),
    }
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("run_api_server.py"))],
            env=environ, stdout=subprocess.PIPE, stderr=log, cwd=home,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            ports: queue.Queue[int | None] = queue.Queue()
            threading.Thread(target=_say_port, args=(process.stdout, ports), daemon=True).start()
            port = ports.get()
            assert port, (home / "server.log").read_text()[-3000:]
            yield ApiServer(f"http://127.0.0.1:{port}", process.pid, passwords, database)
        finally:
            process.terminate()
            process.wait()
            _administer(hospital.dsn, f"drop database {name} with (force)")


def _say_port(said: IO[bytes], ports: queue.Queue[int | None]) -> None:
    """What Airflow says while it begins, then the port; what it says later is read too, else it would wait for us."""
    for line in said:
        if line.startswith(b'{"port"'):
            ports.put(json.loads(line)["port"])
    ports.put(None)


def _administer(dsn: str, statement: str) -> None:
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        connection.cursor().execute(statement)
