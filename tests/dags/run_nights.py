"""Run whole nights with `dag.test()`: our runner, retrieve, deliver and close_night over cases in memory.

What needs pixels or a model does as told. Prints, as JSON, how each night ended: the run's state, its task instances,
the calls of the steps and the cases.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian

from gtr_airflow import callbacks
from gtr_batch import night as steps
from gtr_batch import wiring
from gtr_batch.config import Config, load
from gtr_batch.domain.case import Case, CaseState, Step
from gtr_batch.domain.delivery import Commitment, ObjectKind, StoreReceipt
from gtr_batch.domain.identifiers import case_id
from gtr_batch.domain.identity import SeriesIdentity
from gtr_batch.domain.series import InstanceRecord, SeriesRecord, StudyRecord
from gtr_batch.domain.staging import CaseStaging, KeySliceSource, StageProbabilities, TStage
from gtr_batch.domain.step_record import StepRecord
from gtr_batch.errors import CanaryFailed, CaseRejected, ConfigError, ExtractRefused, PacsBusy, PacsUnreachable
from gtr_batch.files import LocalFileStore
from gtr_batch.night.absent import NoHold, NoSettingsHistory, NoShadows
from gtr_batch.night.memory import MemoryCases, MemoryDeliveries, MemoryNights, MemoryStudyLooks
from gtr_batch.night.runner import Shard
from gtr_batch.night.site import Site
from gtr_batch.report.identity import NO_UID, write_object
from gtr_batch.wiring import SystemClock

MODEL = "3f" * 32
# The steps that need pixels or a model, with the state that each brings a case to.
AS_TOLD = {
    "validate": (Step.VALIDATE, CaseState.VALIDATED),
    "preprocess": (Step.PREPROCESS, CaseState.PREPROCESSED),
    "stage": (Step.STAGE, CaseState.STAGED),
    "nomogram": (Step.NOMOGRAM, CaseState.SCORED),
    "report": (Step.REPORT, CaseState.REPORTED),
}
REAL = {"retrieve": steps.retrieve, "deliver": steps.deliver}
PATIENT = "PHANTOM-1"
P = StageProbabilities((0.1, 0.2, 0.6, 0.1))


class Archive:
    """`ImageArchive` of one instance a series; the series of the case named ``failed`` cannot be had."""

    @contextlib.contextmanager
    def connected(self, to_store: Sequence[Path] = ()) -> Iterator[None]:
        yield

    def find_study(self, study_uid: str) -> list[StudyRecord]:
        return [StudyRecord(study_uid, PATIENT)]

    def find_series(self, study_uid: str) -> list[SeriesRecord]:
        return []

    def find_instances(self, study_uid: str, series_uid: str) -> list[InstanceRecord]:
        return [InstanceRecord(f"{series_uid}.1")]

    def retrieve(
        self, study_uid: str, series_uid: str, expected: Sequence[str], folder: Path, *, identity: SeriesIdentity
    ) -> list[Path]:
        if study_uid == STUDIES["failed"]:
            raise PacsBusy("C-GET refused: status 0xA702 (out of resources)")
        paths = [folder / f"{uid}.dcm" for uid in expected]
        for path in paths:
            path.write_bytes(b"pixels")
        return paths

    def present(self, study_uid: str, series_uid: str, sop_uids: Sequence[str], identity=None) -> frozenset[str]:
        return frozenset()

    def store(self, files: Sequence[Path], note: Callable[[StoreReceipt], None]) -> list[StoreReceipt]:
        receipts = [StoreReceipt(path.stem.rpartition("-")[2], 0x0000) for path in files]
        for receipt in receipts:
            note(receipt)
        return receipts

    def commit(self, objects: Sequence[tuple[str, str]], timeout_s: float) -> Commitment:
        return Commitment(offered=True, committed=frozenset(uid for _, uid in objects), transaction_uid="2.25.9")


class Models:
    """`ModelStore` of the one model."""

    def find(self, version: str) -> Path | None:
        return Path("model") if version == MODEL else None


NAMES = ("good 1", "failed", "rejected", "good 2")
STUDIES = {name: f"1.2.{k}" for k, name in enumerate(NAMES, start=1)}
IDS = {name: case_id(uid, f"{uid}.1") for name, uid in STUDIES.items()}
NAME_OF = {one: name for name, one in IDS.items()}


def open_site(calls: list[list]) -> Site:
    """A site without PACS, model and database."""
    site = Site(
        config=load(environ={"GTR_FILES__MIN_FREE_GB": "0.01"}),
        archive=Archive(),
        nights=MemoryNights(),
        cases=MemoryCases(),
        deliveries=MemoryDeliveries(),
        clinical=None,
        files=LocalFileStore(Path(tempfile.mkdtemp())),
        model_store=Models(),
        clock=SystemClock(),
        settings_history=NoSettingsHistory(),
        shadows=NoShadows(),
        hold=NoHold(),
        looks=MemoryStudyLooks(),
    )
    site.__dict__["model_version"] = MODEL  # of the champion, which is not asked for
    site.__dict__["calls"] = calls
    return site


def query_pacs(site: Site, night: date) -> list[str]:
    site.calls.append(["query_pacs", str(night)])
    if isinstance(site.shards, PacsUnreachable):
        raise site.shards
    site.nights.open(night, MODEL)
    return ["1.2.840.1"]


def canary(broken: str, site: Site, night: date) -> None:
    site.calls.append(["canary", str(night)])
    if broken:
        raise CanaryFailed(broken)


def intake(site: Site, night: date, studies: list[str]) -> list[list[str]]:
    site.calls.append(["intake", studies])
    if isinstance(site.shards, Exception):
        raise site.shards
    for shard in site.shards:
        site.cases.record([Case(IDS[name], night, STUDIES[name], f"{STUDIES[name]}.1", PATIENT) for name in shard])
    (site.files.night_folder(night, Step.INTAKE) / "intake.json").write_text('{"errors": {}}')
    return [[IDS[name] for name in shard] for shard in site.shards]


def step(site: Site, night: date, shard: list[str], *, name: str) -> list[str]:
    """One step of a shard: the real one, or one that does as told."""
    site.calls.append([name, [NAME_OF[one] for one in shard]])
    if name in REAL:
        return REAL[name](site, night, shard)
    of, to = AS_TOLD[name]
    return Shard(site, of, shard).each(to, lambda case, record: meet(site, name, case, record))


def meet(site: Site, name: str, case: Case, record: StepRecord) -> None:
    if (name, NAME_OF[case.case_id]) == ("validate", "rejected"):
        raise CaseRejected("wrong_phase", "arterial phase")
    if name == "stage":
        record.stages(CaseStaging(TStage.T3, P, (), KeySliceSource.EHR, MODEL, ()))
    if name == "report":
        folder = site.files.folder(case.night, case.case_id, Step.REPORT)
        record.writes([write_object(folder, a_document(case), ObjectKind.STRUCTURED_REPORT)[0]])


def a_document(case: Case) -> Dataset:
    """As little of a structured report as `deliver` looks at: whose it is."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = Comprehensive3DSRStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = NO_UID
    ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID = PATIENT, case.study_uid, f"{case.study_uid}.9"
    return ds


