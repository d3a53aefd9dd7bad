"""### The night: from PACS to PACS

    pacs -> intake -> validate -> preprocess -> stage -> explain -> nomogram -> report -> deliver

One run a night. It finds the evening's CT studies, fetches them, stages the gastric cancers among them and puts the
results back into the PACS. A mapped task works on a shard, up to `night.shard_size` cases; inside it each case
succeeds, is refused or fails alone, and its state is in Postgres (`gtr status`). A shard goes on without waiting for
the others.

**A red task** is a shard in which some cases could not be finished after all tries; the later steps still run for the
others. **The colour of the run** is decided by `close_night` alone: red when cases failed beyond the night's
tolerance (`night.failure_tolerance`), or when `query_pacs` or `intake` failed. Its log names the first ten cases.

**`wait_for_arrivals`** lets `night.settle_minutes` pass after the query: a study whose images are still coming is not
taken tonight, and a series that has grown since it was staged is staged anew (`waiting` of `intake` in the night's
summary).

**`canary`** stages the model's own phantom series on the machine that stages, before any patient: it must give the
recorded answer within tolerance. Where it does not (a driver, a library, a card that fails) it is red, nothing is
staged, and its log says which numbers differ (`gtr model canary`, docs/operations.md).

**`shadow`** lets models in shadow stage the same slices beside the champion. Nothing waits for it but the night's
summary, which shows how far they agree; its faults do not turn the night red.

**`send_results`** tells the RIS (`ris.host`) and a FHIR server (`fhir.url`) of each result that the PACS has committed,
and is skipped where a site has neither. What they do not take is sent again by day; it does not turn the night red
(docs/ris.md).

**To run a night again**, trigger with the parameter `night` (or `airflow dags trigger nightly_staging --conf
'{"night": "2026-03-01"}'`). Finished cases are left alone, and nothing is sent to the PACS twice.
A night is named by its date: the run at 00:30 stages the studies of the day before.
"""

from __future__ import annotations

from datetime import date, timedelta

from airflow.sdk import (
    AsyncCallback,
    DeadlineAlert,
    DeadlineReference,
    Param,
    chain,
    dag,
    get_current_context,
    task,
    task_group,
)

from gtr_airflow.callbacks import NotifyOperations, deadline_missed, run_failed
from gtr_airflow.connections import task_site
from gtr_airflow.nights import night_of, night_timetable, until_ready
from gtr_airflow.results import tell_of_results
from gtr_airflow.retry import default_args
from gtr_batch.config import load
from gtr_batch.errors import NightFailed

CONFIG = load()

# A failed shard must not keep its other cases from the next step, so the steps ask only that the one before is over,
# and take the shard from the mapping, not from what the step before returned.
SHARD = {
    "trigger_rule": "all_done",
    "map_index_template": "shard {{ ti.map_index + 1 }}, {{ task.op_args[0] | length }} case(s)",
    "show_return_value_in_logs": False,
}


@task(pool="pacs", show_return_value_in_logs=False)
def query_pacs() -> list[str]:
    """Ask the PACS for the CT studies of the night's window."""
    from gtr_batch import night as steps

    with task_site() as site:
        return steps.query_pacs(site, tonight())


@task(pool="gpu", queue="gpu", show_return_value_in_logs=False, on_failure_callback=NotifyOperations())
def canary() -> str | None:
    """Stage the model's own phantom series on this machine; red where its answer is not the recorded one."""
    from gtr_batch import night as steps

    with task_site() as site:
        found = steps.canary(site, tonight())
    return found and str(found.outcome)


@task.sensor(poke_interval=30, mode="reschedule", timeout=timedelta(hours=4).total_seconds())
def wait_for_arrivals(studies: list[str]) -> bool:
    """Wait until the night's studies may have stood still for `night.settle_minutes`; holds no slot meanwhile."""
    from gtr_batch import night as steps

    with task_site() as site:
        return steps.settles_at(site, studies) is None


@task(pool="pacs", execution_timeout=timedelta(hours=1), show_return_value_in_logs=False)
def intake(studies: list[str]) -> list[list[str]]:
    """Choose the cases: eligible patients, portal venous series; shard them."""
    from gtr_batch import night as steps

    with task_site() as site:
        return steps.intake(site, tonight(), studies)


