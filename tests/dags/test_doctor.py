"""`gtr doctor` sees whether Airflow is ready for a night."""

from __future__ import annotations

import pytest

from gtr_batch.cli.doctor_site import airflow


@pytest.mark.slow
def test_pools_and_dags_that_a_night_needs_are_asked_of_airflow_itself(in_airflow, tmp_path):
    found = in_airflow("run_doctor.py", AIRFLOW_HOME=str(tmp_path))  # no pools or DAGs of other tests

    assert found["bare"][0] == "red"
    assert "no pool gpu, no pool pacs" in found["bare"][1] and "nightly_staging is not known" in found["bare"][1]
    assert found["paused"] == ["red", "housekeeping is paused"]
    assert found["ready"][0] == "ok"


def test_a_shell_without_airflow_says_that_it_did_not_look(monkeypatch):
    monkeypatch.delenv("AIRFLOW_HOME")

    assert airflow(None).state == "warn"
