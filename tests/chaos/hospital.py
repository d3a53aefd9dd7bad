"""The hospital of a round: a PACS, a PostgreSQL, a file store, a line to cut; and an undisturbed night in it."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import attrs
import psycopg2
from attrs import define, field, frozen
from psycopg2.extensions import make_dsn, parse_dsn
from pydicom import Dataset

from gtr_batch.config import (
    Config,
    DatabaseConfig,
    FilesConfig,
    IntakeConfig,
    NightConfig,
    PacsConfig,
    StageConfig,
    ValidateConfig,
)
from gtr_batch.db import migrate
from gtr_batch.domain.staging import CaseStaging
from gtr_batch.loopback import free_port
from gtr_batch.simulation.servers.postgres import EmbeddedPostgres
from gtr_batch.simulation.servers.services import load_files
from gtr_batch.wiring import open_site
from tests.adapters.pacs.peers import orthanc
from tests.chaos.line import Line
from tests.chaos.worker import run_night
from tests.fixtures_db import as_role, enter_patient
from tests.phantoms import abdomen_hu, write_series

NIGHT = date(2026, 3, 1)  # the study date of tests/phantoms.py
SIZE, SLICES = 128, 22
AE_TITLE = "ORTHANC"
# Imported once, in the process that workers are forked from; as Airflow's tasks are in a deployment.
PRELOAD = [
    *(f"gtr_batch.{name}" for name in ("night", "wiring", "db", "pacs", "stage", "explain", "preprocess", "report")),
    *("gtr_batch.validate", "gtr_batch.deliver", "gtr_batch.nomogram", "tests.chaos.worker"),
    *("torch", "torchvision", "great_expectations", "pytorch_grad_cam", "highdicom", "SimpleITK", "pandas"),
]


def preload() -> None:
    """Import in the fork server what every worker needs."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOAD)


@frozen
class Outcome:
    """What a night left: states and result objects by study, as database and PACS have them."""

    states: dict[str, str]
    answers: dict[str, tuple[object, ...]]  # stage and probabilities, to a thousandth
    cases: dict[str, int]
    written: dict[str, frozenset[str]]  # SOP Instance UIDs of the results, as the database has them
    listed: dict[str, tuple[str, ...]]  # and as the PACS lists them


@define
class Hospital:
    """One round's hospital."""

    config: Config
    folder: Path
    program: str
    postgres: EmbeddedPostgres
    line: Line
    pacs_port: int
    our_port: int
    database: str
    log: Path
    _pacs: ExitStack = field(factory=ExitStack)
    _process: object = None

    def start_pacs(self) -> None:
        """Start the PACS on what it keeps."""
        self._process = self._pacs.enter_context(
            orthanc(self.program, self.folder / "orthanc", self.pacs_port, ae_title=AE_TITLE, our_port=self.our_port)
        )

    def kill_pacs(self) -> None:
        """End the PACS as a power cut does; the kernel keeps what it was given."""
        self._process.kill()  # type: ignore[attr-defined]
        self.stop_pacs()

    def stop_pacs(self) -> None:
        """End it."""
        self._pacs.close()

    def worker(self, moments: Connection | None = None) -> ForkServerProcess:
        """Start a worker that runs the night."""
        context = multiprocessing.get_context("forkserver")
        process = context.Process(target=run_night, args=(self.config, NIGHT, self.log, moments), daemon=True)
        process.start()
        return process

    def terminate_sessions(self) -> int:
        """End all sessions of this round's database; returns how many."""
        with self._superuser() as cursor:
            cursor.execute(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                " where datname = %s and pid <> pg_backend_pid()",
                [self.database],
            )
            return int(cursor.fetchone()[0])

    def outcome(self) -> Outcome:
        """What database and PACS have now."""
        direct = attrs.evolve(self.config, pacs=attrs.evolve(self.config.pacs, port=self.pacs_port))
        states, answers, counts, written, listed = {}, {}, {}, {}, {}
        with open_site(direct) as site:
            for case in site.cases.of_night(NIGHT):
                states[case.study_uid] = str(case.state)
                counts[case.study_uid] = counts.get(case.study_uid, 0) + 1
                answers[case.study_uid] = _answer(site.cases.staging(case.case_id))
                objects = site.cases.objects(case.case_id)
                written[case.study_uid] = frozenset(one.sop_instance_uid for one in objects)
            with site.archive.connected():
                for study in site.archive.find_studies(*_day()):
                    uids: list[str] = []
                    for series in site.archive.find_series(study.study_uid):
                        if series.modality != "CT":
                            found = site.archive.find_instances(study.study_uid, series.series_uid)
                            uids += [one.sop_instance_uid for one in found]
                    listed[study.study_uid] = tuple(sorted(uids))
        return Outcome(states, answers, counts, written, listed)

    def leftovers(self) -> int:
        """Files that were begun and never got their name."""
        return sum(path.suffix in (".part", ".tmp") for path in self.config.files.root.rglob("*"))

    @contextmanager
    def _superuser(self) -> Iterator[psycopg2.extensions.cursor]:
        connection = psycopg2.connect(self.postgres.uri)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()


