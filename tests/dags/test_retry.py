"""The retry policy, error class by error class, so that a new error cannot slip past it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.sdk import ExceptionRetryPolicy, RetryAction

from gtr_airflow.retry import default_args, retry_policy
from gtr_batch import errors
from gtr_batch.config import load

DELAY = timedelta(minutes=5)


def _below(branch: type) -> list[type]:
    return [branch, *(deeper for child in branch.__subclasses__() for deeper in _below(child))]


def _decide(policy, error: BaseException):
    return policy.evaluate(error, try_number=1, max_tries=2)


@pytest.mark.parametrize("kind", _below(errors.TransientError), ids=lambda kind: kind.__name__)
def test_what_may_work_later_is_tried_again_after_the_delay(kind):
    decision = _decide(retry_policy(DELAY), kind("x"))

    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, DELAY)


@pytest.mark.parametrize("kind", _below(errors.PermanentError), ids=lambda kind: kind.__name__)
def test_what_a_person_must_mend_fails_at_once(kind):
    assert _decide(retry_policy(DELAY), kind("x")).action is RetryAction.FAIL


def test_a_rejected_case_fails_at_once():
    assert _decide(retry_policy(DELAY), errors.CaseRejected("wrong_phase", "arterial")).action is RetryAction.FAIL


def test_cases_that_went_back_to_an_earlier_step_fail_at_once():
    """The task would wait five minutes to find that it has nothing to do."""
    assert _decide(retry_policy(DELAY), errors.CasesSentBack("x")).action is RetryAction.FAIL


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), TimeoutError()], ids=repr)
def test_what_is_not_ours_keeps_the_usual_retries(error):
    assert _decide(retry_policy(DELAY), error).action is RetryAction.DEFAULT


def test_the_policy_survives_the_way_through_airflows_database():
    back = ExceptionRetryPolicy.deserialize(retry_policy(DELAY).serialize())

    assert _decide(back, errors.PacsBusy("x")).retry_delay == DELAY
    assert _decide(back, errors.ConfigError("x")).action is RetryAction.FAIL
    assert _decide(back, errors.CasesSentBack("x")).action is RetryAction.FAIL


def test_retries_and_delay_come_from_the_settings():
    given = default_args(load(environ={"GTR_NIGHT__RETRIES": "4", "GTR_NIGHT__RETRY_DELAY_S": "90"}))

    assert (given["retries"], given["retry_delay"]) == (4, timedelta(seconds=90))