@task(**{**SHARD, "trigger_rule": "all_success"}, pool="pacs", execution_timeout=timedelta(hours=2))
def retrieve(shard: list[str]) -> list[str]:
    """Fetch every instance that the PACS promised."""
    return _in_the_night("retrieve", shard)


@task(**SHARD)
def validate(shard: list[str]) -> list[str]:
    """Judge headers and pixels; refuse what must not be staged."""
    return _in_the_night("validate", shard)


@task(**SHARD, pool="gpu", queue="gpu", execution_timeout=timedelta(hours=2))
def preprocess(shard: list[str]) -> list[str]:
    """Key slice and neighbours, as the model's contract says; the key slice locator runs the network too."""
    return _in_the_night("preprocess", shard)


@task(**SHARD, pool="gpu", queue="gpu", execution_timeout=timedelta(hours=1))
def stage(shard: list[str]) -> list[str]:
    """Stage and explain: vote, features and heat map from one forward pass."""
    return _in_the_night("stage", shard)


@task(**SHARD)
def nomogram(shard: list[str]) -> list[str]:
    """Rad-score and clinical covariates: points and probabilities."""
    return _in_the_night("nomogram", shard)


@task(**SHARD)
def report(shard: list[str]) -> list[str]:
    """Write SR, parametric map, secondary capture and key objects."""
    return _in_the_night("report", shard)


@task(**SHARD, pool="pacs", execution_timeout=timedelta(hours=2))
def deliver(shard: list[str]) -> list[str]:
    """Send, have committed or read back, annotate the worklist."""
    return _in_the_night("deliver", shard)


@task(**SHARD, pool="gpu", queue="gpu", execution_timeout=timedelta(hours=1))
def shadow(shard: list[str]) -> None:
    """Stage the same slices with every challenger in shadow; nothing of it leaves the hospital."""
    from gtr_batch import night as steps

    with task_site() as site:
        steps.shadow(site, tonight(), shard)


@task(trigger_rule="all_done", execution_timeout=timedelta(hours=1), on_failure_callback=NotifyOperations())
def send_results() -> dict[str, int]:
    """Tell the RIS, and a FHIR server, of every committed result that is news there; returns how many were taken."""
    return tell_of_results()


@task(trigger_rule="all_done", on_failure_callback=NotifyOperations())
def close_night(shards: list[list[str]] | None) -> dict:
    """Decide the colour of the night and write its summary; `shards` is None where intake did not end well."""
    from gtr_batch import night as steps

    with task_site() as site:
        summary = steps.close_night(site, tonight())
    if shards is None:
        raise NightFailed(f"night {tonight()}: query_pacs or intake failed, so its cases are not known; run it again")
    return summary


def tonight() -> date:
    """The night of this run."""
    return night_of(get_current_context(), CONFIG)


def _in_the_night(step: str, shard: list[str]) -> list[str]:
    from gtr_batch import night as steps

    with task_site() as site:
        return getattr(steps, step)(site, tonight(), shard)


@task_group(prefix_group_id=False)
def prepare(shard: list[str]) -> None:
    chain(retrieve(shard), validate(shard), preprocess(shard))


@task_group(prefix_group_id=False)
def hand_over(shard: list[str]) -> None:
    chain(nomogram(shard), report(shard), deliver(shard))


@task_group(prefix_group_id=False)
def work_through(shard: list[str]) -> None:
    chain(prepare(shard), stage(shard), [hand_over(shard), shadow(shard)])


@dag(
    schedule=night_timetable(CONFIG),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=23),  # a hung night must not keep the next one from beginning
    default_args=default_args(CONFIG),
    params={
        "night": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Night",
            description="The evening on which the night began; leave empty for tonight.",
        )
    },
    deadline=DeadlineAlert(
        name="worklist ready",
        reference=DeadlineReference.DAGRUN_LOGICAL_DATE,
        interval=until_ready(CONFIG),
        callback=AsyncCallback(deadline_missed),
    ),
    on_failure_callback=run_failed,
    doc_md=__doc__,
    tags=["gtr"],
)
def nightly_staging() -> None:
    studies = query_pacs()
    found = intake(studies)
    chain(wait_for_arrivals(studies), found)
    passed = canary()
    chain(studies, passed)
    worked_through = work_through.expand(shard=found)
    chain(passed, worked_through)
    chain(worked_through, send_results(), close_night(found))


nightly_staging()
