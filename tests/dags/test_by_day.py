"""The small DAGs, run."""

from __future__ import annotations


def test_a_bad_extract_turns_the_refresh_red_at_once_and_says_what_is_wrong(nights):
    run = nights["bad extract"]

    assert run["state"] == "failed"
    assert run["tries"] == [1]
    assert "column 'lauren' is missing; nothing was loaded" in run["told"][0]


def test_a_good_extract_leaves_the_refresh_green_and_nobody_is_told(nights):
    assert nights["good extract"] == {"state": "success", "told": [], "tries": [1]}


def test_housekeeping_is_done_for_the_day_that_it_was_due(nights):
    assert nights["housekeeping"]["state"] == "success"
    assert nights["housekeeping"]["days"] == ["2026-03-02"]


def test_housekeeping_takes_no_slot_of_the_pacs_where_there_is_nothing_to_ask(nights, described):
    tasks = described["housekeeping"]["dags"]["housekeeping"]["tasks"]

    assert nights["housekeeping"]["asked"] == []
    assert {name for name, task in tasks.items() if task["pool"] == "pacs"} == {"ask_again", "apply_merges"}


def test_housekeeping_asks_again_for_what_is_not_committed(nights):
    assert nights["housekeeping with work"]["state"] == "success"
    assert nights["housekeeping with work"]["asked"] == [["case-1"]]
