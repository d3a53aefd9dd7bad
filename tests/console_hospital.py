"""A phantom hospital in a database and a file store, for the console: a finished night with every kind of case."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zlib import crc32

import attrs
import numpy as np
import psycopg2
from attrs import frozen

from gtr_batch.config import (
    Config,
    ConsoleConfig,
    DatabaseConfig,
    FilesConfig,
    NightConfig,
    ReportConfig,
    TrainingConfig,
)
from gtr_batch.console.site import ConsoleSite
from gtr_batch.db import Database
from gtr_batch.db.audit import PostgresAuditBook
from gtr_batch.db.registry import PostgresRegistry
from gtr_batch.domain.audit_run import Alarm, AlarmLevel, AuditKind, AuditRecord, Crossing
from gtr_batch.domain.audit_settings import AuditSettings
from gtr_batch.domain.case import Case, CaseState, Failure, Step
from gtr_batch.domain.clinical import Covariates, Differentiation, Lauren
from gtr_batch.domain.delivery import StoreReceipt
from gtr_batch.domain.identifiers import case_id, derived_uid
from gtr_batch.domain.lifecycle import Change
from gtr_batch.domain.prepared import ROLES as ROLES_OF_SLICES
from gtr_batch.domain.refusal import Refusal, RefusalCode
from gtr_batch.domain.staging import (
    CaseStaging,
    Flag,
    KeySliceSource,
    SliceStaging,
    StageProbabilities,
    StageSet,
    TStage,
)
from gtr_batch.files import LocalFileStore
from gtr_batch.nomogram.score import paper_table_3, score
from gtr_batch.report import PageDrawings, write_case
from gtr_batch.wiring import open_console
from tests.builders import a_geometry, a_heat, a_manifest, a_staging, an_overlay, not_staged
from tests.case_moves import Moves
from tests.fixtures_db import as_role, logins
from tests.phantoms import abdomen_hu, write_series

NIGHT = date(2026, 3, 1)
NOW = datetime(2026, 3, 2, 7, 0, tzinfo=UTC)
MODEL, OLD_MODEL = "3f" * 32, "5b" * 32
ROLES = (
    "operator=user:olga",
    "radiologist=user:rahel",
    "auditor=user:anton",
    "admin=role:admin",
)
PATIENT_ID = "PHANTOM-7"
LONG_ID = "PHANTOM-" + "0123456789" * 5 + "ABCDEF"  # 64 characters, as long as DICOM allows

#: The paper's own is of no model's rad-score, so it has another name here.
NOMOGRAM = attrs.evolve(paper_table_3(), name="of the phantom hospital")

T2 = ((0.10, 0.60, 0.25, 0.05), (0.08, 0.66, 0.21, 0.05), (0.12, 0.55, 0.28, 0.05))
T3 = ((0.05, 0.20, 0.60, 0.15), (0.03, 0.12, 0.71, 0.14), (0.06, 0.22, 0.55, 0.17))
T4 = ((0.01, 0.04, 0.15, 0.80), (0.01, 0.03, 0.11, 0.85), (0.02, 0.05, 0.32, 0.61))
TIE = ((0.08, 0.45, 0.42, 0.05), (0.05, 0.30, 0.55, 0.10), (0.06, 0.30, 0.20, 0.44))


@frozen
class Clock:
    """Port `Clock` that stands still."""

    at: datetime = NOW

    def now(self) -> datetime:
        return self.at


@frozen
class Hospital:
    """What was written, and the way to it."""

    config: Config
    dsn: str
    cases: dict[str, str]

    def open_site(self, now: datetime = NOW) -> ConsoleSite:
        """The console's site, with a clock that stands still on the morning after the night."""
        return attrs.evolve(open_console(self.config), clock=Clock(now))


def console_config(dsn: str, root: Path, **console: object) -> Config:
    """Settings of a site whose console logs in as gtr_console."""
    return Config(
        database=DatabaseConfig(console_dsn=as_role(dsn, "gtr_console")),
        files=FilesConfig(root=root),
        night=NightConfig(timezone="UTC"),
        training=TrainingConfig(models=root / "models"),
        console=ConsoleConfig(roles=ROLES, **console),
    )


