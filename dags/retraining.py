"""### A candidate: from the case book to a registered model

    cohort -> leak gate -> slices -> network -> fits -> candidate

Quarterly, by hand, or on a drift alarm. Nothing of this decides what stages tonight: a candidate is a candidate until
the gate and a named person say otherwise.

**A red `freeze_cohort`** that says *cannot tell* has found too few patients of a stage; nothing was spent, and
nothing is wrong with the service. **A red `leak_gate`** says which patients, slices or labels would be in two splits.
**`train`** can be killed and run again: it goes on after the last finished epoch. The run's folder
(`training.folder`) holds the training report as a page.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param, dag, get_current_context, task

from gtr_airflow.callbacks import TellOperations
from gtr_airflow.connections import school
from gtr_airflow.nights import timetable
from gtr_airflow.retry import default_args
from gtr_batch.config import load

CONFIG = load()


@task(on_failure_callback=TellOperations())
def freeze_cohort() -> str:
    """Who is trained on, who validates, who is sealed, who is left out and why; returns the cohort's digest."""
    from gtr_batch.training import steps

    with school() as house:
        return steps.freeze_cohort(house)


@task(on_failure_callback=TellOperations())
def leak_gate(cohort: str) -> str:
    """Refuse a cohort in which patients, slices or labels straddle the split."""
    from gtr_batch.training import steps

    with school() as house:
        steps.leak_gate(house, cohort)
    return cohort


@task(pool="pacs", execution_timeout=timedelta(hours=12), on_failure_callback=TellOperations())
def cache_slices(cohort: str) -> str:
    """Prepare every member's slices once: from the cache, the night's files, or the PACS."""
    from gtr_batch.training import steps

    with school() as house:
        print(steps.cache_slices(house, cohort))  # noqa: T201 - counts, for the task's log
    return cohort


@task(pool="gpu", execution_timeout=timedelta(hours=48), on_failure_callback=TellOperations())
def train(cohort: str) -> str:
    """Train the network; a retry goes on after the last finished epoch."""
    from gtr_batch.training import steps

    with school() as house:
        print(steps.train_network(house, cohort))  # noqa: T201
    return cohort


@task(pool="gpu", execution_timeout=timedelta(hours=4), on_failure_callback=TellOperations())
def fit(cohort: str) -> str:
    """Temperature, rad-score, nomogram, locator, conformal sets, reference, report; returns the model version."""
    from gtr_batch.training import steps

    with school() as house:
        return steps.fit_artefact(house, cohort)


@task(on_failure_callback=TellOperations())
def register(cohort: str, version: str) -> str:
    """Register the artefact as a candidate."""
    from gtr_batch.training import steps

    context = get_current_context()
    with school() as house:
        why = context["params"]["why"] or f"run {context['run_id']}"
        return steps.register_candidate(house, cohort, version, by="retraining", why=why)


@dag(
    schedule=timetable(CONFIG.training.schedule, CONFIG),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(CONFIG),
    params={
        "why": Param(
            None,
            type=["null", "string"],
            title="Why",
            description="Why this candidate is made; kept in the model's history.",
        )
    },
    doc_md=__doc__,
    tags=["gtr"],
)
def retraining() -> None:
    gated = leak_gate(freeze_cohort())
    trained = train(cache_slices(gated))
    register(gated, fit(trained))


retraining()
