"""Load the EHR extracts: COPY into staging, check, upsert; all files of a folder or none."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from gtr_batch.db import csv_file, ehr_sql, queries, rows
from gtr_batch.db.connection import Database, Transaction
from gtr_batch.db.csv_file import ExtractFile
from gtr_batch.db.ehr_checks import Problem, judge
from gtr_batch.db.extracts import Extract
from gtr_batch.domain.refusal import MENDED_BY_EHR
from gtr_batch.errors import ExtractRefused
from gtr_batch.logs import get_logger
from gtr_batch.ports import Progress

_SHOWN = 20
# Checks between columns, which the suites cannot say: query, column, what is expected.
_CHECKS = {
    "treatment": ("check_treatment", "ended_on", "a date not before started_on"),
    "surgery": ("check_surgery", "t_category", "reported_on, classification and t_category all filled or all empty"),
    "key_slice": ("check_key_slice", "study_uid", "study_uid or accession_number filled"),
}


@frozen
class FileReport:
    """What became of one extract's rows; `set_aside` names the values that are bounds and were loaded as unknown."""

    file: str
    rows: int
    inserted: int
    updated: int
    unchanged: int
    sha256: str
    set_aside: tuple[str, ...] = ()


@frozen
class LoadReport:
    """What a load did, file by file; `second_chance`: refused studies whose patients have new rows."""

    files: tuple[FileReport, ...]
    second_chance: int = 0

    def as_json(self) -> dict[str, Any]:
        """Plain JSON-able dict: ``files``, each with rows read, inserted, updated, unchanged, set aside; and more."""
        return {"files": [attrs.asdict(f) for f in self.files], "second_chance": self.second_chance}


def load_extracts(
    database: Database, folder: Path, progress: Progress | None = None, today: date | None = None
) -> LoadReport:
    """Load every extract of a folder in one transaction (`sql/README.md` says what they look like).

    Parameters
    ----------
    database : Database
        As role app.
    folder : Path
        One CSV a table; those that are absent are left as they are.
    progress : callable, optional
        Called with (done, total): each file counts once when it is checked and once when it is upserted.
    today : date, optional
        The last date that is not in the future; default: today, wherever on earth it is latest.

    Returns
    -------
    LoadReport
        Loading the same files again finds all rows unchanged. Nothing is ever deleted. Cases that were refused for want
        of what the EHR says, and whose patients have new rows, are marked (`Case.ehr_changed_at`).

    Raises
    ------
    ExtractRefused
        Anything is wrong with any file; nothing of any file was loaded. Names file, row and column, no values.
    DatabaseBusy, DatabaseRefused
    """
    if today is None:
        # A hospital east of Greenwich may already have tomorrow; UTC+14 is the earliest zone.
        today = (datetime.now(UTC) + timedelta(hours=14)).date()
    found = csv_file.find(Path(folder))
    total = 2 * len(found)
    report_progress = progress or (lambda done, of: None)
    files = [csv_file.read(extract, path) for extract, path in found]
    query = queries.load("ehr")
    with database.transaction("load of EHR extracts") as tx:
        tx.run(query["lock"])
        tx.run(query["clear"])
        for file in files:
            _copy(tx, file)
        problems = []
        for done, file in enumerate(files, start=1):
            problems += _check(tx, file.extract, today)
            report_progress(done, total)
        _refuse(problems)
        reports, began = [], (tx.one(query["now"]) or {})["at"]
        for done, file in enumerate(files, start=len(files) + 1):
            reports.append(_upsert(tx, file))
            report_progress(done, total)
        marked = tx.all(query["mark"], since=began, codes=sorted(map(str, MENDED_BY_EHR)))
        tx.run(query["clear"])
        tx.run(query["note_load"], files=rows.as_json([attrs.asdict(r) for r in reports]))
    report = LoadReport(tuple(reports), len({row["study_uid"] for row in marked}))
    log = get_logger("ehr_refresh")
    if report.second_chance:
        log.info("ehr.second_chance", studies=report.second_chance)
    for one in report.files:
        log.info("ehr.loaded", file=one.file, rows=one.rows, inserted=one.inserted, updated=one.updated)
        if one.set_aside:
            log.warning("ehr.set_aside", file=one.file, values=len(one.set_aside), shown=list(one.set_aside[:_SHOWN]))
    return report


def _copy(tx: Transaction, file: ExtractFile) -> None:
    tx.copy(ehr_sql.copy(file.extract), io.StringIO(file.body))


def _check(tx: Transaction, extract: Extract, today: date) -> list[Problem]:
    query = queries.load("ehr")
    staged = tx.all(ehr_sql.staged(extract, tx))
    problems = judge(extract, staged, today)
    if extract.name != "patient":
        problems += _orphans(tx, extract, staged)
    if not problems and extract.name in _CHECKS:
        check, column, expected = _CHECKS[extract.name]
        broken = tx.all(query[check])
        if broken:
            problems.append(Problem(extract.file, broken[0]["row_number"], column, expected, len(broken)))
    # Two checks may find the same value wrong; once is enough.
    return sorted(dict.fromkeys(problems), key=lambda problem: problem.row or 0)


def _orphans(tx: Transaction, extract: Extract, staged: Sequence[dict[str, Any]]) -> list[Problem]:
    named = sorted({row["patient_id"] for row in staged if row["patient_id"] is not None})
    known = {row["patient_id"] for row in tx.all(queries.load("ehr")["known_patients"], patient_ids=named)}
    broken = [row["row_number"] for row in staged if row["patient_id"] is not None and row["patient_id"] not in known]
    if not broken:
        return []
    return [
        Problem(extract.file, broken[0], "patient_id", "a patient of patient.csv or of an earlier load", len(broken))
    ]


def _refuse(problems: Sequence[Problem]) -> None:
    if not problems:
        return
    shown = "; ".join(str(p) for p in problems[:_SHOWN])
    more = f"; and {len(problems) - _SHOWN} more problems" if len(problems) > _SHOWN else ""
    raise ExtractRefused(f"{shown}{more}. Nothing of any extract was loaded")


def _upsert(tx: Transaction, file: ExtractFile) -> FileReport:
    counted = tx.one(ehr_sql.upsert(file.extract, tx)) or {}
    inserted, updated = counted["inserted"], counted["updated"]
    return FileReport(
        file.extract.file, file.rows, inserted, updated, file.rows - inserted - updated, file.sha256, file.set_aside
    )
