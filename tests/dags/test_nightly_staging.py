"""The night as a DAG: its order, and what becomes of it when cases, shards or the whole intake fail."""

from __future__ import annotations

import json

import pytest

from tests.dags.conftest import REPOSITORY

pytestmark = pytest.mark.slow  # whole nights

STEPS = ["retrieve", "validate", "preprocess", "stage", "nomogram", "report", "deliver"]
MAPPED = [*STEPS, "shadow"]


@pytest.fixture(scope="module")
def dag(described):
    return described["nightly_staging"]["dags"]["nightly_staging"]


def _of(night: dict, task: str) -> dict[str, str]:
    return {key: state for key, (state, _) in night["tasks"].items() if key.startswith(f"{task}[")}


def test_the_tasks_are_the_steps_in_the_order_of_the_path(dag):
    upstream = {name: task["upstream"] for name, task in dag["tasks"].items()}

    assert upstream == {
        "query_pacs": [],
        "wait_for_arrivals": ["query_pacs"],
        "intake": ["query_pacs", "wait_for_arrivals"],
        "canary": ["query_pacs"],
        "retrieve": ["canary", "intake"],
        "validate": ["intake", "retrieve"],
        "preprocess": ["intake", "validate"],
        "stage": ["intake", "preprocess"],
        "nomogram": ["intake", "stage"],
        "report": ["intake", "nomogram"],
        "deliver": ["intake", "report"],
        "shadow": ["intake", "stage"],
        "send_results": ["deliver", "shadow"],
        "close_night": ["intake", "send_results"],
    }


def test_shards_are_mapped_and_show_which_they_are(dag):
    assert [name for name, task in dag["tasks"].items() if task["mapped_over"]] == MAPPED
    assert all("shard" in dag["tasks"][step]["map_index_template"] for step in MAPPED)


def test_associations_and_gpu_are_rationed_by_pools(dag):
    pools = {name: task["pool"] for name, task in dag["tasks"].items()}

    assert {name for name, pool in pools.items() if pool == "pacs"} == {"query_pacs", "intake", "retrieve", "deliver"}
    assert {name for name, pool in pools.items() if pool == "gpu"} == {"canary", "preprocess", "stage", "shadow"}


def test_the_pools_that_are_used_are_the_pools_that_are_shipped(dag):
    shipped = json.loads((REPOSITORY / "plugins" / "gtr_airflow" / "pools.json").read_text())

    assert {task["pool"] for task in dag["tasks"].values()} - {"default_pool"} == set(shipped)


def test_a_night_is_due_by_the_morning(dag, nights):
    (deadline,) = dag["deadlines"]

    assert deadline["reference"] == "DagRunLogicalDateDeadline"
    assert deadline["tells"] == "gtr_airflow.callbacks.deadline_missed"
    assert nights["deadline"] == "2026-03-05T06:30:00+00:00"  # of the night of 4 March


def test_a_failed_canary_lets_no_patient_be_fetched_or_staged_and_turns_the_run_red(nights):
    night = nights["canary fails"]

    assert night["tasks"]["canary[-1]"] == ["failed", 1]  # a person must look: not tried again
    assert _of(night, "retrieve") == {"retrieve[-1]": "upstream_failed"}
    assert night["cases"] == {"good 1": "found"}
    assert night["state"] == "failed"
    assert any("another answer" in one for one in night["told"])


def test_one_failed_case_turns_its_task_and_the_run_red_and_is_named(nights):
    night = nights["mixed"]

    assert _of(night, "retrieve") == {"retrieve[0]": "failed", "retrieve[1]": "success"}
    assert night["state"] == "failed"
    assert len(night["told"]) == 1
    assert "1 of 4 cases failed" in night["told"][0]
    assert "retrieve: PacsBusy" in night["told"][0]


def test_the_other_cases_of_a_failed_shard_go_all_the_way(nights):
    night = nights["mixed"]

    assert night["cases"] == {"good 1": "committed", "failed": "failed", "rejected": "refused", "good 2": "committed"}
    assert night["stored"] == ["good 1", "good 2"]
    later = [step for step in STEPS if step != "retrieve"]
    assert all(set(_of(night, step).values()) == {"success"} for step in later)


def test_a_shard_with_cases_that_may_work_later_is_tried_again(nights):
    night = nights["mixed"]

    assert night["tasks"]["retrieve[0]"] == ["failed", 2]
    assert night["calls"].count(["retrieve", ["good 1", "failed"]]) == 2
    assert night["calls"].count(["retrieve", ["rejected", "good 2"]]) == 1


def test_a_shard_does_not_wait_for_the_other_shards(nights):
    calls = nights["mixed"]["calls"]

    second_shard_validated = calls.index(["validate", ["rejected", "good 2"]])
    first_shard_tried_again = len(calls) - 1 - calls[::-1].index(["retrieve", ["good 1", "failed"]])
    first_shard_validated = calls.index(["validate", ["good 1", "failed"]])
    assert max(second_shard_validated, first_shard_tried_again) < first_shard_validated


def test_a_refused_case_leaves_the_night_green(nights):
    night = nights["refused only"]

    assert night["cases"] == {"rejected": "refused"}
    assert night["state"] == "success"
    assert night["told"] == []


def test_a_night_without_cases_is_green_and_closed(nights):
    night = nights["no cases"]

    assert night["state"] == "success"
    assert _of(night, "stage") == {"stage[-1]": "skipped"}
    assert night["tasks"]["close_night[-1]"] == ["success", 1]


@pytest.mark.parametrize(
    ("what", "tries", "why"),
    [
        ("intake fails", ["intake", 1], "its cases are not known"),
        ("no PACS", ["query_pacs", 2], "intake: did not finish"),
    ],
)
def test_a_night_whose_cases_cannot_be_found_out_is_red_although_no_case_failed(nights, what, tries, why):
    night, (task, tried) = nights[what], tries

    assert night["tasks"][f"{task}[-1]"] == ["failed", tried]
    assert night["tasks"]["close_night[-1]"] == ["failed", 1]
    assert night["state"] == "failed"
    assert why in night["told"][0]


def test_the_night_is_the_parameter_or_the_evening_of_the_logical_date(nights):
    asked = {what: nights[what]["calls"][0] for what in ("mixed", "refused only")}

    assert asked["mixed"] == ["query_pacs", "2026-03-01"]
    assert asked["refused only"] == ["query_pacs", "2026-03-02"]


def test_a_mapped_task_shows_its_shard(nights):
    assert nights["mixed"]["labels"]["stage[1]"] == "shard 2, 2 case(s)"