def fill(
    dsn: str,
    root: Path,
    *,
    volume: Callable[[], np.ndarray] = lambda: abdomen_hu(7, 64),
    heat: Callable[[int], np.ndarray] = a_heat,
    key: int = 3,
    history: int = 3,
    **console: object,
) -> Hospital:
    """Write the hospital.

    Parameters
    ----------
    dsn : str
        Superuser's, of a migrated database.
    root : Path
        Of the file store.
    volume, heat, key
        The CT of the cases that have one, ``(slices, size, size)`` in HU; the heat map of its three staged slices for
        a size; and the place of the key slice in it.
    history : int
        Nights before, of which only the counts are of interest.
    """
    database = Database(logins(dsn))
    book, files = Moves.on(database), LocalFileStore(root)
    _models(database)
    _earlier_nights(book, history)
    book.open_night(NIGHT, MODEL)
    hu = volume()
    write = _Writer(book, files, hu, heat, key)
    ids = {
        "staged": write.staged("staged", T3, patient=PATIENT_ID),
        "flagged": write.staged(
            "flagged",
            TIE,
            flags=(Flag.NOMOGRAM_DISAGREES, Flag.AUTOMATIC_KEY_SLICE, Flag.KEY_SLICE_UNCERTAIN),
            source=KeySliceSource.AUTOMATIC,
            missing=True,
        ),
        "deep": write.staged("deep", T4),
        "no_nomogram": write.staged("no_nomogram", T2, flags=(Flag.NO_NOMOGRAM,), nomogram=False),
        "past_retention": write.staged("past_retention", T2, pixels=False, patient=LONG_ID),
        "not_staged": write.staged("not_staged", T3, abstains=True),
        "withdrawn": write.staged("withdrawn", T4, model=OLD_MODEL),
        "failed": write.failed("failed"),
        "refused": write.refused("refused"),
        "unfinished": write.unfinished("unfinished"),
    }
    ids["earlier"] = write.staged("earlier", T2, patient=PATIENT_ID, night=NIGHT - timedelta(days=1))
    change = Change(OLD_MODEL, "withdraw", "candidate", "withdrawn")
    PostgresRegistry(database).change([change], champion=MODEL, by="Ada", why="it understaged T4")
    book.close_night(NIGHT, {"cases": 10, "failed": {ids["failed"]: "retrieve: PacsUnreachable: no answer"}})
    _audits(database)
    database.close()
    _times(dsn)
    return Hospital(console_config(dsn, root, **console), dsn, ids)


def _models(database: Database) -> None:
    registry = PostgresRegistry(database)
    for version, name in ((MODEL, "GTRNet phantom"), (OLD_MODEL, "GTRNet phantom, older")):
        manifest = a_manifest(name=name, nomogram=NOMOGRAM).to_json()
        registry.register(version, manifest, Path(version), by="retraining", why="a first one")
    registry.change([Change(MODEL, "promote", "candidate", "champion")], champion=None, by="Ada", why="it passed")
    criteria = [{"name": "accuracy", "verdict": "pass", "sentence": "0.82 (0.74 to 0.89), margin 0.05."}]
    registry.attach(MODEL, "gate", {"verdict": "pass", "criteria": criteria}, by="Ada")


def _earlier_nights(book: Moves, history: int) -> None:
    p = StageProbabilities((0.1, 0.2, 0.6, 0.1))
    slices = tuple(SliceStaging(f"1.2.3.{i}", role, TStage.T3, p) for i, role in enumerate(ROLES_OF_SLICES))
    staging = CaseStaging(TStage.T3, p, slices, KeySliceSource.EHR, MODEL)
    for back in range(1, history + 1):
        night = NIGHT - timedelta(days=back)
        book.open_night(night, MODEL)
        for number in range((back * 5) % 6 + 3):
            name = f"{night}-{number}"
            case = _case(name, night, derived_uid("console-study", name), derived_uid("console-series", name))
            book.record([case])
            if number % 4 == 2:
                refusal = Refusal(RefusalCode.PRIOR_CHEMOTHERAPY, "Chemotherapy before the study.")
                book.refuse(case.case_id, Step.INTAKE, refusal)
            else:
                book.save_staging(case.case_id, staging)
                book.advance(case.case_id, CaseState.COMMITTED)
        book.close_night(night, {"cases": 0})


def _times(dsn: str) -> None:
    """Each night as if it had begun at half past midnight and had been closed some hours later; one was late."""
    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "update night set opened_at = night + interval '1 day 30 minutes', reopened_at = null, "
            "closed_at = night + interval '1 day' + make_interval("
            "mins => case when night = %s then 425 else mod(180 + 7 * extract(day from night)::int, 240) + 150 end)",
            (NIGHT - timedelta(days=2),),
        )
    connection.close()


def _audits(database: Database) -> None:
    audits = PostgresAuditBook(database)
    run = AuditRecord(
        run_id="c" * 64,
        kind=AuditKind.WEEK,
        period="2026-W09",
        as_of=date(2026, 3, 1),
        model_version=MODEL,
        code_version="0.1.0",
        settings=AuditSettings(),
        answer="look",
        headline={"accuracy": 0.8},
        files={"report.pdf": "d" * 64},
        asked_by="drift_monitor",
    )
    audits.save_run(run)
    sentence = "A scanner that the model has not seen: Phantom 128 made 31% of the series."
    alarm = Alarm(
        "headers", AlarmLevel.LOOK, on=NIGHT, watching_since=NIGHT - timedelta(days=50), model_version=MODEL,
        sentence=sentence, detail=Crossing("Scanners and protocols", 6.5, 5.0),
    )  # fmt: skip
    audits.raise_alarms(run.run_id, [alarm])


