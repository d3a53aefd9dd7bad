"""Who said yes: a user whom Airflow authenticated and who may, asked over Airflow's own API; nobody else."""

from __future__ import annotations

import pytest
from airflow.sdk.api.datamodels._generated import DagRun

from gtr_airflow.approvals import _triggered_by as triggered_by
from gtr_batch.errors import GovernanceRefused
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


def a_run(run_type: str, name: str | None = None, **extra: object) -> DagRun:
    """A run as Airflow describes it to its tasks; with `extra`, started by an event that carries it."""
    at = "2026-04-01T03:00:00Z"
    asset = {"name": "gtr_drift", "uri": "gtr_drift", "extra": {}}
    source = dict.fromkeys(("source_task_id", "source_dag_id", "source_run_id", "source_map_index"))
    event = {"asset": asset, "extra": extra, "timestamp": at, "source_aliases": [], **source}
    times = dict.fromkeys(("logical_date", "data_interval_start", "data_interval_end", "end_date", "partition_key"))
    return DagRun.model_validate(
        {
            **times,
            "dag_id": "retraining",
            "run_id": "r",
            "run_after": at,
            "start_date": at,
            "run_type": run_type,
            "state": "running",
            "triggering_user_name": name,
            "consumed_asset_events": [event] if run_type == "asset_triggered" else [],
        }
    )


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (a_run("manual", "eve"), "eve"),
        (a_run("backfill", "eve"), "eve"),
        (a_run("scheduled"), ""),
        (a_run("asset_triggered", alarms=[1]), ""),
    ],
)
def test_who_started_a_run_is_who_airflow_says_and_nobody_for_a_schedule_or_an_alarm(run, name):
    assert triggered_by({"dag_run": run}) == name


@pytest.mark.parametrize(
    "run",
    [
        a_run("manual"),
        a_run("backfill"),
        a_run("operator_triggered"),
        a_run("asset_materialization"),
        a_run("asset_triggered", from_rest_api=True),
    ],
)
def test_a_run_that_somebody_started_whom_airflow_does_not_name_is_not_approved(run):
    with pytest.raises(GovernanceRefused, match="does not say who started this run"):
        triggered_by({"dag_run": run})
