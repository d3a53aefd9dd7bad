"""The reader's word in the console: said, filtered by, taken back; by whom it may be, and about what."""

from __future__ import annotations

import html
import re

import pytest

from gtr_batch.console.pictures import CasePictures
from tests.console_hospital import NIGHT

SAME = {"sec-fetch-site": "same-origin", "origin": "https://airflow.example"}


@pytest.fixture
def form(browse):
    """A function that sends a form of a case's page as a user, with what the page has in its hidden fields."""

    def send(case: str, user: str = "rahel", path: str = "words", **given: str):
        page = browse(f"/cases/{case}", "rahel").text
        hidden = dict(re.findall(r'name="(result|stack)" value="([^"]+)"', page))
        shown = browse(f"/cases/{case}", user).text if user != "rahel" else page
        tokens = re.findall(r'name="gtr_token" value="([^"]+)"', shown)
        data = {**hidden, "gtr_token": html.unescape(tokens[0]) if tokens else "", **given}
        return browse(f"/cases/{case}/{path}", user, method="POST", headers=SAME, data=data)

    return send


def words(rows, case: str) -> list[tuple]:
    return rows("select reader, role, kind, t_stage, why from reader_word where case_id = %s order by 1, at", case)


def listed(browse, query: str) -> set[str]:
    return set(re.findall(r'/cases/([0-9a-f-]{36})"', browse(f"/worklist?{query}").text))


def test_a_radiologist_agrees_and_the_worklist_says_read_until_it_is_taken_back(browse, form, hospital, rows):
    case = hospital.cases["staged"]
    assert case in listed(browse, "read=no")

    answer = form(case, kind="agree")

    assert answer.status_code == 303
    assert "PHANTOM" not in answer.headers["location"]
    assert words(rows, case) == [("rahel", "radiologist", "agree", None, "")]
    assert listed(browse, "read=yes") == {case}
    assert case not in listed(browse, "read=no")
    [number] = re.findall(rf"/cases/{case}/words/(\d+)/withdraw", browse(f"/cases/{case}").text)
    assert form(case, path=f"words/{number}/withdraw").status_code == 303
    assert listed(browse, "read=yes") == set()
    assert [kind for _, _, kind, _, _ in words(rows, case)] == ["agree", "withdrawn"]


def test_who_overrules_gives_a_stage_and_a_reason(browse, form, hospital, rows):
    case = hospital.cases["deep"]

    refused = [
        form(case, kind="overrule", stage="T3"),
        form(case, kind="overrule", why="smooth serosa"),
        form(case, kind="overrule", stage="T9", why="smooth serosa"),
        form(case, kind="overrule", stage="T3", why="x" * 2001),
        form(case, kind="agree", result="0" * 64),
        form(case, kind="withdrawn"),
        form(case, kind="nonsense"),
    ]
    assert {answer.status_code for answer in refused} == {404}
    assert words(rows, case) == []

    assert form(case, kind="overrule", stage="T3", why="smooth <serosa>").status_code == 303
    assert words(rows, case) == [("rahel", "radiologist", "overrule", "T3", "smooth <serosa>")]
    assert "smooth &lt;serosa&gt;" in browse(f"/cases/{case}").text


def test_a_word_needs_the_pages_token_and_the_role(browse, form, hospital, rows):
    case = hospital.cases["flagged"]

    assert form(case, kind="agree", gtr_token="nonsense").status_code == 403
    for user in ("olga", "anton", "ada", "nemo"):
        assert form(case, user, kind="agree").status_code == 403
        assert 'method="post"' not in browse(f"/cases/{case}", user).text
    assert words(rows, case) == []


def said_of_slices(rows, case: str) -> list[tuple]:
    found = (
        "select kind, slices, why from reader_word where case_id = %s and slices is not null order by reader_word_id"
    )
    return rows(found, case)


def in_order(hospital, case: str) -> list[str]:
    """The case's instances along the normal, as its page counts them from 1."""
    site = hospital.open_site()
    stack = CasePictures(site.files).stack(NIGHT, case)
    site.close()
    return [one.sop_instance_uid for one in stack.slices]


def test_a_radiologist_confirms_the_key_slice_or_moves_it_and_takes_it_back(browse, form, hospital, rows):
    case = hospital.cases["flagged"]
    uids = in_order(hospital, case)
    assert "Confirm the key slice: 4 of 7" in browse(f"/cases/{case}").text

    assert form(case, path="key-slice", kind="slice_confirmed").status_code == 303
    assert form(case, path="key-slice", kind="slice_moved", number="1", why="lesser curvature").status_code == 303

    assert said_of_slices(rows, case) == [
        ("slice_confirmed", uids[2:5], ""),
        ("slice_moved", [uids[1], uids[0], uids[1]], "lesser curvature"),
    ]
    page = browse(f"/cases/{case}").text
    assert "key slice moved: 1 of 7" in page
    [number] = re.findall(rf"/cases/{case}/words/(\d+)/withdraw", page)  # the newest on the slice stands
    assert form(case, path=f"words/{number}/withdraw").status_code == 303
    assert case not in listed(browse, "read=yes")  # the stage is not read by that


def test_a_word_on_the_key_slice_is_about_what_the_page_showed(form, hospital, rows):
    case = hospital.cases["deep"]

    refused = [
        form(case, path="key-slice", kind="slice_moved", number="4"),
        form(case, path="key-slice", kind="slice_moved", number="0"),
        form(case, path="key-slice", kind="slice_moved", number="8"),
        form(case, path="key-slice", kind="slice_moved", number=""),
        form(case, path="key-slice", kind="slice_moved", number="two"),
        form(case, path="key-slice", kind="slice_moved", number="2", stack="0" * 64),
        form(case, path="key-slice", kind="slice_confirmed", stack=""),
        form(case, path="key-slice", kind="slice_confirmed", result="0" * 64),
        form(case, path="key-slice", kind="slice_confirmed", why="x" * 2001),
        form(case, path="key-slice", kind="agree"),
        form(case, path="key-slice", kind="nonsense"),
    ]

    assert {answer.status_code for answer in refused} == {404}
    assert said_of_slices(rows, case) == []
    for user in ("olga", "anton", "ada"):
        assert form(case, user, path="key-slice", kind="slice_confirmed").status_code == 403


def test_a_key_slice_is_confirmed_without_a_stage_too_but_not_past_retention(browse, form, hospital, rows):
    case, gone = hospital.cases["not_staged"], hospital.cases["past_retention"]

    assert form(case, path="key-slice", kind="slice_moved", number="6").status_code == 303

    assert [kind for kind, _, _ in said_of_slices(rows, case)] == ["slice_moved"]
    assert f'/cases/{case}/words"' not in browse(f"/cases/{case}").text
    assert "key-slice" not in browse(f"/cases/{gone}").text
    assert form(gone, path="key-slice", kind="slice_confirmed").status_code == 404


@pytest.mark.parametrize("name", ["withdrawn", "failed", "refused"])
def test_there_is_nothing_to_say_where_no_result_is_shown(browse, form, hospital, rows, name):
    case = hospital.cases[name]

    assert 'method="post"' not in browse(f"/cases/{case}").text
    assert words(rows, case) == []
