"""A night of the synthetic hospital through the real Airflow, step by step; the command line tells it to people."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import psycopg2
from attrs import define, field
from psycopg2 import sql

from gtr_batch.domain.night_case import NightCase
from gtr_batch.domain.staging import TStage
from gtr_batch.errors import ConfigError, PermanentError
from gtr_batch.loopback import free_port
from gtr_batch.simulation.servers.airflow_stack import APPROVER, USER, AirflowStack
from gtr_batch.writing import make_folder, write_json, write_text

try:
    import psutil
except ModuleNotFoundError as missing:
    raise ConfigError(
        f"the package {missing.name} is not installed. It comes with the demo: pip install 'gtr-batch[demo]'"
    ) from missing

NIGHT = date(2026, 3, 2)
AE_PACS, AE_OURS = "DEMOPACS", "GTRBATCH"
REPOSITORY = Path(__file__).resolve().parents[3]
ARTEFACT = Path(__file__).resolve().parents[1] / "demo_artefact"
LEAST_CHANCE = 1e-3  # of so few right stages; below it the demo fails
DAGS = {
    "ehr_refresh",
    "nightly_staging",
    "housekeeping",
    "retraining",
    "restage",
    "drift_monitor",
    "monthly_audit",
}

Say = Callable[[str], None]


@define(slots=False)
class Demo:
    """Everything that a demo starts lies under `folder` and is stopped by `stop`."""

    folder: Path
    night: date = NIGHT
    artefact: Path = ARTEFACT
    patients: list[Any] = field(factory=list)
    pacs_port: int = field(factory=free_port)
    stack: AirflowStack | None = None
    environ: dict[str, str] = field(factory=dict)
    _pids: list[dict[str, Any]] = field(factory=list)
    _database: Any = None

    def clear(self) -> None:
        """Begin with an empty folder.

        Raises
        ------
        ConfigError
            A demo of this folder still runs.
        """
        if running(self.folder):
            raise ConfigError(f"a demo is up in {self.folder}: `make down` first, or look at it with `gtr demo where`")
        from gtr_batch.simulation.servers.services import EmbeddedPostgres

        make_folder(self.folder)
        EmbeddedPostgres(self.folder / "postgres").delete()  # also what a killed demo has left
        shutil.rmtree(self.folder)
        make_folder(self.folder)

    def start_database(self, settings: str = "") -> None:
        """Embedded PostgreSQL with our schema, a login for each role, and Airflow's own database.

        `settings` is added to the demo's own, as TOML.
        """
        from gtr_batch.db import migrate
        from gtr_batch.simulation.servers.services import EmbeddedPostgres

        server = EmbeddedPostgres(self.folder / "postgres")
        server.start()
        self._database = server
        self._remember()
        names = ("gtr_demo_app", "gtr_demo_governor", "gtr_demo_console", "gtr_demo_reader", "airflow")
        passwords = {name: secrets.token_urlsafe(18) for name in names}
        with _autocommit(server.uri) as cursor:
            for name in ("gtr", "airflow"):
                cursor.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
            for name, password in passwords.items():
                cursor.execute(
                    sql.SQL("create role {} login password {}").format(sql.Identifier(name), sql.Literal(password))
                )
            cursor.execute("alter database airflow owner to airflow")
        owner = server.uri_of("postgres", server.password, "gtr")
        migrate(owner)
        with _autocommit(owner) as cursor:
            cursor.execute("grant gtr_app to gtr_demo_app")
            cursor.execute("grant gtr_governor to gtr_demo_governor")
            cursor.execute("grant gtr_console to gtr_demo_console")
            cursor.execute("grant gtr_reader to gtr_demo_reader")
        app, governor, console = (server.uri_of(name, passwords[name], "gtr") for name in names[:3])
        self.write_settings(app, governor, owner, console, settings)
        airflow_uri = server.uri_of("airflow", passwords["airflow"], "airflow")
        self.stack = AirflowStack(self.folder / "airflow", REPOSITORY, airflow_uri, self.environ)

    def write_settings(self, app: str, governor: str, owner: str, console: str, more: str) -> None:
        """The demo's settings file, as a site would write one."""
        path = self.folder / "gtr.toml"
        write_text(
            path,
            f"""# Settings of the demo; see docs/operations.md.
[pacs]
host = "127.0.0.1"
port = {self.pacs_port}
called_ae_title = "{AE_PACS}"
calling_ae_title = "{AE_OURS}"
commitment_timeout_s = 10

[database]
dsn = "{app}"
governor_dsn = "{governor}"
owner_dsn = "{owner}"
console_dsn = "{console}"

[files]
root = "{self.folder / "store"}"
min_free_gb = 1

[ehr]
folder = "{self.folder / "ehr"}"

[stage]
artefact = "{self.artefact}"
device = "auto"

[console]
roles = ["admin=user:{USER}", "operator=user:{USER}", "radiologist=user:{USER}", "auditor=user:{APPROVER}"]

[night]
shard_size = 4
settle_minutes = 0
look_back_days = 0
retry_delay_s = 5
{more}""",
        )
        self.environ = {"GTR_CONFIG": str(path)}

    def admit(self, ct: Path | None, key_slice: str | None) -> None:
        """Simulate the night's patients, and put a real series beside them where one is given."""
        from gtr_batch.simulation.hospital.hospital import adopt_series, demo_night

        self.patients = list(demo_night(self.folder / "dicom", self.folder / "ehr", self.night))
        if ct is not None:
            adopted = adopt_series(ct, self.folder / "dicom" / "adopted", self.folder / "ehr", self.night, key_slice)
            self.patients.append(adopted)

    def start_pacs(self, progress: Callable[[int, int], None]) -> None:
        """Embedded PACS, filled with the night's studies."""
        from gtr_batch.simulation.servers.services import EmbeddedQrscp

        server = EmbeddedQrscp(self.folder / "pacs", self.pacs_port, AE_PACS)
        server.preload(self.folder / "dicom", progress)
        server.start()
        assert server.pid is not None  # start returns when it answers
        self._remember(server.pid)

    def prepare_airflow(self) -> None:
        """Airflow's own database."""
        assert self.stack is not None  # start_database makes it
        self.stack.airflow("db", "migrate")

    def start_airflow(self) -> None:
        """Start the four components."""
        assert self.stack is not None  # start_database makes it
        self.stack.start()
        self._remember(*(p.pid for p in self.stack.processes.values()))

    def wait_for_airflow(self) -> None:
        """Wait until all answer and the DAGs are known; make the pools, without which nothing is scheduled."""
        assert self.stack is not None  # start_database makes it
        self.stack.wait_until_ready(DAGS)
        pools = json.loads((REPOSITORY / "plugins" / "gtr_airflow" / "pools.json").read_text())
        for name, pool in pools.items():
            self.stack.api("POST", "pools", {"name": name, **pool})

    def run(
        self,
        dag_id: str,
        conf: dict[str, Any],
        progress: Callable[[list[dict[str, Any]]], None],
        timeout_s: float,
        *,
        last: str = "",
    ) -> str:
        """Trigger a DAG and wait for its end; `progress` gets its task instances meanwhile. Returns the run's state.

        With `last`, it is left alone once that task has succeeded: what follows waits for a person.

        Raises
        ------
        PermanentError
            It did not end in `timeout_s`.
        """
        assert self.stack is not None  # start_database makes it
        run_id = self.stack.trigger(dag_id, conf)
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            state = self.stack.run_state(dag_id, run_id)
            tasks = self.stack.task_instances(dag_id, run_id)
            progress(tasks)
            if last and any(t["task_id"] == last and t["state"] == "success" for t in tasks):
                return "success"
            if state in ("success", "failed"):
                return state
            time.sleep(1)
        raise PermanentError(f"{dag_id} did not end within {timeout_s:.0f} s; see {self.stack.url}")

    def judge(self, cases: Sequence[NightCase]) -> list[str]:
        """What did not end as it should, in sentences; empty when all is well."""
        by_study = {case.study_uid: case for case in cases}
        wrong = []
        for patient in self.patients:
            case = by_study.get(patient.study_uid)
            if case is None:
                wrong.append(f"study {patient.study_uid}: no case, expected {patient.expected_state}")
            elif case.state != patient.expected_state or case.refusal != patient.expected_refusal:
                got = case.refusal or case.state
                want = patient.expected_refusal or patient.expected_state
                wrong.append(f"case {case.case_id[:8]}: {got} ({case.reason}), expected {want}")
        return wrong + self._too_few_right(cases)

    def agreement(self, cases: Sequence[NightCase]) -> str:
        """How many of the staged cases are what the phantoms were made as."""
        staged = self._staged(cases)
        right = sum(case.t_stage == true for case, true in staged)
        others = [f"{case.case_id[:8]} was made {true}" for case, true in staged if case.t_stage != true]
        return "; ".join([f"{right} of {len(staged)} simulated patients staged as they were made", *others])

    def _staged(self, cases: Sequence[NightCase]) -> list[tuple[NightCase, TStage]]:
        """The staged cases of phantoms, each with the stage that it was made with."""
        truth = {p.study_uid: p.true_stage for p in self.patients if p.true_stage is not None}
        return [(c, truth[c.study_uid]) for c in cases if c.t_stage and c.study_uid in truth]

    def _too_few_right(self, cases: Sequence[NightCase]) -> list[str]:
        """A sentence where so few stages are right as the accuracy that the model's manifest states does not allow."""
        from scipy.stats import binom

        from gtr_batch.stage.artefact import read_manifest

        staged = self._staged(cases)
        stated = read_manifest(self.artefact)[0].metrics.get("accuracy_unseen") if staged else None
        if stated is None:
            return []  # nobody was staged, or by a model that states no accuracy on phantoms
        right = sum(case.t_stage == true for case, true in staged)
        chance = float(binom.cdf(right, len(staged), float(stated)))
        if chance >= LEAST_CHANCE:
            return []
        return [
            f"{right} of {len(staged)} stages are right; of a model that is right in {stated:.0%}, as its manifest "
            f"states, so few have a chance of {chance:.1g}"
        ]

    def _remember(self, *pids: int) -> None:
        """Write down what was started, so that `stop` finds it and nothing else."""
        for pid in pids:
            self._pids.append({"pid": pid, "created": psutil.Process(pid).create_time()})
        state = {
            "processes": self._pids,
            "postgres": str(self.folder / "postgres") if self._database else None,
            "url": self.stack.url if self.stack else None,
            "user": "admin",
        }
        write_json(self.folder / "started.json", state)


