"""One study at once under Airflow: the steps of a night, before its remaining shards, nothing kept of the patient."""

from __future__ import annotations

from itertools import pairwise

import pytest

pytestmark = pytest.mark.slow  # whole runs

STEPS = ["retrieve", "validate", "preprocess", "stage", "nomogram", "report", "deliver"]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("stage_now") / "log"


@pytest.fixture(scope="module")
def runs(in_airflow, log):
    """How some runs ended; see run_stage_now.py."""
    return in_airflow("run_stage_now.py", log_to=log)


def test_a_study_goes_through_the_steps_of_a_night(described, runs):
    tasks = described["stage_now"]["dags"]["stage_now"]["tasks"]

    assert [name for name in tasks if name in STEPS] == STEPS
    assert all(earlier in tasks[later]["upstream"] for earlier, later in pairwise(["take", *STEPS, "conclude"]))
    assert runs["good"]["state"] == "success"
    assert {runs["good"]["tasks"][step] for step in STEPS} == {"success"}
    assert runs["cases"]["good"] == [["2026-03-01", "committed"]]


def test_a_study_that_is_staged_already_is_not_staged_again(runs):
    assert runs["again"]["state"] == "success"
    assert {runs["again"]["tasks"][step] for step in STEPS} == {"skipped"}
    assert "is staged and its report is in the PACS" in runs["again"]["kept"]


def test_one_study_that_may_not_be_staged_turns_the_run_red_and_the_other_is_staged(runs):
    assert runs["treated"]["state"] == "failed"
    assert runs["cases"]["treated"] == [["2026-03-01", "refused"]]
    assert runs["cases"]["growing"] == [["2026-03-01", "committed"]]


def test_a_run_without_a_study_is_red(runs):
    assert (runs["nothing"]["state"], runs["nothing"]["tasks"]["find"]) == ("failed", "failed")


def test_the_tasks_use_the_pools_and_queues_of_a_night_with_a_priority_above_them(described):
    night = described["nightly_staging"]["dags"]["nightly_staging"]["tasks"]
    now = described["stage_now"]["dags"]["stage_now"]["tasks"]

    assert {s: (now[s]["pool"], now[s]["queue"]) for s in STEPS} == {
        s: (night[s]["pool"], night[s]["queue"]) for s in STEPS
    }
    assert {now[task]["priority"] for task in now} == {10_000}
    assert {task["priority"] for task in night.values()} == {1}


def test_the_scheduler_takes_it_before_the_remaining_shards_of_a_running_night(runs):
    """Airflow's own choice: two slots for the PACS, one for the GPU, three shards waiting for each."""
    assert runs["queued"] == {
        "retrieve": ["stage_now.find", "nightly_staging.retrieve"],
        "preprocess": ["stage_now.preprocess"],
        "deliver": ["stage_now.deliver", "nightly_staging.deliver"],
    }


def test_nothing_that_names_a_patient_is_kept_by_airflow_or_logged(runs, log):
    kept = " ".join(run["kept"] for name, run in runs.items() if name not in ("cases", "queued"))

    assert "PHANTOM" not in kept + log.read_text()
    assert "ACC-" not in kept + log.read_text()
