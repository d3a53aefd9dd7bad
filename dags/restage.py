"""### Replay of past cases with a chosen model

    replay -> approve (a person) -> send

Started by hand with nights or accession numbers and a model version. The replay runs the steps of the night on files
of its own and changes no result; its comparison waits 7 days for a person (*Required Actions*). After **Reject**
nothing is sent. After **Approve**, `send` replays once more, checks that the answers are still those that were
approved, makes them the results of their cases and delivers them; the approver's name and reason are kept. Only a
model that is or was champion may send; any other may be compared.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, dag, get_current_context, task

from gtr_airflow.approvals import approved_by
from gtr_airflow.callbacks import NotifyOperations
from gtr_airflow.connections import task_governance
from gtr_airflow.retry import default_args
from gtr_batch.config import load

CONFIG = load()


@task(pool="gpu", execution_timeout=timedelta(hours=6), on_failure_callback=NotifyOperations(), multiple_outputs=True)
def replay() -> dict[str, str]:
    """Replay with the model and compare; returns the comparison's digest and its words."""
    from datetime import date

    from gtr_batch.governance import restage
    from gtr_batch.governance.registry import find

    params = get_current_context()["params"]
    with task_governance() as gov:
        found = restage.compare(
            gov,
            find(gov.registry, params["model"]),
            nights=[date.fromisoformat(night) for night in params["nights"] or []],
            accession_numbers=params["accession_numbers"] or [],
        )
        words = restage.in_words(found, gov.restages.approvals(found.digest))
    return {"digest": found.digest, "words": words}


@task(pool="pacs", execution_timeout=timedelta(hours=6), on_failure_callback=NotifyOperations())
def send(digest: str) -> None:
    """Make the approved answers the results, and deliver them."""
    from gtr_batch.errors import NightFailed
    from gtr_batch.governance import restage

    by, why = approved_by("approve")
    with task_governance() as gov:
        found = restage.deliver(gov, digest, by=by, why=why)
    print(f"{len(found.delivered)} cases delivered")  # noqa: T201 - a count, for the task's log
    if found.failed:
        raise NightFailed(f"{len(found.failed)} cases were not delivered: {found.failed}; clear this task to try again")


@dag(
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(CONFIG),
    params={
        "nights": Param([], type="array", items={"type": "string", "format": "date"}, title="Nights"),
        "accession_numbers": Param([], type="array", items={"type": "string"}, title="Accession numbers"),
        "model": Param("", type="string", title="Model", description="Version, or the digits that it begins with."),
    },
    doc_md=__doc__,
    tags=["gtr"],
)
def restage() -> None:
    found = replay()
    approve = ApprovalOperator(
        task_id="approve",
        subject="Send the results of this replay to the PACS?",
        body="{{ ti.xcom_pull(task_ids='replay', key='words') }}",
        params={"why": Param("", type="string", title="Why", description="Kept with the results.")},
        execution_timeout=None,
        response_timeout=timedelta(days=7),
    )
    found >> approve >> send(found["digest"])


restage()
