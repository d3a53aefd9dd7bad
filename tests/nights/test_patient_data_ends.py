"""After their retention nothing is left of a patient but what the page of operations names.

Real PACS, PostgreSQL, Airflow and MLflow. Whatever is written of a night, a replay, a training and an audit is
searched: files, our database, the server's log, Airflow's database and logs, MLflow.
"""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import zlib
from collections.abc import Callable
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import psycopg2
import pydicom
import pytest
from psycopg2 import sql
from psycopg2.extensions import parse_dsn
from pydicom.uid import DeflatedExplicitVRLittleEndian
from reportlab.pdfgen.canvas import Canvas

from gtr_batch.config import AuditConfig, Config
from gtr_batch.db import Database
from gtr_batch.domain.case import PATH, Case, CaseState, Step
from gtr_batch.domain.identifiers import case_id
from gtr_batch.domain.staging import CaseStaging, KeySliceSource, SliceStaging, StageProbabilities, TStage
from gtr_batch.files import LocalFileStore
from gtr_batch.governance.registry import adopt, register_artefact
from gtr_batch.night.steps import contract_json
from tests.case_moves import Moves
from tests.dags.conftest import *  # noqa: F403 - Airflow in a process of its own
from tests.nights.conftest import NIGHT
from tests.planted import BORN, FAMILY, WHOSE, files_with_traces, plant, plant_unreadable, tables_with_traces, traces_in
from tests.settings import as_environment
from tests.unit.preprocess import outlines

WHO = {"by": "Ada", "why": "a test"}
EARLIER, OPERATED, OPERATIONS = NIGHT - timedelta(days=20), NIGHT + timedelta(days=5), 24

#: Where a patient may still be named, and why.
KEPT_COLUMNS = {
    "staging_case.patient_id": "whose study a case is: the worklist, the audit and a withdrawal need it",
    "staging_case.accession_number": "as above",
    "ehr_patient.patient_id": "the EHR's own extract, replaced as a whole by the next one",
    "ehr_patient.birth_date": "as above",
    "ehr_biopsy.patient_id": "as above",
    "ehr_surgery.patient_id": "as above",
}
KEPT_STEPS = {"report": "what was sent: a withdrawal supersedes it, and copies whose it is"}


@pytest.fixture
def config(config: Config, tmp_path: Path) -> Config:
    """The small hospital, with the smallest training and audit, and MLflow in a file."""
    training = attrs.evolve(
        config.training, backbone="resnet10", start="random", epochs=1, batch=8, minimum_per_class=2,
        minimum_holdout_per_class=1, locator_series=0, tracking_uri=f"sqlite:///{tmp_path}/mlflow.db",
    )  # fmt: skip
    audit = AuditConfig(folder=tmp_path / "audit", draws=20)
    return attrs.evolve(
        config, training=training, audit=audit, files=attrs.evolve(config.files, min_free_gb=0.001),
        night=attrs.evolve(config.night, task_memory_gb=0),
    )  # fmt: skip


def _admit_planted(admit: Callable[..., Path]) -> None:
    """A patient who is staged, and one in whose images nothing can be read where it is looked for."""
    folder = admit(WHOSE, change=lambda index, ds: plant(ds))
    outlines.key_objects(folder / "marked.dcm", outlines.headers(sorted(folder.glob("*.dcm")))[10:11])

    def spoil(index: int, ds: pydicom.Dataset) -> None:
        plant(ds)
        plant_unreadable(ds)

    admit(f"{WHOSE}x", change=spoil)


def _enter(dsn: str, name: str, stage: TStage) -> None:
    """An operated patient with a proven carcinoma, all under the planted number and birth date."""
    patient = f"PHANTOM-{name}"
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into ehr_patient (patient_id, sex, birth_date) values (%s, 'female', %s)", [patient, BORN]
        )
        cursor.execute(
            "insert into ehr_biopsy (patient_id, biopsy_date, site, adenocarcinoma, lauren, differentiation)"
            " values (%s, '2026-02-01', 'stomach', true, 'diffuse', 'poor')",
            [patient],
        )
        cursor.execute(
            "insert into ehr_surgery (patient_id, operated_on, reported_on, classification, t_category)"
            " values (%s, %s, %s, 'pT', %s)",
            [patient, OPERATED, OPERATED, str(stage)],
        )
    connection.close()


def _staged_before(config: Config, version: str, contract: Any) -> None:
    """Cases of an earlier night with their slices: who is trained on, in a holdout, and audited."""
    database, files = Database(config.database), LocalFileStore(config.files.root)
    book, rng = Moves.on(database), np.random.default_rng(0)
    book.open_night(EARLIER, version)
    for number in range(OPERATIONS):
        study = f"1.2.{number + 1}"
        at_eight = datetime(EARLIER.year, EARLIER.month, EARLIER.day, 20)
        whose = (f"PHANTOM-{WHOSE}-{number}", f"ACC-{WHOSE}-{number}")
        one = Case(case_id(study, f"{study}.4"), EARLIER, study, f"{study}.4", *whose, at_eight)
        stage = list(TStage)[number % 4]
        p = StageProbabilities(tuple(0.7 if other is stage else 0.1 for other in TStage))
        uids = [f"{study}.4.{k}" for k in range(3)]
        book.record([one])
        slices = tuple(SliceStaging(u, role, stage, p) for u, role in zip(uids, ("below", "key", "above"), strict=True))
        book.save_staging(one.case_id, CaseStaging(stage, p, slices, KeySliceSource.EHR, version, ()))
        for state in PATH[1 : PATH.index(CaseState.COMMITTED) + 1]:
            book.advance(one.case_id, state)
        book.save_facts(one.case_id, {"manufacturer": "A", "kvp": 120.0})
        pixels = np.zeros((3, contract.size, contract.size), np.float16)
        pixels[:, 30:70, 30:70] = rng.normal(number % 4, 0.3, (3, 40, 40))
        at = (EARLIER, one.case_id, Step.PREPROCESS)
        files.write_arrays(*at, "prepared", {"slices": pixels, "lesion": pixels != 0})
        files.write_json(*at, "geometry", {"sop_instance_uids": uids})
        files.write_json(*at, "contract", contract_json(contract))
    database.close()


