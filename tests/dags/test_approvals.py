"""Who said yes: a name that Airflow authenticated, or nobody."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gtr_airflow import approvals
from gtr_batch.errors import GovernanceRefused

EVE = {"id": "7", "name": "Eve"}


@pytest.fixture
def answered(monkeypatch):
    """A function that lets the task `approve` have been answered so, and asks who approved."""

    def ask(answer):
        asked = SimpleNamespace(xcom_pull=lambda task_ids: {"approve": answer}[task_ids])
        monkeypatch.setattr(approvals, "get_current_context", lambda: {"ti": asked})
        return approvals.approved_by("approve")

    return ask


def test_the_name_is_the_one_that_airflow_knows_and_the_reason_the_one_that_was_given(answered):
    found = answered(
        {"chosen_options": ["Approve"], "responded_by_user": EVE, "params_input": {"why": " better on T4 "}}
    )

    assert found == ("Eve", "better on T4")


def test_without_a_reason_the_history_says_that_none_was_given(answered):
    found = answered({"chosen_options": ["Approve"], "responded_by_user": {"id": "7", "name": None}})

    assert found == ("7", "approved in Airflow, no reason given")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        {"chosen_options": ["Reject"], "responded_by_user": EVE},
        {"chosen_options": ["Approve", "Reject"], "responded_by_user": EVE},
        {"chosen_options": ["Approve"], "responded_by_user": None},
        {"chosen_options": ["Approve"], "responded_by_user": {"id": "", "name": ""}},
    ],
)
def test_whatever_is_not_the_yes_of_a_named_person_is_no(answered, answer):
    with pytest.raises(GovernanceRefused, match="no named person has approved; nothing is changed"):
        answered(answer)