def _case(name: str, night: date, study: str, series: str, patient: str = "") -> Case:
    return Case(
        case_id=case_id(study, series),
        night=night,
        study_uid=study,
        series_uid=series,
        patient_id=patient or f"PHANTOM-{crc32(name.encode()) % 100_000:05d}",
        accession_number=f"ACC-{crc32(study.encode()) % 100_000:05d}",
        study_at=datetime.combine(night, datetime.min.time()) + timedelta(hours=9, minutes=len(name)),
    )


class _Writer:
    """Writes cases of a night, each with whatever files it would have."""

    def __init__(
        self, book: Moves, files: LocalFileStore, hu: np.ndarray, heat: Callable[[int], np.ndarray], key: int
    ) -> None:
        self.book, self.files, self.hu, self.heat, self.key = book, files, hu, heat(hu.shape[1]), key

    def staged(
        self,
        name: str,
        slices: tuple[tuple[float, ...], ...],
        *,
        flags: tuple[Flag, ...] = (),
        source: KeySliceSource = KeySliceSource.EHR,
        patient: str = "",
        nomogram: bool = True,
        missing: bool = False,
        pixels: bool = True,
        abstains: bool = False,
        model: str = MODEL,
        night: date = NIGHT,
    ) -> str:
        folder = self.files.root / "tmp" / name
        paths = write_series(folder, self.hu, shuffle=False, name=name, thickness_mm=5.0)
        geometry = a_geometry(paths[self.key - 1 : self.key + 2], source)
        case = _case(name, night, derived_uid("phantom-study", name), derived_uid("phantom-series", name), patient)
        staging = a_staging(geometry, slices, flags=(*flags, Flag.DEMO_MODEL), model_version=model)
        stage = staging.t_stage
        assert stage is not None
        deeper = TStage.T4 if stage is TStage.T3 else stage
        staging = attrs.evolve(staging, stage_set=StageSet(stage, deeper, 0.9))
        if abstains:
            staging = not_staged(staging)
        covariates = Covariates(5.5, Differentiation.POOR, None if missing else Lauren.INTESTINAL)
        points = score(NOMOGRAM, stage.position - 1.3, covariates)
        book, moves = self.book, self.files
        book.record([case])
        for state in (CaseState.RETRIEVED, CaseState.VALIDATED, CaseState.PREPROCESSED):
            book.advance(case.case_id, state, {"seconds": 1.25})
        book.save_facts(
            case.case_id, {"manufacturer": "Phantom", "model": "Phantom 64", "kvp": 120, "thickness_mm": 5.0}
        )
        book.save_staging(case.case_id, staging)
        answer = {"not_staged": "unlike_reference"} if abstains else {"t_stage": str(stage), "p": 0.75}
        book.advance(case.case_id, CaseState.STAGED, answer)
        if nomogram and not abstains:
            book.save_score(case.case_id, points, covariates)
        noted = {"points": round(points.points["total"], 1), "missing": list(points.missing)} if nomogram else {}
        book.advance(case.case_id, CaseState.SCORED, {} if abstains else noted)
        report = moves.folder(night, case.case_id, Step.REPORT)
        objects = write_case(
            report,
            case=attrs.evolve(case, patient_id="PHANTOM-1"),
            source_files=paths[self.key - 1 : self.key + 2],
            staging=staging,
            geometry=geometry,
            heat=self.heat,
            overlay=an_overlay(self.hu.shape[1]),
            manifest=a_manifest(),
            config=ReportConfig(parametric_map=False, key_objects=False, pdf=True),
            drawings=PageDrawings(np.stack([an_overlay(self.hu.shape[1])] * 3)),
        )
        book.save_objects(case.case_id, objects)
        book.advance(case.case_id, CaseState.REPORTED)
        book.save_receipts(case.case_id, [StoreReceipt(one.sop_instance_uid, 0) for one in objects])
        book.advance(case.case_id, CaseState.STORED)
        book.advance(case.case_id, CaseState.COMMITTED)
        moves.write_json(night, case.case_id, Step.PREPROCESS, "geometry", geometry.to_json())
        moves.write_arrays(night, case.case_id, Step.EXPLAIN, "heat", {"heat": self.heat.astype(np.float16)})
        if pixels:
            goal = moves.folder(night, case.case_id, Step.RETRIEVE)
            for path in paths:
                path.rename(goal / path.name)
        return case.case_id

    def _begun(self, name: str) -> Case:
        case = _case(name, NIGHT, derived_uid("console-study", name), derived_uid("console-series", name))
        self.book.record([case])
        return case

    def failed(self, name: str) -> str:
        case = self._begun(name)
        self.book.fail(case.case_id, Failure(Step.RETRIEVE, "PacsUnreachable: no answer within 10 s", True))
        return case.case_id

    def refused(self, name: str) -> str:
        case = self._begun(name)
        self.book.advance(case.case_id, CaseState.RETRIEVED)
        refusal = Refusal(RefusalCode.SLICE_GAP, "3 slices are missing between 120 and 135 mm.", {"missing": 3})
        self.book.refuse(case.case_id, Step.VALIDATE, refusal)
        return case.case_id

    def unfinished(self, name: str) -> str:
        case = self._begun(name)
        self.book.advance(case.case_id, CaseState.RETRIEVED)
        return case.case_id