def stumble(site: Site, night: date, shard: list[str]) -> None:
    """A shadow that breaks in a way that was not foreseen: no night may show it."""
    site.calls.append(["shadow", [NAME_OF[one] for one in shard]])
    raise RuntimeError("out of its depth")


def run(shards: list[list[str]] | Exception, *, earlier: date | None = None, broken: str = "", **when: object) -> dict:
    """Run one night and say how it ended; `earlier`: a run of that night has been through intake before.

    `broken`: what the canary says where it fails.
    """
    import nightly_staging

    calls: list[list] = []
    told: list[str] = []
    site = open_site(calls)
    site.__dict__["shards"] = shards
    if earlier is not None:
        (site.files.night_folder(earlier, Step.INTAKE) / "intake.json").write_text('{"errors": {}}')
    wiring.open_site = lambda config, **_: contextlib.nullcontext(site)
    callbacks.notify = lambda subject, text: told.append(f"{subject}: {text}")
    steps.query_pacs, steps.intake, steps.shadow = query_pacs, intake, stumble
    steps.canary = partial(canary, broken)
    for name in (*AS_TOLD, *REAL):
        setattr(steps, name, lambda site, night, shard, name=name: step(site, night, shard, name=name))
    dag = nightly_staging.nightly_staging()
    dag.deadline = None  # dag.test() of 3.3.2 cannot end a successful run that has one; see test_nightly_staging.py
    ended = dag.test(**when)
    found = site.cases.select(sorted(site.cases._cases))
    return {
        "state": str(ended.state),
        "tasks": {f"{ti.task_id}[{ti.map_index}]": [str(ti.state), ti.try_number] for ti in ended.get_task_instances()},
        "labels": {f"{ti.task_id}[{ti.map_index}]": ti.rendered_map_index for ti in ended.get_task_instances()},
        "calls": calls,
        "told": told,
        "cases": {NAME_OF[case.case_id]: str(case.state) for case in found},
        "stored": sorted(NAME_OF[case.case_id] for case in found if site.deliveries.stored(case.case_id)),
        "nights": [str(night) for night in site.nights._models],
    }