class _autocommit:
    """A cursor outside transactions, as `create database` wants."""

    def __init__(self, uri: str) -> None:
        self._connection = psycopg2.connect(uri)
        self._connection.autocommit = True

    def __enter__(self) -> Any:
        return self._connection.cursor()

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _started(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "started.json").read_text()))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _processes(folder: Path) -> list[psutil.Process]:
    """The processes that this folder's demo started and that still run; a pid that was taken over is left alone."""
    found = []
    for entry in _started(folder).get("processes", []):
        try:
            process = psutil.Process(entry["pid"])
            if abs(process.create_time() - entry["created"]) < 1:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def running(folder: Path) -> bool:
    """Whether a demo of this folder is up."""
    return bool(_processes(folder))


def stop(folder: Path) -> int:
    """Stop what a demo of this folder started, and only that; returns how many processes ended."""
    processes = _processes(folder)
    family = [*processes, *(child for p in processes for child in p.children(recursive=True))]
    for process in family:
        _signal(process.terminate)
    _, alive = psutil.wait_procs(family, timeout=15)
    for process in alive:
        _signal(process.kill)
    psutil.wait_procs(alive, timeout=5)
    postgres = _started(folder).get("postgres")
    if postgres and Path(postgres).exists():
        from gtr_batch.simulation.servers.services import EmbeddedPostgres

        EmbeddedPostgres(Path(postgres)).stop()
    (folder / "started.json").unlink(missing_ok=True)
    return len(family)


def _signal(send: Callable[[], None]) -> None:
    try:
        send()
    except psutil.NoSuchProcess:
        return
