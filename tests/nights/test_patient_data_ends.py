"""After their retention nothing is left of a patient but what the page of operations names. Real PACS and Postgres."""

from __future__ import annotations

import io
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2
import pydicom
import pytest
import structlog

from gtr_batch import night as steps
from gtr_batch.governance import restage
from gtr_batch.governance.registry import adopt, register_artefact
from tests.nights.conftest import NIGHT
from tests.unit.preprocess import outlines

WHO = {"by": "Ada", "why": "a test"}
NAME, BORN, WHOSE = "Zweigstein", "19370417", "planted7391"
TRACES = (NAME, BORN, "1937-04-17", f"PHANTOM-{WHOSE}", f"ACC-{WHOSE}")
# The clinical tables: what the EHR says of a patient, and whose study a case is, for the worklist and the audit.
CLINICAL = {"ehr_patient", "ehr_biopsy", "ehr_treatment", "staging_case"}


def _plant(folder: Path) -> None:
    paths = sorted(folder.glob("*.dcm"))
    for path in paths:
        ds = pydicom.dcmread(path)
        ds.PatientName, ds.PatientBirthDate = f"{NAME}^Planted", BORN
        ds.save_as(path, enforce_file_format=True)
    outlines.key_objects(folder / "marked.dcm", outlines.headers(paths)[10:11])


def _files_that_name_the_patient(root: Path) -> set[str]:
    """Steps (or names, of files that belong to no case) of every file in which a trace of the patient stands."""
    found = set()
    for path in root.rglob("*"):
        body = path.read_bytes() if path.is_file() else b""
        if any(trace.encode() in body or trace in str(path) for trace in TRACES):
            found.add("/".join(path.relative_to(root).parts[-3:-1]).split("/")[-1])
    return found


def _tables_that_name_the_patient(dsn: str) -> set[str]:
    found = set()
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("select table_name from information_schema.tables where table_schema = 'public'"
                       " and table_type = 'BASE TABLE'")  # fmt: skip
        for (table,) in cursor.fetchall():
            cursor.execute(
                f'select count(*) from "{table}" t where t::text like any (%s)', [[f"%{t}%" for t in TRACES]]
            )
            found |= {table} if cursor.fetchone()[0] else set()
    connection.close()
    return found


@pytest.mark.slow
def test_after_their_retention_only_reports_and_clinical_tables_name_a_patient(
    config, gov, admit, enter_in_ehr, fill, artefact, challenger, dsn
):
    log = io.StringIO()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(log))
    models, root = config.training.models, Path(config.files.root)
    adopt(gov.registry, models, artefact, **WHO)
    other = register_artefact(gov.registry, models, challenger, **WHO)
    _plant(admit(WHOSE))
    enter_in_ehr(WHOSE)
    fill()
    site = gov.night
    shards = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
    for step in steps.SHARD_STEPS:
        for shard in shards:
            step(site, NIGHT, shard)
    summary = steps.close_night(site, NIGHT)
    compared = restage.compare(gov, other, nights=[NIGHT])
    assert summary["states"] == {"committed": 1}
    assert len(compared.cases) == 1
    assert {"intake", "retrieve", "KO", "pacs"} <= _files_that_name_the_patient(root)
    assert any((root / "restage").rglob("*.npz"))

    long_ago = datetime(NIGHT.year, NIGHT.month, NIGHT.day, tzinfo=UTC).timestamp()
    for path in (root / "restage").rglob("*"):
        os.utime(path, (long_ago, long_ago))
    steps.housekeeping(site, NIGHT + timedelta(days=config.files.retention_days + 1))

    assert _files_that_name_the_patient(root) == {
        "report"
    }  # a withdrawal supersedes the report, and copies whose it is
    assert not any((root / "restage").rglob("*.npz"))
    assert _tables_that_name_the_patient(dsn) <= CLINICAL
    assert not [trace for trace in TRACES if trace in log.getvalue()]