def run_daily(dag_id: str, **fakes: object) -> dict:
    """Run one of the small DAGs with this in the place of its one step; tell how it ended and who heard of it."""
    told: list[str] = []
    callbacks.notify = lambda subject, text: told.append(f"{subject}: {text}")
    for name, fake in fakes.items():
        setattr(wiring if name == "refresh_ehr" else steps, name, fake)
    module = importlib.import_module(dag_id)
    dag = next(made() for name, made in vars(module).items() if name in ("ehr_refresh", "clean_up"))
    ended = dag.test(run_after=datetime(2026, 3, 2, 11, tzinfo=UTC), logical_date=None)
    return {"state": str(ended.state), "told": told, "tries": [ti.try_number for ti in ended.get_task_instances()]}


def refuse_extract(config: Config) -> dict:
    raise ExtractRefused("biopsy.csv: column 'lauren' is missing; nothing was loaded")


def deadline_of(logical_date: datetime) -> str:
    """Until when a run of this logical date must have ended, as Airflow notes it when the run is made."""
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.models.deadline import Deadline
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType
    from sqlalchemy import select

    made = trigger_dag("nightly_staging", logical_date=logical_date, triggered_by=DagRunTriggeredByType.TEST)
    with create_session() as session:
        return session.scalar(select(Deadline.deadline_time).where(Deadline.dagrun_id == made.id)).isoformat()


def main() -> None:
    from airflow.utils import db

    sys.path.insert(0, os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    with contextlib.redirect_stdout(sys.stderr):
        db.initdb()
        by_hand = {"logical_date": None, "run_conf": {"night": "2026-03-01"}}
        ended = {
            "mixed": run([["good 1", "failed"], ["rejected", "good 2"]], **by_hand),
            "refused only": run([["rejected"]], logical_date=datetime(2026, 3, 2, 12, 30, tzinfo=UTC)),
            "no cases": run([], logical_date=None, run_conf={"night": "2026-03-03"}),
            "intake fails": run(ConfigError("settings are wrong"), earlier=date(2026, 3, 1), **by_hand),
            "canary fails": run([["good 1"]], broken="another answer", **by_hand),
            "no PACS": run(PacsUnreachable("no answer from AE 'PACS'"), **by_hand),
        }
        wiring.open_site = lambda config, **_: contextlib.nullcontext("site")
        ended["bad extract"] = run_daily("ehr_refresh", refresh_ehr=refuse_extract)
        ended["good extract"] = run_daily("ehr_refresh", refresh_ehr=lambda config: {"biopsy": 3})
        for name, waiting in (("housekeeping", []), ("housekeeping with work", ["case-1"])):
            days, asked = [], []
            ended[name] = run_daily(
                "housekeeping",
                housekeeping=lambda site, today, days=days, waiting=waiting: (
                    days.append(str(today)) or {"uncommitted": waiting}
                ),
                ask_again=lambda site, ids, asked=asked: asked.append(list(ids)) or {"committed": list(ids)},
            )
            ended[name] |= {"days": days, "asked": asked}
        ended["deadline"] = deadline_of(datetime(2026, 3, 4, 12, 30, tzinfo=UTC))
    print(json.dumps(ended))


if __name__ == "__main__":
    main()
