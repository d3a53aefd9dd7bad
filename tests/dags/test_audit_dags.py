"""The DAGs of the audit: thin, in order, for the right period; an alarm is told, is an event, and is so once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

DAGS = Path(__file__).resolve().parents[2] / "dags"


@pytest.fixture(scope="module")
def ended(in_airflow) -> dict[str, Any]:
    """How some audits ended, by what was special about them; see run_audits.py."""
    return in_airflow("run_audits.py")


@pytest.mark.parametrize(("dag_id", "first"), [("drift_monitor", "watch"), ("monthly_audit", "audit")])
def test_an_audit_comes_first_and_then_its_alarms(described, dag_id, first):
    tasks = described[dag_id]["dags"][dag_id]["tasks"]

    assert {name: task["upstream"] for name, task in tasks.items()} == {first: [], "raise_alarms": [first]}
    assert all(task["tells_of_failure"] for task in tasks.values())


def test_they_run_at_the_sites_times(in_airflow):
    environ = {"GTR_AUDIT__WEEKLY_SCHEDULE": "15 4 * * 2", "GTR_NIGHT__TIMEZONE": "Europe/Paris"}

    one = in_airflow("describe.py", str(DAGS / "drift_monitor.py"), **environ)

    dag = one["dags"]["drift_monitor"]
    assert (dag["schedule"], dag["timezone"]) == ("15 4 * * 2", "Europe/Paris")


def test_a_scheduled_run_is_for_the_last_whole_period_before_its_logical_date(ended):
    assert ended["quiet week"]["calls"] == [["week", "2026-03-08", "drift_monitor"]]
    assert ended["scheduled month"]["calls"] == [["month", "2026-03-31", "monthly_audit"]]


def test_a_run_by_hand_is_for_the_period_that_was_given(ended):
    assert ended["week with alarms"]["calls"] == [["week", "2026-03-04", "drift_monitor"]]
    assert ended["month"]["calls"] == [["month", "2026-02-01", "monthly_audit"]]


def test_a_quiet_week_is_green_tells_nobody_and_is_no_event(ended):
    run = ended["quiet week"]

    assert (run["state"], run["told"], run["events"]) == ("success", [], [])
    assert run["tasks"]["raise_alarms"][0] == "skipped"


def test_new_alarms_are_told_and_are_one_event_of_the_drift_asset(ended):
    run = ended["week with alarms"]

    assert (run["state"], run["tasks"]["raise_alarms"][0]) == ("success", "success")
    assert [told.split(":")[0] for told in run["told"]] == ["audit 2026-03", "audit 2026-03"]
    assert run["events"] == [
        {
            "alarms": [
                {"alarm_id": 1, "monitor": "headers", "level": "look"},
                {"alarm_id": 2, "monitor": "headers", "level": "look"},
            ]
        }
    ]


def test_the_same_week_again_tells_nobody_of_the_same_alarms(ended):
    run = ended["the same week again"]

    assert (run["state"], run["told"], run["events"]) == ("success", [], [])


def test_alarms_that_were_raised_before_a_fault_are_told_by_the_retry(ended):
    run = ended["a fault after the alarm"]

    assert run["tasks"] == {"watch": ["success", 2], "raise_alarms": ["success", 1]}
    assert (len(run["told"]), len(run["events"])) == (1, 1)


def test_no_such_month_turns_the_run_red_at_once(ended):
    run = ended["no such month"]

    assert (run["state"], run["tasks"]["audit"], run["calls"]) == ("failed", ["failed", 1], [])
    assert "is not a month as 2026-03" in run["told"][0]


@pytest.mark.parametrize(("on_drift", "asset"), [("false", []), ("true", ["gtr_drift"])])
def test_an_alarm_starts_a_retraining_only_where_the_site_turned_that_on(in_airflow, on_drift, asset):
    one = in_airflow("describe.py", str(DAGS / "retraining.py"), GTR_TRAINING__ON_DRIFT=on_drift)

    dag = one["dags"]["retraining"]
    assert one["errors"] == {}
    assert dag["assets"] == asset
    assert dag["schedule"] == "0 3 1 1,4,7,10 *"
