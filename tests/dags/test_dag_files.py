"""Every DAG file: it imports, quickly, and keeps the project's conventions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dags.conftest import DAG_FILES

# Measured import times: pydicom 0.4 s, torch 4 s, Great Expectations 4 s, pytorch_grad_cam 8 s.
HEAVY = {
    "SimpleITK",
    "great_expectations",
    "highdicom",
    "matplotlib",
    "pandas",
    "psycopg2",
    "pydicom",
    "pynetdicom",
    "pytorch_grad_cam",
    "scipy",
    "sklearn",
    "torch",
}


HOURS = {"retraining": 48, "restage": 6}  # the longest task of each; else 2


def test_the_three_dags_of_a_night_are_there(described):
    found = {dag_id for one in described.values() for dag_id in one["dags"]}

    assert {"nightly_staging", "ehr_refresh", "housekeeping"} <= found


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.stem)
def test_a_dag_file_imports_without_error_and_without_anything_heavy(described, path: Path):
    one = described[path.stem]

    assert one["errors"] == {}
    assert not HEAVY & set(one["imported"])


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.stem)
def test_a_dag_is_documented_and_never_catches_up_or_overtakes_itself(described, path: Path):
    for dag in described[path.stem]["dags"].values():
        assert dag["doc"].startswith("### ")
        assert dag["catchup"] is False
        assert dag["max_active_runs"] == 1


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.stem)
def test_no_dag_asks_for_what_names_a_patient(described, path: Path):
    """Airflow keeps what a run is started with, in its database and on its pages."""
    for dag in described[path.stem]["dags"].values():
        assert set(dag["params"]) <= {
            *("night", "nights", "case_ids", "study_uids", "as_it_is", "model", "month", "day", "why")
        }


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.stem)
def test_every_task_has_owner_retries_policy_timeout_and_doc(described, path: Path):
    for dag in described[path.stem]["dags"].values():
        for task in dag["tasks"].values():
            assert task["owner"] == "pacs-operations"
            assert task["retries"] == 1  # GTR_NIGHT__RETRIES of these tests
            assert task["policy"] == "ExceptionRetryPolicy"
            person = task["operator"] == "PersonApproves"
            assert 0 < task["timeout_s"] <= 3600 * (24 * 30 if person else HOURS.get(path.stem, 2))
            assert task["doc"] or person  # a person is shown the subject and the body


def test_operations_are_told_when_a_dag_ends_red(described):
    last = {"nightly_staging": "close_night", "ehr_refresh": "refresh_ehr", "housekeeping": "housekeeping"}

    assert all(described[name]["dags"][name]["tasks"][task]["tells_of_failure"] for name, task in last.items())


def test_dags_run_in_the_hospitals_time_zone_at_the_hospitals_times(in_airflow):
    path = next(p for p in DAG_FILES if p.stem == "nightly_staging")

    one = in_airflow(
        "describe.py",
        str(path),
        GTR_NIGHT__TIMEZONE="Europe/Paris",
        GTR_NIGHT__SCHEDULE="15 22 * * *",
        GTR_NIGHT__READY_BY="07:00",
    )

    dag = one["dags"]["nightly_staging"]
    assert dag["schedule"] == "15 22 * * *"
    assert dag["timezone"] == "Europe/Paris"
    assert dag["deadlines"][0]["hours"] == 20.75  # from 10:15, twelve hours before the run, to 07:00 of the next day


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.stem)
def test_a_task_that_takes_a_slot_of_the_gpu_runs_where_the_gpu_is(described, path: Path):
    for dag in described[path.stem]["dags"].values():
        for task in dag["tasks"].values():
            assert (task["pool"] == "gpu") == (task["queue"] == "gpu")
