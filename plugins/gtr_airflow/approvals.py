"""Who said yes: the answer that a task's `ApprovalOperator` upstream got from a person."""

from __future__ import annotations

from typing import TypedDict

from airflow.sdk import get_current_context

from gtr_batch.errors import GovernanceRefused


class Person(TypedDict, total=False):
    """Who answered, as Airflow's session named them."""

    id: str
    name: str


class Answer(TypedDict, total=False):
    """What an `ApprovalOperator` leaves in XCom, as far as it is read here."""

    chosen_options: list[str]
    params_input: dict[str, str | None] | None
    responded_by_user: Person | str | None


def approved_by(task_id: str) -> tuple[str, str]:
    """Name and reason of the person who approved.

    Raises
    ------
    GovernanceRefused
        Nobody did, or nobody who can be named.
    """
    answer: Answer = get_current_context()["ti"].xcom_pull(task_ids=task_id) or Answer()
    user = answer.get("responded_by_user") or {}
    name = str(user.get("name") or user.get("id") or "") if isinstance(user, dict) else str(user)
    if answer.get("chosen_options") != ["Approve"] or not name:
        raise GovernanceRefused(f"{task_id}: no named person has approved; nothing is changed")
    why = str((answer.get("params_input") or {}).get("why") or "").strip()
    return name, why or "approved in Airflow, no reason given"
