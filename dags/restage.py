"""### Replay of past cases with a chosen model

    replay -> approve (a person) -> send

Started by hand with nights or case ids and a model version (by accession number: `gtr restage`, since Airflow keeps
what a run is started with). The replay begins with the model's canary where this machine has not shown it lately
(docs/operations.md), runs the steps of the night on files of its own and changes no result. Its comparison waits 7 days
for a person of `governance.approvers`, another than the one who started the run (*Required Actions*). After **Reject**
nothing is sent.
After **Approve**, `send` replays once more, checks that the answers are still those that were
approved, makes them the results of their cases and delivers them; the approver's name and reason are kept. Only a
model that is or was champion may send; any other may be compared.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param, dag, get_current_context, task

from gtr_airflow.approvals import PersonApproves, approved
from gtr_airflow.callbacks import NotifyOperations
from gtr_airflow.connections import task_governance
from gtr_airflow.retry import default_args
from gtr_batch.config import load

CONFIG = load()


@task(pool="gpu", queue="gpu", execution_timeout=timedelta(hours=6), on_failure_callback=NotifyOperations())
def replay() -> str:
    """Replay with the model and compare; returns the comparison's digest."""
    from datetime import date

    from gtr_batch.governance import restage
    from gtr_batch.governance.registry import find

    params = get_current_context()["params"]
    with task_governance() as gov:
        found = restage.compare(
            gov,
            find(gov.registry, params["model"]),
            nights=[date.fromisoformat(night) for night in params["nights"] or []],
            case_ids=params["case_ids"] or [],
        )
    return found.digest


@task(pool="pacs", execution_timeout=timedelta(hours=6), on_failure_callback=NotifyOperations())
def send() -> None:
    """Make the approved answers the results, and deliver them."""
    from gtr_batch.domain.approval import Decision
    from gtr_batch.errors import NightFailed
    from gtr_batch.governance import restage

    with task_governance() as gov:
        asked, answer = approved(gov, Decision.RESTAGE)
        found = restage.deliver(gov, asked.subject, by=answer.by_whom, why=answer.why)
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
        "case_ids": Param(
            [],
            type="array",
            items={"type": "string", "format": "uuid"},
            title="Case ids",
            description="As `gtr status` lists them. Airflow keeps what is typed here: nothing that names a patient.",
        ),
        "model": Param("", type="string", title="Model", description="Version, or the digits that it begins with."),
    },
    doc_md=__doc__,
    tags=["gtr"],
)
def restage() -> None:
    approve = PersonApproves(
        task_id="approve",
        decision="restage",
        about="{{ ti.xcom_pull(task_ids='replay') }}",
        approvers=CONFIG.governance.approvers,
        subject="Send the results of this replay to the PACS?",
        params={"why": Param("", type="string", title="Why", description="Kept with the results.")},
        execution_timeout=None,
        response_timeout=timedelta(days=7),
    )
    replay() >> approve >> send()


restage()
