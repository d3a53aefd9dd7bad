"""A task that asks a person, and who said yes.

Airflow keeps the answer in its record of the task (human in the loop) with the user whom it authenticated, and resumes
the task with that record. There, and only there, it is written into our database. What stands in XCom, and whether
somebody has set the task to success, decides nothing: both are open to every user who may change a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict, cast

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import get_current_context
from airflow.sdk.api.datamodels._generated import DagRunType

from gtr_airflow.connections import task_governance
from gtr_batch.errors import GovernanceRefused

if TYPE_CHECKING:
    from airflow.sdk import Context

    from gtr_batch.domain.approval import Answer, AskedQuestion, Decision
    from gtr_batch.governance.site import GovernanceSite

NO_REASON = "approved in Airflow, no reason given"


class Person(TypedDict):
    """Who answered, as Airflow authenticated them."""

    id: str
    name: str


class Response(TypedDict, total=False):
    """Airflow's record of an answer, as it resumes the task that asked."""

    chosen_options: list[str]
    params_input: Mapping[str, str | None]
    responded_at: datetime
    responded_by_user: Person | None


class PersonApproves(ApprovalOperator):
    """Ask one of `approvers` whether what `about` names may be carried out; what they see is what the registry says.

    Parameters
    ----------
    decision : str
        A `gtr_batch.domain.approval.Decision`.
    about : str
        Model version, or digest of a comparison; templated.
    approvers : sequence of str
        Ids of Airflow's users. Airflow asks whether a user may answer only where some are named.
    """

    template_fields = (*ApprovalOperator.template_fields, "about")

    def __init__(self, *, decision: str, about: str, approvers: Sequence[str], **kwargs: Any) -> None:
        super().__init__(assigned_users=[{"id": name, "name": name} for name in approvers], **kwargs)
        self.decision = decision
        self.about = about

    def execute(self, context: Context) -> Any:
        """Keep the question, then show it and wait."""
        from gtr_batch.domain.approval import Decision
        from gtr_batch.governance import approval

        with task_governance() as gov:
            question = approval.ask(
                gov,
                Decision(self.decision),
                self.about,
                asked_in=asked_in(context, self.task_id),
                triggered_by=_triggered_by(context),
            )
        self.body = f"{question.shown}\n\n{self.body or ''}".strip()
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Keep the answer with the user whom Airflow authenticated."""
        from gtr_batch.governance import approval

        if "error" not in event:
            with task_governance() as gov:
                approval.answer(gov, asked_in(context, self.task_id), _answer(cast("Response", event)))
        return super().execute_complete(context, event)


def approved(gov: GovernanceSite, decision: Decision, task_id: str = "approve") -> tuple[AskedQuestion, Answer]:
    """What was asked in this run, and the yes of a person; raises `GovernanceRefused` where there is none."""
    from gtr_batch.governance import approval

    return approval.approved(gov, decision, asked_in(get_current_context(), task_id))


def asked_in(context: Context, task_id: str) -> str:
    """DAG, run and task, from the run itself."""
    run = context["dag_run"]
    return f"{run.dag_id}, {run.run_id}, {task_id}"


def started_by(context: Context) -> str:
    """Who started this run by hand.

    Raises
    ------
    GovernanceRefused
        Airflow does not say who.
    """
    name = _triggered_by(context)
    if not name:
        raise GovernanceRefused("nobody started this run by hand; start it as one of Airflow's users")
    return name


def _triggered_by(context: Context) -> str:
    """Who started this run; empty for a schedule or an alarm of an audit.

    Raises
    ------
    GovernanceRefused
        Airflow does not know, so nobody could be kept from approving a run of their own. An event of an asset that a
        user wrote over the API is such a start.
    """
    run = context["dag_run"]
    if run.triggering_user_name:
        return run.triggering_user_name
    by_hand = any((event.extra or {}).get("from_rest_api") for event in run.consumed_asset_events)
    if by_hand or run.run_type not in (DagRunType.SCHEDULED, DagRunType.ASSET_TRIGGERED):
        raise GovernanceRefused("Airflow does not say who started this run; start it as one of its users")
    return ""


def _answer(event: Response) -> Answer:
    from gtr_batch.domain.approval import Answer

    person = event.get("responded_by_user")
    if not person or not person["id"]:
        raise GovernanceRefused("the answer names no user; nothing is changed")
    why = str((event.get("params_input") or {}).get("why") or "").strip()
    return Answer(
        approved=event["chosen_options"] == [ApprovalOperator.APPROVE],
        user_id=person["id"],
        by_whom=person["name"] or person["id"],
        why=why or NO_REASON,
        responded_at=event["responded_at"],
    )
