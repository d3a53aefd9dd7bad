"""The reader's word in the console: said, filtered by, taken back; by whom it may be, and about what."""

from __future__ import annotations

import html
import re

import pytest

SAME = {"sec-fetch-site": "same-origin", "origin": "https://airflow.example"}


@pytest.fixture
def form(browse):
    """A function that sends a form of a case's page as a user, with what the page has in its hidden fields."""

    def send(case: str, user: str = "rahel", path: str = "words", **given: str):
        page = browse(f"/cases/{case}", "rahel").text
        hidden = dict(re.findall(r'name="(result)" value="([^"]+)"', page))
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


@pytest.mark.parametrize("name", ["withdrawn", "not_staged", "failed", "refused"])
def test_there_is_nothing_to_say_where_no_stage_is_shown(browse, form, hospital, rows, name):
    case = hospital.cases[name]

    assert 'method="post"' not in browse(f"/cases/{case}").text
    assert words(rows, case) == []
