"""Who said yes: a user whom Airflow authenticated and who may, asked over Airflow's own API; nobody else."""

from __future__ import annotations

import pytest

from tests.dags.run_approvals import DIGEST
from tests.fixtures_db import *  # noqa: F403
from tests.fixtures_db import logins


@pytest.fixture(scope="module")
def attempts(in_airflow, module_dsn):
    """How runs of `restage` ended, by what was tried at their question; see run_approvals.py."""
    login = logins(module_dsn)
    return in_airflow(
        "run_approvals.py",
        GTR_DATABASE__DSN=login.dsn,
        GTR_DATABASE__GOVERNOR_DSN=login.governor_dsn,
        GTR_GOVERNANCE__APPROVERS="eve, dag_test",
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS="admin:admin,eve:user,mallory:user,dag_test:user",
    )


def test_airflow_asks_whether_a_user_may_and_the_name_is_the_one_it_authenticated(attempts):
    found = attempts["an_approver"]

    assert found["answers"] == [403, 200]
    assert found["sent"] == [[DIGEST, "eve", "looked at it"]]
    assert set(found["tasks"].values()) == {"success"}


def test_who_started_the_run_cannot_approve_it(attempts):
    found = attempts["who_started_it"]

    assert found["answers"] == [200]
    assert (found["tasks"]["approve"], found["sent"]) == ("failed", [])


def test_a_written_xcom_and_a_task_set_to_success_approve_nothing(attempts):
    """A user with the role `user` may do both in Airflow."""
    found = attempts["forged"]

    assert found["answers"] == [201, 200, 200]
    assert found["tasks"]["approve"] == "success"
    assert (found["tasks"]["send"], found["sent"]) == ("failed", [])


def test_what_is_sent_is_what_the_approver_was_shown_whatever_was_written_since(attempts):
    found = attempts["swapped"]

    assert found["answers"] == [200, 200]
    assert found["sent"] == [[DIGEST, "eve", "looked at it"]]