def _answer(staging: CaseStaging | None) -> tuple[object, ...]:
    """How many cases share a forward pass changes the last digits of a probability, and with them the objects' UIDs."""
    if staging is None or staging.probabilities is None:
        return ()
    return (str(staging.t_stage), *(round(p, 3) for p in staging.probabilities.values))


def _day() -> tuple[object, object]:
    from datetime import datetime, timedelta

    start = datetime.combine(NIGHT, datetime.min.time())
    return start, start + timedelta(days=1)


class Hospitals:
    """Makes a fresh hospital for each round: the same patients, nothing staged yet."""

    def __init__(self, folder: Path, program: str, artefact: Path, cases: int, shard_size: int) -> None:
        self._folder, self._program, self._artefact = folder, program, artefact
        self.cases, self._shard_size, self._count = cases, shard_size, 0
        self.postgres = EmbeddedPostgres(folder / "postgres")  # durable: a crash loses nothing that it committed

    @contextmanager
    def running(self) -> Iterator[Hospitals]:
        """PostgreSQL runs while the block runs, and a PACS with the patients is made."""
        self.postgres.start()
        try:
            self._make_template()
            yield self
        finally:
            self.postgres.delete()

    @contextmanager
    def fresh(self) -> Iterator[Hospital]:
        """A hospital, whose files are deleted after."""
        self._count += 1
        folder, database = self._folder / f"round{self._count}", f"round{self._count}"
        shutil.copytree(self._folder / "template", folder)
        self._administer(f'create database "{database}" template gtr_template')
        pacs_port, our_port = free_port(), free_port()
        line = Line(pacs_port)
        config = self._config(folder, database, line.port, our_port)
        made = Hospital(
            config, folder, self._program, self.postgres, line, pacs_port, our_port, database, folder / "night.log"
        )
        made.start_pacs()
        try:
            yield made
        finally:
            made.stop_pacs()
            line.close()
            self._administer(f'drop database "{database}" with (force)')
            shutil.rmtree(folder, ignore_errors=True)

    def _config(self, folder: Path, database: str, port: int, our_port: int) -> Config:
        dsn = self._dsn(database)
        return Config(
            pacs=PacsConfig(
                port=port, called_ae_title=AE_TITLE, commitment_port=our_port, commitment_timeout_s=15,
                connect_timeout_s=3, acse_timeout_s=10, dimse_timeout_s=15, network_timeout_s=15,
            ),
            database=DatabaseConfig(
                dsn=as_role(dsn, "gtr_app"), governor_dsn=as_role(dsn, "gtr_governor"), connect_timeout_s=3
            ),
            files=FilesConfig(root=folder / "store", min_free_gb=0.05),
            intake=IntakeConfig(probes=2),
            validate=ValidateConfig(matrix=SIZE),
            stage=StageConfig(artefact=self._artefact, device="cpu", threads=1),
            night=NightConfig(shard_size=self._shard_size, settle_minutes=0),
        )  # fmt: skip

    def _dsn(self, database: str) -> str:
        return make_dsn(**{**parse_dsn(self.postgres.uri), "dbname": database})

    def _administer(self, statement: str) -> None:
        connection = psycopg2.connect(self.postgres.uri)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
        connection.close()

    def _make_template(self) -> None:
        """A migrated database that knows the patients, and a PACS that holds their studies."""
        self._administer("create database gtr_template")
        dsn = self._dsn("gtr_template")
        migrate(dsn)
        connection = psycopg2.connect(dsn)
        with connection, connection.cursor() as cursor:
            for number in range(self.cases):
                patient = f"PHANTOM-{number:02d}"
                enter_patient(cursor, patient)
        connection.close()
        dicom, template = self._folder / "dicom", self._folder / "template"
        for number in range(self.cases):
            _write_patient(dicom / f"{number:02d}", f"{number:02d}")
        port = free_port()
        with orthanc(self._program, template / "orthanc", port, ae_title=AE_TITLE):
            load_files(PacsConfig(port=port, called_ae_title=AE_TITLE), dicom)
        shutil.rmtree(dicom)


def _write_patient(folder: Path, name: str) -> None:
    def become(_: int, ds: Dataset) -> None:
        ds.PatientID, ds.AccessionNumber = f"PHANTOM-{name}", f"ACC-{name}"
        ds.SeriesDescription = "Abdomen portal venous 5.0"

    write_series(folder, abdomen_hu(SLICES, SIZE, int(name)), change=become, name=name, thickness_mm=5.0)


def undisturbed(hospital: Hospital, limit_s: float) -> tuple[Outcome, int, float]:
    """The night without a fault: what it leaves, how many moments it has, and how long it takes."""
    context = multiprocessing.get_context("forkserver")
    read, write = context.Pipe(duplex=False)
    began = time.monotonic()
    worker = hospital.worker(write)
    write.close()
    moments = 0
    while read.poll(limit_s):
        try:
            read.recv_bytes()
        except EOFError:
            break
        moments += 1
    worker.join(limit_s)
    if worker.exitcode != 0:
        raise RuntimeError(f"the undisturbed night ended with {worker.exitcode}: {hospital.log.read_text()[-3000:]}")
    return hospital.outcome(), moments, time.monotonic() - began