def _log_all_statements(dsn: str) -> Path:
    """Let the server log every statement on a database; where its log lies."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for setting in ("log_statement = 'all'", "log_min_duration_statement = 0", "log_parameter_max_length = -1"):
            name = sql.Identifier(parse_dsn(dsn)["dbname"])
            cursor.execute(sql.SQL("alter database {} set " + setting).format(name))
    connection.close()
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("select 'every statement is logged', current_setting('data_directory')")
        [(_, folder)] = cursor.fetchall()
    connection.close()
    return Path(folder).parent / "postgres.log"


def _packed_in(text: str) -> dict[str, bytes]:
    """The text in every container in which a patient might be hidden."""
    arrays, page, dataset = BytesIO(), BytesIO(), BytesIO()
    np.savez_compressed(arrays, text=np.array([text]))
    drawn = Canvas(page)
    drawn.drawString(100, 100, text)
    drawn.save()
    ds = pydicom.Dataset()
    ds.ImageComments = text
    ds.file_meta = pydicom.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2"
    ds.save_as(dataset, enforce_file_format=True)
    return {
        "capitals": text.upper().encode(),
        "UTF-16": text.encode("utf-16"),
        "base64 in JSON": json.dumps({"is": base64.b64encode(f"of {text}".encode()).decode()}).encode(),
        "gzip in base64": b"'" + base64.urlsafe_b64encode(gzip.compress(text.encode())) + b"'",
        "zlib behind other bytes": b"\x80\x05" + zlib.compress(text.encode() * 9),
        "hexadecimal": text.encode().hex().encode(),
        "NumPy": arrays.getvalue(),
        "pickle": pickle.dumps({"text": text}),
        "PDF": page.getvalue(),
        "deflated DICOM": dataset.getvalue(),
    }


@pytest.mark.parametrize("how", _packed_in(""))
def test_the_search_finds_a_patient_however_packed(how):
    """Otherwise the test below would show nothing."""
    assert {FAMILY, BORN} <= traces_in(_packed_in(f"{FAMILY} {BORN}")[how])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_after_their_retention_only_reports_and_clinical_tables_name_a_patient(
    config, gov, admit, fill, recorded, challenger, dsn, empty_dsn, in_airflow, airflow_environ, tmp_path
):
    models, root = config.training.models, Path(config.files.root)
    adopt(gov.registry, models, recorded, **WHO)
    other = register_artefact(gov.registry, models, challenger, **WHO)
    _admit_planted(admit)
    for name in (WHOSE, f"{WHOSE}x"):
        _enter(dsn, name, TStage.T3)
    for number in range(OPERATIONS):
        _enter(dsn, f"{WHOSE}-{number}", list(TStage)[number % 4])
    _staged_before(config, gov.registry.champion(), gov.night.artefact_by(gov.registry.champion()).manifest.contract)
    fill()
    server_log = _log_all_statements(dsn)
    given = parse_dsn(empty_dsn)
    metadata = (
        f"postgresql+psycopg2://{given['user']}:{given['password']}@{given['host']}:{given['port']}/{given['dbname']}"
    )

    log = tmp_path / "airflow.log"
    ended = in_airflow(
        "run_planted.py", other, log_to=log, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=metadata, **as_environment(config)
    )

    assert {run: set(ended[run].values()) for run in ("night", "training", "audit", "housekeeping")} == {
        "night": {"success", "skipped"},
        "training": {"success"},
        "audit": {"success", "skipped"},
        "housekeeping": {"success", "skipped"},
    }
    assert (ended["replayed"], ended["cards"]) == (2, 3)
    assert {"retrieve", "KO", "pacs"} <= {Path(path).parent.name for path in ended["before"]}
    assert any("scratch-" in path for path in ended["before"])
    ours = [path for path in tmp_path.iterdir() if path.name not in ("dicom", "pacs")]  # not what the PACS has
    named = {path for top in [*ours, Path(airflow_environ["AIRFLOW_HOME"])] for path in files_with_traces(top)}
    assert {path.parent.name for path in named} == set(KEPT_STEPS)
    assert not any((root / "restage").rglob("*.npz"))
    assert set(tables_with_traces(dsn)) == set(KEPT_COLUMNS)
    assert tables_with_traces(empty_dsn) == {}  # Airflow's: runs, their parameters, XCom, rendered templates, its log
    assert traces_in(log.read_bytes()) == set()
    assert b"every statement is logged" in server_log.read_bytes()
    assert traces_in(server_log.read_bytes()) == set()
