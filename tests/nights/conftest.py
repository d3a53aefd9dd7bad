"""A small hospital for whole nights: real PACS (qrscp), real Postgres, a network with random weights, tiny patients."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import attrs
import numpy as np
import psutil
import psycopg2
import pytest
import torch
from pydicom import Dataset

from gtr_batch.config import (
    Config,
    FilesConfig,
    IntakeConfig,
    NightConfig,
    PacsConfig,
    ReportConfig,
    StageConfig,
    TrainingConfig,
)
from gtr_batch.domain.model import KeySliceLocator, ModelManifest, N4Settings, PreprocessingContract, RadScoreModel
from gtr_batch.governance.canary import with_canary
from gtr_batch.nomogram import paper_table_3
from gtr_batch.simulation.demos.demo import ARTEFACT
from gtr_batch.simulation.servers.services import EmbeddedQrscp
from gtr_batch.stage import load_artefact, read_version, write_artefact
from gtr_batch.stage.network import GTRNet
from gtr_batch.wiring import open_governance, open_site
from tests.adapters.pacs.peers import a_free_port
from tests.fixtures_db import *  # noqa: F403
from tests.fixtures_db import enter_patient, logins
from tests.phantoms import abdomen_hu, write_series

NIGHT = date(2026, 3, 1)  # the study date of tests/phantoms.py
SIZE = 96  # pixels that the network sees, for speed: a model of a hospital sees 224
SLICES = 22  # at 5 mm: enough to be accepted
PHI = ("Phantom^", "PHANTOM-", "19600101", "1960-01-01")


@pytest.fixture(scope="session")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artefact of the smallest network with random weights; N4 at shrink 8 for speed."""
    return random_artefact(tmp_path_factory.mktemp("artefact"), 7)


@pytest.fixture(scope="session")
def recorded(artefact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with its canary, recorded on this machine: what a registry takes."""
    return with_its_canary(shutil.copytree(artefact, tmp_path_factory.mktemp("recorded") / "artefact"))


@pytest.fixture(scope="session")
def challenger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another such artefact with the same contract."""
    return with_its_canary(random_artefact(tmp_path_factory.mktemp("challenger"), 8))


@pytest.fixture(scope="session")
def foreigner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A third one, which wants its slices prepared otherwise."""
    return with_its_canary(random_artefact(tmp_path_factory.mktemp("foreigner"), 9, window_width_hu=400.0))


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's model, made to see small slices; with its canary."""
    made = load_artefact(ARTEFACT)
    contract = attrs.evolve(made.manifest.contract, size=SIZE)
    folder = tmp_path_factory.mktemp("small_demo") / "artefact"
    write_artefact(folder, made.network, attrs.evolve(made.manifest, contract=contract))
    return with_its_canary(folder)


def random_artefact(folder: Path, seed: int, **contract: float) -> Path:
    """An artefact with random weights."""
    torch.manual_seed(seed)
    features = 512
    manifest = ModelManifest(
        name="random",
        architecture="gtrnet",
        backbone="resnet10",
        feature_count=features,
        weights_sha256="",
        contract=PreprocessingContract(**{"n4": N4Settings(shrink=8), "size": SIZE} | contract),
        temperature=1.0,
        rad_score=RadScoreModel((1, 5), (0.0, 0.0), (1.0, 1.0), (0.5, 0.2)),
        nomogram=attrs.evolve(paper_table_3(), name="random"),
        key_slice_locator=KeySliceLocator(
            (0.0,) * features, (1.0,) * features, tuple(np.random.default_rng(seed).normal(size=features))
        ),
    )
    write_artefact(folder, GTRNet(backbone="resnet10").eval(), manifest)
    return folder


def with_its_canary(folder: Path) -> Path:
    """The same, recorded once for all tests: registration would record it each time."""
    with_canary(folder, read_version(folder))
    return folder


@pytest.fixture(scope="session")
def volume() -> np.ndarray:
    """An enhanced abdomen."""
    return abdomen_hu(SLICES)


@pytest.fixture
def admit(tmp_path: Path, volume: np.ndarray) -> Callable[..., Path]:
    """A function that writes one patient's study; `skip` leaves slices out, `change` spoils instances."""

    def write(name: str, *, skip: tuple[int, ...] = (), change: Callable[[int, Dataset], None] | None = None) -> Path:
        def become(index: int, ds: Dataset) -> None:
            ds.PatientID, ds.AccessionNumber = f"PHANTOM-{name}", f"ACC-{name}"
            ds.SeriesDescription = "Abdomen portal venous 5.0"
            if change is not None:
                change(index, ds)

        folder = tmp_path / "dicom" / name
        paths = write_series(folder, volume, change=become, name=name, thickness_mm=5.0)
        for index in skip:
            paths[index].unlink()
        return folder

    return write


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[EmbeddedQrscp]:
    """A running PACS."""
    server = EmbeddedQrscp(tmp_path / "pacs", a_free_port())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def config(tmp_path: Path, dsn: str, artefact: Path, pacs: EmbeddedQrscp) -> Config:
    """Settings of the small hospital."""
    return Config(
        pacs=PacsConfig(port=pacs.port, called_ae_title=pacs.ae_title, commitment_timeout_s=2, connect_timeout_s=3),
        database=logins(dsn),
        files=FilesConfig(root=tmp_path / "store", min_free_gb=0.01),
        intake=IntakeConfig(probes=2),
        stage=StageConfig(artefact=artefact, device="cpu"),
        report=ReportConfig(refusal_sr=True),
        training=TrainingConfig(folder=tmp_path / "training", models=tmp_path / "models"),
        night=NightConfig(shard_size=2, settle_minutes=0),
    )


@pytest.fixture
def site(config: Config) -> Iterator[object]:
    """The open site."""
    with open_site(config) as opened:
        yield opened


@pytest.fixture
def gov(config: Config) -> Iterator[object]:
    """The site of those who decide about models; its night is a site of its own, as in another process."""
    with open_governance(config) as opened:
        yield opened


@pytest.fixture
def enter_in_ehr(dsn: str) -> Callable[..., None]:
    """A function that makes a patient known to the EHR with a proven gastric adenocarcinoma."""

    def enter(name: str, *, chemotherapy_on: date | None = None) -> None:
        patient = f"PHANTOM-{name}"
        with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
            enter_patient(cursor, patient)
            if chemotherapy_on is not None:
                cursor.execute(
                    "insert into ehr_treatment (patient_id, kind, started_on) values (%s, 'chemotherapy', %s)",
                    [patient, chemotherapy_on],
                )
        connection.close()

    return enter


@pytest.fixture
def fill(pacs: EmbeddedQrscp, tmp_path: Path) -> Callable[[], int]:
    """A function that puts all written studies into the PACS."""
    return lambda: pacs.preload(tmp_path / "dicom")


def with_model(config: Config, artefact: Path) -> Config:
    """The same settings with another artefact."""
    return attrs.evolve(config, stage=attrs.evolve(config.stage, artefact=artefact))


@pytest.fixture
def orphans() -> Iterator[list[psutil.Process]]:
    """Processes that a test lets live on without the one that started them; ended after it."""
    found: list[psutil.Process] = []
    yield found
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
