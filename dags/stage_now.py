"""### One study at once

    find -> take -> retrieve -> validate -> preprocess -> stage -> nomogram -> report -> deliver

Started by hand with Study Instance UIDs or case ids (by accession number: `gtr night --accession`, since Airflow keeps
what a run is started with). The studies go through every check of a night and become cases of the coming night; a night
that is running leaves them alone from then on, and nothing is sent twice.

**Ahead of a running night.** Every task has a priority above all others, in the same pools: as soon as a slot is free
it is this run's. A task that is running is not interrupted, so the wait is at most that of one shard in one step. A
slot of its own it does not have: the PACS grants no further association, and two networks at once may not fit the GPU.

**`wait_for_arrivals`** lets `night.settle_minutes` pass, since a study that still grows is not taken. With `as_it_is`
it is, at the risk that a later night stages it anew.

**The canary** of the model is staged first where it has not passed on this machine in the last 12 hours, as in a night.

**Red** is the run where a study was not taken, or its report did not reach the PACS; the log of `conclude` says why.
What did not end, the coming night goes on with. A study that is staged already is left as it is.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from airflow.sdk import Param, chain, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from gtr_airflow.callbacks import NotifyOperations
from gtr_airflow.connections import task_site
from gtr_airflow.retry import default_args
from gtr_batch.config import load
from gtr_batch.errors import NightFailed

CONFIG = load()
# Above the tasks of every other DAG, which count their downstream tasks.
AT_ONCE = {"priority_weight": 10_000, "weight_rule": "absolute"}
LATER = {"trigger_rule": "all_done", "show_return_value_in_logs": False}  # as the steps of a night


@task(pool="pacs", show_return_value_in_logs=False)
def find() -> list[str]:
    """The Study Instance UIDs that were asked for, each looked at for the first time."""
    from gtr_batch.errors import InputRefused
    from gtr_batch.night import stage_now as now

    params = get_current_context()["params"]
    with task_site() as site:
        studies = [*(params["study_uids"] or []), *now.studies_of_cases(site, params["case_ids"] or [])]
        if not studies:
            raise InputRefused("neither study_uids nor case_ids is given")
        now.first_look(site, studies)
    return list(dict.fromkeys(studies))


@task.sensor(poke_interval=30, mode="reschedule", timeout=timedelta(hours=1).total_seconds())
def wait_for_arrivals(studies: list[str]) -> bool:
    """Wait until the studies may have stood still for `night.settle_minutes`; holds no slot meanwhile."""
    from gtr_batch import night as steps

    with task_site() as site:
        return _as_it_is() or steps.settles_at(site, studies) is None


@task(pool="pacs", show_return_value_in_logs=False)
def take(studies: list[str]) -> dict[str, Any]:
    """Judge the studies, and take those that may be staged into the coming night."""
    from gtr_batch.night import stage_now as now

    with task_site() as site:
        if _as_it_is():
            now.as_it_is(site)
        taken = now.take(site, studies)
    return {"night": str(taken.night), "case_ids": list(taken.case_ids), "not_taken": dict(taken.not_taken)}


@task(pool="pacs", execution_timeout=timedelta(hours=2), show_return_value_in_logs=False)
def retrieve(taken: dict[str, Any] | None) -> None:
    """Fetch every instance that the PACS promised."""
    _step("retrieve", taken)


@task(**LATER)
def validate(taken: dict[str, Any] | None) -> None:
    """Judge headers and pixels; refuse what must not be staged."""
    _step("validate", taken)


@task(**LATER, pool="gpu", queue="gpu")
def preprocess(taken: dict[str, Any] | None) -> None:
    """Key slice and neighbours, as the model's contract says."""
    _step("preprocess", taken)


@task(**LATER, pool="gpu", queue="gpu")
def stage(taken: dict[str, Any] | None) -> None:
    """Stage and explain."""
    _step("stage", taken)


@task(**LATER)
def nomogram(taken: dict[str, Any] | None) -> None:
    """Rad-score and clinical covariates: points and probabilities."""
    _step("nomogram", taken)


@task(**LATER)
def report(taken: dict[str, Any] | None) -> None:
    """Write SR, parametric map, secondary capture and key objects."""
    _step("report", taken)


@task(**LATER, pool="pacs", execution_timeout=timedelta(hours=2))
def deliver(taken: dict[str, Any] | None) -> None:
    """Send, have committed or read back, annotate the worklist."""
    _step("deliver", taken)


@task(trigger_rule="all_done", on_failure_callback=NotifyOperations(), show_return_value_in_logs=False)
def conclude(taken: dict[str, Any] | None) -> list[str]:
    """Say what became of each study; red where one was not taken or did not end."""
    from gtr_batch.night import stage_now as now

    if not taken:
        raise NightFailed("nothing was taken: the log of `find` or `take` says why")
    with task_site() as site:
        return now.outcome(site, _taken(taken))


def _as_it_is() -> bool:
    return bool(get_current_context()["params"]["as_it_is"])


def _step(name: str, taken: dict[str, Any] | None) -> None:
    """One step of a night for what was taken."""
    from gtr_batch import night as steps
    from gtr_batch.night import stage_now as now

    if not taken or not taken["case_ids"]:
        raise AirflowSkipException("nothing was taken")
    with task_site() as site:
        if _as_it_is():
            now.as_it_is(site)
        getattr(steps, name)(site, _taken(taken).night, taken["case_ids"])


def _taken(taken: dict[str, Any]) -> Any:
    from gtr_batch.night.stage_now import Taken

    return Taken(date.fromisoformat(taken["night"]), tuple(taken["case_ids"]), taken["not_taken"])


@dag(
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args={**default_args(CONFIG), **AT_ONCE},
    params={
        "study_uids": Param(
            [],
            type="array",
            items={"type": "string", "pattern": r"^[0-2](\.(0|[1-9][0-9]*))+$", "maxLength": 64},
            title="Study Instance UIDs",
            description="Airflow keeps what is typed here: nothing that names a patient.",
        ),
        "case_ids": Param(
            [],
            type="array",
            items={"type": "string", "format": "uuid"},
            title="Case ids",
            description="As `gtr status` lists them.",
        ),
        "as_it_is": Param(
            False,
            type="boolean",
            title="As it is",
            description="Take a study although its images may still be arriving.",
        ),
    },
    is_paused_upon_creation=False,  # who asks for it wants it at once
    doc_md=__doc__,
    tags=["gtr"],
)
def stage_now() -> None:
    studies = find()
    taken = take(studies)
    chain(wait_for_arrivals(studies), taken)
    chain(
        retrieve(taken),
        validate(taken),
        preprocess(taken),
        stage(taken),
        nomogram(taken),
        report(taken),
        deliver(taken),
        conclude(taken),
    )


stage_now()
