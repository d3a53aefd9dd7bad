"""Run whole nights with `dag.test()`: our runner and close_night over a case book in memory, steps that do as told.

Prints, as JSON, how each night ended: the run's state, its task instances, the calls of the steps and the cases.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

from gtr_airflow import callbacks
from gtr_batch import night as steps
from gtr_batch import wiring
from gtr_batch.config import Config, load
from gtr_batch.domain.case import Case, CaseState, Step
from gtr_batch.errors import CaseRejected, ConfigError, ExtractRefused, PacsBusy, PacsUnreachable
from gtr_batch.night.absent import NoHold, NoShadows
from gtr_batch.night.memory import MemoryCases, MemoryDeliveries, MemoryNights
from gtr_batch.night.runner import Shard

STEPS = {
    "retrieve": (Step.RETRIEVE, CaseState.RETRIEVED),
    "validate": (Step.VALIDATE, CaseState.VALIDATED),
    "preprocess": (Step.PREPROCESS, CaseState.PREPROCESSED),
    "stage": (Step.STAGE, CaseState.STAGED),
    "nomogram": (Step.NOMOGRAM, CaseState.SCORED),
    "report": (Step.REPORT, CaseState.REPORTED),
    "deliver": (Step.DELIVER, CaseState.COMMITTED),
}

# What becomes of a case, by its name: the step, and what that step meets each time.
FAULTS = {
    "rejected": ("validate", CaseRejected("wrong_phase", "arterial phase")),
    "failed": ("retrieve", PacsBusy("C-GET refused: status 0xA702 (out of resources)")),
}


class FakeFiles:
    """The one part of the file store that `close_night` needs."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        (self.root / "intake.json").write_text('{"errors": {}}')

    def night_folder(self, night: date, name: str) -> Path:
        return self.root


class FakeSite:
    """A site whose steps need no PACS, no model and no database."""

    def __init__(self, shards: list[list[str]] | Exception) -> None:
        self.config = load(environ={})
        self.nights, self.cases, self.deliveries = MemoryNights(), MemoryCases(), MemoryDeliveries()
        self.hold = NoHold()
        self.files = FakeFiles()
        self.settings = self.config
        self.shadows = NoShadows()
        self.model_version = "3f" * 32
        self.shards = shards
        self.calls: list[list] = []
        self.told: list[str] = []

    def progress(self, step: Step, done: int, total: int) -> None:
        pass

    def query_pacs(self, night: date) -> list[str]:
        self.calls.append(["query_pacs", str(night)])
        if isinstance(self.shards, PacsUnreachable):
            raise self.shards
        self.nights.open(night, self.model_version)
        return ["1.2.840.1"]

    def intake(self, night: date, studies: list[str]) -> list[list[str]]:
        self.calls.append(["intake", studies])
        if isinstance(self.shards, Exception):
            raise self.shards
        self.cases.record([Case(case_id=c, night=night, study_uid=f"1.2.{c}") for shard in self.shards for c in shard])
        return self.shards

    def step(self, name: str, shard: list[str]) -> list[str]:
        self.calls.append([name, shard])
        step, to = STEPS[name]
        return Shard(self, step, shard).each(to, lambda case, _record: self.meet(name, case))

    def meet(self, name: str, case: Case) -> None:
        where, fault = FAULTS.get(case.case_id, ("", None))
        if where == name:
            raise fault


def stumble(site: FakeSite, night: date, shard: list[str]) -> None:
    """A shadow that breaks in a way that nobody foresaw: no night may show it."""
    site.calls.append(["shadow", shard])
    raise RuntimeError("out of its depth")


def run(shards: list[list[str]] | Exception, **when: object) -> dict:
    """Run one night and tell how it ended."""
    import nightly_staging

    site = FakeSite(shards)
    wiring.open_site = lambda config: contextlib.nullcontext(site)
    callbacks.notify = lambda subject, text: site.told.append(f"{subject}: {text}")
    steps.query_pacs, steps.intake = FakeSite.query_pacs, FakeSite.intake
    for name in STEPS:
        setattr(steps, name, lambda site, night, shard, name=name: site.step(name, shard))
    steps.shadow = stumble
    dag = nightly_staging.nightly_staging()
    dag.deadline = None  # dag.test() of 3.3.2 cannot end a successful run that has one; see test_nightly_staging.py
    ended = dag.test(**when)
    return {
        "state": str(ended.state),
        "tasks": {f"{ti.task_id}[{ti.map_index}]": [str(ti.state), ti.try_number] for ti in ended.get_task_instances()},
        "labels": {f"{ti.task_id}[{ti.map_index}]": ti.rendered_map_index for ti in ended.get_task_instances()},
        "calls": site.calls,
        "told": site.told,
        "cases": {case_id: str(case.state) for case_id, case in site.cases._cases.items()},
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
            "intake fails": run(ConfigError("settings are wrong"), **by_hand),
            "no PACS": run(PacsUnreachable("no answer from AE 'PACS'"), **by_hand),
        }
        wiring.open_site = lambda config: contextlib.nullcontext("site")
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
