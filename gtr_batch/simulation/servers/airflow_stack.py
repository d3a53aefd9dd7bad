"""A real Airflow on loopback for the demo: API server, scheduler, DAG processor and triggerer as processes of ours."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gtr_batch.errors import ConfigError, PermanentError
from gtr_batch.loopback import free_port
from gtr_batch.writing import make_folder, write_json

# Airflow's log servers listen on all interfaces and cannot be told otherwise, so they are not started: on one machine
# the API server reads the log files itself.
COMPONENTS = {
    "api-server": (),
    "scheduler": ("--skip-serve-logs",),
    "dag-processor": (),
    "triggerer": ("--skip-serve-logs",),
}
USER = "admin"
#: The second person: who starts a run does not approve it.
APPROVER = "approver"


class AirflowStack:
    """Airflow in `home`, bound to 127.0.0.1, with a generated password.

    Parameters
    ----------
    home : Path
        AIRFLOW_HOME; logs of the components lie in ``<home>/components``.
    repository : Path
        The checkout with ``dags`` and ``plugins``.
    database_uri : str
        ``postgresql://`` URI of Airflow's own database.
    environ : mapping
        Given to every process beside Airflow's own settings (our ``GTR_*``).
    port : int
        Of the API server; 0: any free one.
    """

    def __init__(
        self, home: Path, repository: Path, database_uri: str, environ: Mapping[str, str], port: int = 0
    ) -> None:
        self.home = make_folder(home)
        self.port = port or free_port()
        self.password = secrets.token_urlsafe(12)
        self._passwords = {USER: self.password, APPROVER: secrets.token_urlsafe(12)}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._tokens: dict[str, str] = {}
        passwords = home / "passwords.json"
        write_json(passwords, self._passwords)
        self.environ = {
            **os.environ,
            **environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(repository / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(repository / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin,{APPROVER}:user",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{self.port}/execution/",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database_uri.replace("postgresql://", "postgresql+psycopg2://"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": "gtr_airflow.database.CONNECT_ARGS",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{self.port}",
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "3600",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
            "GX_ANALYTICS_ENABLED": "False",
            "OMP_WAIT_POLICY": "PASSIVE",  # waiting threads that spin would cost the other tasks their cores
        }

    @property
    def url(self) -> str:
        """Address of the user interface."""
        return f"http://127.0.0.1:{self.port}"

    def airflow(self, *arguments: str) -> str:
        """Run an ``airflow`` command to its end.

        Raises
        ------
        ConfigError
            With the end of its output.
        """
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments], env=self.environ, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ConfigError(f"`airflow {' '.join(arguments)}` ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def start(self) -> None:
        """Start the components, each in a session of its own so that they outlive us where that is wanted."""
        for name, options in COMPONENTS.items():
            self.start_component(name, name, *options)

    def start_component(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start one process of Airflow, known as `name` from now on: ``airflow <command>``."""
        logs = make_folder(self.home / "components")
        with (logs / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "airflow", *command],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self.processes[name]

    def wait_until_ready(self, dag_ids: set[str], timeout_s: float = 120) -> None:
        """Wait for the API and until the DAG processor has parsed `dag_ids`.

        Raises
        ------
        ConfigError
            A component died, a DAG does not import, or the time is over; says which and where its log lies.
        """
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            self._check_alive()
            try:
                known = {d["dag_id"] for d in self.api("GET", "dags?limit=100")["dags"]}
            except (OSError, PermanentError):
                known = set()
            if dag_ids <= known:
                return
            time.sleep(0.5)
        raise ConfigError(f"Airflow was not ready after {timeout_s:.0f} s; its logs: {self.home / 'components'}")

    def api(self, method: str, path: str, body: Mapping[str, Any] | None = None, user: str = USER) -> Any:
        """Call Airflow's REST API (``/api/v2/<path>``) as one of its users.

        Raises
        ------
        PermanentError
            The API answered with an error; OSError where it does not answer.
        """
        if user not in self._tokens:
            login = {"username": user, "password": self._passwords[user]}
            self._tokens[user] = self._call("POST", f"{self.url}/auth/token", login)["access_token"]
        return self._call(method, f"{self.url}/api/v2/{path}", body, self._tokens[user])

    def _call(self, method: str, url: str, body: Mapping[str, Any] | None, token: str = "") -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 - always http to loopback
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise PermanentError(
                f"{method} {url}: {error.code} {error.read()[:500].decode(errors='replace')}"
            ) from error

    def trigger(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        """Unpause a DAG and start a run; returns the run id."""
        self.api("PATCH", f"dags/{dag_id}", {"is_paused": False})
        run = self.api("POST", f"dags/{dag_id}/dagRuns", {"conf": dict(conf), "logical_date": None})
        return str(run["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """State of a run: queued, running, success or failed."""
        self._check_alive()
        return str(self.api("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"])

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The run's task instances with ``task_id``, ``map_index``, ``state``, ``duration``."""
        return list(self.api("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=500")["task_instances"])

    def _check_alive(self) -> None:
        for name, process in self.processes.items():
            if process.poll() is not None:
                log = self.home / "components" / f"{name}.log"
                tail = log.read_text(errors="replace")[-1500:]
                raise ConfigError(f"Airflow's {name} ended with {process.returncode}; {log}:\n{tail}")
