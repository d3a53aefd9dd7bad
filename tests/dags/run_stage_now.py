"""Run `stage_now` with `dag.test()` over a small site, then let Airflow's scheduler choose between it and a night.

Prints, as JSON, how the runs ended, what Airflow's database keeps of them, and which tasks the scheduler took first
where slots are scarce.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import uuid4

import attrs

from gtr_batch import night as steps
from gtr_batch import wiring
from gtr_batch.domain.case import CaseState, Step
from gtr_batch.night import stage_now
from gtr_batch.night.runner import Shard
from gtr_batch.night.site import Site
from tests.nights.small_site import ELIGIBLE, slices, small_site

AS_TOLD = {
    "retrieve": (Step.RETRIEVE, CaseState.RETRIEVED),
    "validate": (Step.VALIDATE, CaseState.VALIDATED),
    "preprocess": (Step.PREPROCESS, CaseState.PREPROCESSED),
    "stage": (Step.STAGE, CaseState.STAGED),
    "nomogram": (Step.NOMOGRAM, CaseState.SCORED),
    "report": (Step.REPORT, CaseState.REPORTED),
    "deliver": (Step.DELIVER, CaseState.COMMITTED),
}


def step(site: Site, night: object, shard: list[str], *, name: str) -> list[str]:
    """A step that does nothing but bring its cases on."""
    of, to = AS_TOLD[name]
    return Shard(site, of, shard, night).each(to, lambda case, record: None)


def prepared() -> tuple[Site, dict[str, str]]:
    """A site whose PACS has three studies: one that may be staged, one of a treated patient, one still arriving."""
    site = small_site(Path(tempfile.mkdtemp()), settle_minutes=10)
    for name, treated in (("good", False), ("treated", True), ("growing", False)):
        site.archive.arrive(*slices(name, range(24)))
        site.clinical[f"PHANTOM-{name}"] = attrs.evolve(ELIGIBLE, prior_chemotherapy=treated)
    uids = {ds.PatientID.removeprefix("PHANTOM-"): str(ds.StudyInstanceUID) for ds in site.archive.held}
    return site, uids


def run(site: Site, **conf: object) -> dict:
    """One run: its state, its tasks, and all that Airflow keeps of it."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    ended = importlib.import_module("stage_now").stage_now().test(logical_date=None, run_conf=conf)
    with create_session() as session:
        kept = session.scalars(select(XComModel).where(XComModel.run_id == ended.run_id)).all()
        xcom = {f"{one.task_id}.{one.key}": one.value for one in kept}
    return {
        "state": str(ended.state),
        "tasks": {ti.task_id: str(ti.state) for ti in ended.get_task_instances()},
        "kept": json.dumps([ended.run_id, ended.conf, xcom], default=str),
    }


def queued_first(slots: dict[str, int]) -> dict[str, list[str]]:
    """The tasks that the scheduler takes for one pool where three shards of a night and an urgent study wait for it."""
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models import DagModel, DagRun, Pool, TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType
    from sqlalchemy import insert, select, update

    for name, many in slots.items():
        Pool.create_or_update_pool(name, many, "", include_deferred=False)
    night, urgent = (
        trigger_dag(dag_id, logical_date=at, conf=conf, triggered_by=DagRunTriggeredByType.TEST).run_id
        for dag_id, at, conf in (
            ("nightly_staging", datetime(2036, 3, 4, 12, 30, tzinfo=UTC), None),  # no other test's
            ("stage_now", None, {"study_uids": ["1.2.3"]}),
        )
    )
    table, found = TaskInstance.__table__, {}
    for of_night, of_urgent in (("retrieve", "find"), ("preprocess", "preprocess"), ("deliver", "deliver")):
        with create_session() as session:
            session.execute(update(DagModel).values(is_paused=False))
            session.execute(update(DagRun).where(DagRun.run_id.in_([night, urgent])).values(state="running"))
            session.execute(update(table).values(state="success"))
            for run_id, task_id, shards in ((night, of_night, 3), (urgent, of_urgent, 1)):
                its = (table.c.run_id == run_id) & (table.c.task_id == task_id)
                session.execute(update(table).where(its).values(state="scheduled", map_index=0 if shards > 1 else -1))
                row = session.execute(select(table).where(its)).mappings().one()
                for index in range(1, shards):
                    session.execute(insert(table).values(**{**row, "id": uuid4(), "map_index": index}))
        with create_session() as session:
            taken = SchedulerJobRunner(Job())._executable_task_instances_to_queued(max_tis=32, session=session)
            found[of_night] = [f"{ti.dag_id}.{ti.task_id}" for ti in taken]
            session.rollback()
    return found


def main() -> None:
    from airflow.utils import db

    sys.path.insert(0, os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    with contextlib.redirect_stdout(sys.stderr):
        db.initdb()
        site, uids = prepared()
        wiring.open_site = lambda config, **_: contextlib.nullcontext(site)
        for name in AS_TOLD:
            setattr(steps, name, partial(step, name=name))
        stage_now.first_look(site, [uids["good"]])
        site.clock.minutes_later(20)
        ended = {"good": run(site, study_uids=[uids["good"]])}
        [case] = site.cases.of_study(uids["good"])
        ended["again"] = run(site, case_ids=[case.case_id])
        ended["treated"] = run(site, study_uids=[uids["treated"], uids["growing"]], as_it_is=True)
        ended["nothing"] = run(site)
        cases = {uid: [[str(c.night), str(c.state)] for c in site.cases.of_study(uid)] for uid in uids.values()}
        ended["cases"] = {name: cases[uid] for name, uid in uids.items()}
        ended["queued"] = queued_first({"pacs": 2, "gpu": 1})
    print(json.dumps(ended))


if __name__ == "__main__":
    main()
