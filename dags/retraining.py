"""### Retraining: a candidate model, its gate, and a person's approval

    freeze_cohort -> leak_gate -> cache_slices -> train -> fit -> register -> gate -> card
        -> approve (a person) -> promote -> rewrite_cards

Quarterly, by hand, or, where the site set `training.on_drift`, on an alarm of the audit (asset `gtr_drift`).

A trained model does not stage by itself: `gate` compares the candidate with the champion on the sealed holdout, and a
named person of `governance.approvers`, another than the one who started the run, approves it (*Required Actions*).
After **Reject**, or 30 days without an answer, it stays a candidate. A candidate that the gate refused makes `gate` red
and also stays one. One of which the gate **cannot tell** is shown with that verdict; who approves it answers for it,
and the history says that it was promoted without a passed gate.

**A red `freeze_cohort`** that says *cannot tell* has found too few patients of a stage; nothing was trained, and
nothing is wrong with the service. **A red `leak_gate`** says which patients, slices or labels would be in two splits.
**`train`** can be killed and run again: it goes on after the last finished epoch. The run's folder
(`training.folder`) holds the training report as a page.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param, chain, dag, get_current_context, task

from gtr_airflow.approvals import PersonApproves, approved
from gtr_airflow.audits import or_on_drift
from gtr_airflow.callbacks import NotifyOperations
from gtr_airflow.connections import task_governance, task_training
from gtr_airflow.nights import timetable
from gtr_airflow.retry import default_args
from gtr_batch.config import load

CONFIG = load()


@task(on_failure_callback=NotifyOperations())
def freeze_cohort() -> str:
    """Who is trained on, who validates, who is sealed, who is left out and why; returns the cohort's digest."""
    from gtr_batch.training import steps

    with task_training() as site:
        return steps.freeze_cohort(site)


@task(on_failure_callback=NotifyOperations())
def leak_gate(cohort: str) -> str:
    """Refuse a cohort in which patients, slices or labels straddle the split."""
    from gtr_batch.training import steps

    with task_training() as site:
        steps.leak_gate(site, cohort)
    return cohort


@task(pool="pacs", execution_timeout=timedelta(hours=12), on_failure_callback=NotifyOperations())
def cache_slices(cohort: str) -> str:
    """Prepare every member's slices once: from the cache, the night's files, or the PACS."""
    from gtr_batch.training import steps

    with task_training() as site:
        print(steps.cache_slices(site, cohort))  # noqa: T201 - counts, for the task's log
    return cohort


@task(pool="gpu", queue="gpu", execution_timeout=timedelta(hours=48), on_failure_callback=NotifyOperations())
def train(cohort: str) -> str:
    """Train the network; a retry goes on after the last finished epoch."""
    from gtr_batch.training import steps

    with task_training() as site:
        print(steps.train_network(site, cohort))  # noqa: T201
    return cohort


@task(pool="gpu", queue="gpu", execution_timeout=timedelta(hours=4), on_failure_callback=NotifyOperations())
def fit(cohort: str) -> str:
    """Temperature, rad-score, nomogram, locator, conformal sets, reference, report; returns the model version."""
    from gtr_batch.training import steps

    with task_training() as site:
        return steps.fit_artefact(site, cohort)


@task(on_failure_callback=NotifyOperations())
def register(cohort: str, version: str) -> str:
    """Register the artefact as a candidate."""
    from gtr_batch.training import steps

    context = get_current_context()
    with task_training() as site:
        why = context["params"]["why"] or f"run {context['run_id']}"
        return steps.register_candidate(site, cohort, version, by="retraining", why=why)


@task(pool="gpu", queue="gpu", execution_timeout=timedelta(hours=6), on_failure_callback=NotifyOperations())
def gate(version: str) -> str:
    """Open the sealed holdout, hold the candidate against the champion; a red task is a refused candidate."""
    from gtr_batch.errors import GovernanceRefused
    from gtr_batch.governance.evaluation import evaluate, in_words

    why = f"gate of run {get_current_context()['run_id']}"
    with task_training() as site, task_governance() as gov:
        found = evaluate(gov, site, version, by="retraining", why=why)
    print(in_words(found))  # noqa: T201 - for the task's log
    if found.verdict == "fail":
        raise GovernanceRefused(f"model {version[:12]}: {found.sentence} It stays a candidate")
    return version


@task(on_failure_callback=NotifyOperations(), trigger_rule="all_done")
def card(version: str | None) -> str | None:
    """Write the model card, also of a candidate that the gate refused; returns where the page lies."""
    from gtr_batch.governance.card import write_card

    if version is None:
        return None
    with task_governance() as gov:
        return str(write_card(gov.registry, gov.night.config.training.models, version, by="retraining"))


@task(on_failure_callback=NotifyOperations())
def promote() -> None:
    """Make the version champion that a person approved, in the place of the champion that they were shown."""
    from gtr_batch.domain.approval import Decision
    from gtr_batch.domain.lifecycle import Approval
    from gtr_batch.governance.promotion import promote as run

    with task_governance() as gov:
        asked, answer = approved(gov, Decision.PROMOTE)
        yes = Approval(asked.subject, asked.champion, answer.by_whom, answer.why)
        run(gov.registry, asked.subject, yes, without_gate=asked.verdict != "pass")


@task(on_failure_callback=NotifyOperations())
def rewrite_cards() -> None:
    """The cards of the new champion and of the one before it, as things are now."""
    from gtr_batch.domain.approval import Decision
    from gtr_batch.governance.card import rewrite_cards as run

    with task_governance() as gov:
        asked, answer = approved(gov, Decision.PROMOTE)
        versions = [version for version in (asked.subject, asked.champion) if version]
        run(gov.registry, gov.night.config.training.models, versions, by=answer.by_whom)


@dag(
    schedule=or_on_drift(timetable(CONFIG.training.schedule, CONFIG), CONFIG),
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
    candidate = register(gated, fit(trained))
    judged = gate(candidate)
    carded = card(candidate)
    approve = PersonApproves(
        task_id="approve",
        decision="promote",
        about="{{ ti.xcom_pull(task_ids='gate') }}",
        approvers=CONFIG.governance.approvers,
        subject="Shall this candidate stage from tonight on?",
        body="Model card: `{{ ti.xcom_pull(task_ids='card') }}`",
        params={"why": Param("", type="string", title="Why", description="Kept in the model's history.")},
        execution_timeout=None,
        response_timeout=timedelta(days=30),
    )
    chain(judged, carded, approve)
    chain(judged, approve, promote(), rewrite_cards())  # the card is written also of a candidate that was refused


retraining()
