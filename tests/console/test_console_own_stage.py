"""Own stage first: what a reader sees of a result before a stage of their own, and what is noted of what was shown."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import attrs
import pytest
from starlette.testclient import TestClient

from gtr_batch.domain.console import ConsoleCase
from gtr_batch.domain.staging import FLAG_MEANINGS, STAGES, Flag
from gtr_console.app import create_app
from tests.console_hospital import MODEL, NIGHT, ROLES, Hospital

SAME = {"sec-fetch-site": "same-origin", "origin": "https://airflow.example"}
ROUTES = list(create_app(lambda: None).routes)
#: Staged cases of the night, in the order of their studies.
STAGED = ("deep", "staged", "flagged", "no_nomogram", "past_retention")
#: What a reader may have that is no page: neither says anything of a result.
NO_ANSWER = {"slice", "static"}


def told(case: ConsoleCase, text: str) -> list[str]:
    """What a page says of the result of a case, and of any result at all."""
    text = re.sub(r'(?s)<div class="own-stage">.*?</form>', "", html.unescape(text))
    numbers = [f"{p:.2f}" for p in case.probabilities] + [f"{case.probability:.3g}"]
    numbers += [] if case.points is None else [f"{case.points:.1f}"]
    patterns = [
        *(rf"(?<![\d.]){re.escape(one)}(?!\.?\d)" for one in numbers if one not in ("0.05", "0.10")),
        *([] if case.points is None else [rf">{case.points:.0f}<"]),
        r"\bcT[1-4]\b", r"votes T", r"t stage: T", r"\bp: 0", r"points: \d", r"Agree: c", r"P\(T1\) to P\(T4\): 0",
        *(re.escape(FLAG_MEANINGS[Flag(flag)].words) for flag in case.flags if FLAG_MEANINGS[Flag(flag)].on_overlay),
    ]  # fmt: skip
    return [one for one in patterns if re.search(one, text)]


def paths(hospital: Hospital, case: str) -> list[tuple[str, str]]:
    """Every address that a reader can ask about a case: each route that only reads, and the worklist by each filter."""
    values = {
        "night": str(NIGHT), "path": "index.html", "case_id": hospital.cases[case], "index": "1", "place": "1",
        "run_id": "c" * 64, "version": MODEL, "name": "console.css", "document": "card.html",
    }  # fmt: skip
    reading = [route for route in ROUTES if "GET" in route.methods]
    found = [(route.name, route.path.replace("{path:path}", "{path}").format(**values)) for route in reading]
    queries = [*(f"stage={stage}" for stage in STAGES), "outcome=staged", "read=no", "flag=three_way_tie", "flag=tie"]
    return [*found, *(("worklist", f"/worklist?night={NIGHT}&{query}") for query in queries)]


@pytest.fixture(scope="module")
def asked_as(app_of, hospital, browse) -> Callable[..., Callable]:
    """A function that gives a function as `browse`, of the hospital's console with other settings."""

    def made(*roles: str, first: bool = True) -> Callable:
        console = attrs.evolve(hospital.config.console, roles=(*ROLES, *roles), own_stage_first=first)
        there = attrs.evolve(hospital, config=attrs.evolve(hospital.config, console=console))
        client = TestClient(app_of(there.open_site), base_url="https://airflow.example", follow_redirects=False)
        return lambda path, user="rahel", **given: browse(path, user, client=client, **given)

    return made


@pytest.fixture(scope="module")
def blind(asked_as) -> Callable:
    """The console of a site that asks for the own stage first; ada is its administrator and a radiologist."""
    return asked_as("radiologist=user:ada", "radiologist=user:nemo")


@pytest.fixture(scope="module")
def answers(hospital) -> dict[str, ConsoleCase]:
    """What the network and the nomogram say of each staged case."""
    site = hospital.open_site()
    found = {name: site.book.case(hospital.cases[name]) for name in STAGED}
    site.close()
    return found


def send(ask: Callable, case: str, path: str, user: str = "rahel", **given: str):
    """Send a form of a case's page as a user, with what the page has in its hidden fields."""
    page = ask(f"/cases/{case}", user).text
    hidden = dict(re.findall(r'name="(result|gtr_token)" value="([^"]+)"', page))
    data = {name: html.unescape(value) for name, value in hidden.items()} | given
    return ask(f"/cases/{case}/{path}", user, method="POST", headers=SAME, data=data)


def shown(rows: Callable, user: str) -> set[str]:
    return {str(case) for (case,) in rows("select case_id from reader_shown where reader = %s", user)}


def listed(page: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r'/cases/([0-9a-f-]{36})"', page)))


# Before


@pytest.mark.parametrize("user", ["nemo", "ada"])
@pytest.mark.parametrize("name", STAGED)
def test_no_route_tells_a_reader_of_a_result_before_a_stage_of_their_own(blind, hospital, answers, rows, user, name):
    leaks = []
    for route, path in paths(hospital, name):
        answer = blind(path, user)
        kind = answer.headers.get("content-type", "")
        if answer.status_code == 200 and not kind.startswith("text/") and route not in NO_ANSWER:
            leaks.append((path, kind))
        if kind.startswith("text/"):
            leaks += [(path, one) for one in told(answers[name], answer.text)]

    assert leaks == []
    assert not shown(rows, user) & {hospital.cases[one] for one in STAGED}


def test_the_search_finds_the_result_where_it_is_shown_and_other_roles_are_shown_it(blind, hospital, answers, rows):
    before = shown(rows, "olga")
    for name, path in [("deep", "/worklist"), *((name, f"/cases/{hospital.cases[name]}") for name in STAGED)]:
        assert len(told(answers[name], blind(path, "olga").text)) >= 3, (name, path)
    assert blind(f"/cases/{hospital.cases['deep']}/heat/1", "anton").status_code == 200
    assert blind(f"/cases/{hospital.cases['deep']}/overview.png", "anton").status_code == 200
    assert shown(rows, "olga") == before


def test_a_page_that_withholds_a_result_offers_each_stage_alike_and_says_why(blind, hospital):
    page = blind(f"/cases/{hospital.cases['deep']}", "nemo").text

    assert re.findall(r'type="radio" name="stage" value="(T\d)"', page) == list(STAGES)
    assert " checked" not in page
    assert 'data-heat="no"' in page
    assert "Shown after your own stage" in page
    answer = blind(f"/cases/{hospital.cases['deep']}/heat/1", "nemo")
    assert (answer.status_code, "Give your own stage first" in answer.text) == (403, True)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", STAGED),
        ("stage=T4", ()),
        ("stage=T1&stage=T2&stage=T3&stage=T4", ()),
        ("flag=automatic_key_slice", ()),
        ("outcome=staged", STAGED),
    ],
)
def test_neither_the_order_nor_the_filter_of_the_worklist_tells_a_result(blind, hospital, query, names):
    page = blind(f"/worklist?{query}", "nemo").text

    assert listed(page)[: len(names)] == [hospital.cases[name] for name in names]
    assert not names or 'name="flag"' in page
    assert "chosen automatically" not in page


def test_the_next_page_of_the_worklist_begins_where_this_one_ends(blind, hospital, monkeypatch):
    monkeypatch.setattr("gtr_console.queries.CASES_A_PAGE", 2)
    seen, after = [], ""
    for _ in range(5):
        page = blind(f"/worklist?after={after}", "nemo").text
        seen += listed(page)
        found = re.search(r'name="after" value="([^"]+)"', page)
        after = found[1] if found else ""

    assert seen[:5] == [hospital.cases[name] for name in STAGED]
    assert (len(set(seen)), len(seen), after) == (10, 10, "")


def test_no_word_is_kept_before_the_own_stage_and_its_refusal_tells_nothing(blind, hospital, rows):
    case = hospital.cases["deep"]
    forms = [{"kind": "agree"}, *({"kind": "overrule", "stage": stage, "why": "x"} for stage in STAGES)]

    answers = [send(blind, case, "words", "nemo", **form) for form in forms]

    assert {(answer.status_code, answer.text) for answer in answers} == {(404, answers[0].text)}
    assert "your own stage comes first" in answers[0].text
    assert rows("select 1 from reader_word where reader = 'nemo'") == []


# The own stage, and after it


def test_after_the_own_stage_the_result_is_shown_and_a_word_carries_both_with_their_times(
    blind, hospital, answers, rows
):
    case = hospital.cases["staged"]
    assert told(answers["staged"], blind(f"/cases/{case}").text) == []

    assert send(blind, case, "own-stage", stage="T2").status_code == 303
    page = blind(f"/cases/{case}").text
    assert len(told(answers["staged"], page)) >= 3
    assert "Your own stage, given" in page
    assert send(blind, case, "own-stage", stage="T4").status_code == 303  # sent twice: the first holds
    assert blind(f"/cases/{case}/heat/1").status_code == 200
    assert blind(f"/cases/{case}/report.dcm").status_code == 200
    assert "cT3" in blind("/worklist").text
    assert send(blind, case, "words", kind="agree").status_code == 303

    word = "select own_stage, own_stage_at < ai_shown_at, ai_shown_at < at from reader_word where reader = 'rahel'"
    assert rows(word) == [("T2", True, True)]
    assert "own stage cT2" in blind(f"/cases/{case}").text
    events = "select count(*) from access_event where action = 'case.own_stage' and actor = 'rahel' and object_id = %s"
    assert rows(events, case) == [(1,)]


def test_an_earlier_result_of_the_patient_waits_for_its_own_stage_too(blind, hospital):
    send(blind, hospital.cases["earlier"], "own-stage", "ada", stage="T1")

    page = blind(f"/cases/{hospital.cases['earlier']}", "ada").text

    [row] = re.findall(rf"(?s)<tr>(?:(?!<tr>).)*/cases/{hospital.cases['staged']}.*?</tr>", page)
    assert "own stage first" in row
    assert not re.search(r"cT\d|\d\.\d\d<", row)


def test_a_result_that_changed_asks_anew(blind, hospital, rows):
    case = hospital.cases["no_nomogram"]
    seen = re.search(r'name="result" value="([^"]+)"', blind(f"/cases/{case}").text)[1]
    send(blind, case, "own-stage", stage="T2")
    assert "AI result - not verified</p>" in blind(f"/cases/{case}").text
    change = "update staging_result set p_t1 = p_t1 {} 0.01, p_t2 = p_t2 {} 0.01 where case_id = %s returning 1"

    rows(change.format("+", "-"), case)
    try:
        page = blind(f"/cases/{case}").text
        late = send(blind, case, "own-stage", stage="T3", result=seen)
    finally:
        rows(change.format("-", "+"), case)

    assert 'class="own-stage"' in page
    assert (late.status_code, "has changed" in late.text) == (404, True)


@pytest.mark.parametrize(
    "form", [{"stage": "T9"}, {}, {"stage": "T2", "result": "0" * 64}, {"stage": "T2", "result": ""}]
)
def test_what_is_no_stage_or_about_no_result_is_not_kept(blind, hospital, rows, form):
    answer = send(blind, hospital.cases["flagged"], "own-stage", "nemo", **form)

    assert answer.status_code == 404
    assert "The stage was not kept" in answer.text
    assert rows("select 1 from reader_own_stage where reader = 'nemo'") == []


@pytest.mark.parametrize("kind", ["slice_confirmed", "slice_moved"])
def test_no_word_on_the_key_slice_is_offered_or_kept_before_the_own_stage(blind, hospital, rows, kind):
    case = hospital.cases["flagged"]

    page = blind(f"/cases/{case}", "nemo").text
    answer = send(blind, case, "key-slice", "nemo", kind=kind, stack="", number="3", why="x")

    assert 'id="key-slice"' not in page
    assert (answer.status_code, "your own stage comes first" in answer.text) == (404, True)
    assert rows("select 1 from reader_word where reader = 'nemo'") == []


@pytest.mark.parametrize("name", ["withdrawn", "not_staged", "failed", "refused", "unfinished"])
def test_no_stage_is_asked_for_where_there_is_none(blind, hospital, name):
    page = blind(f"/cases/{hospital.cases[name]}", "nemo").text

    assert "own-stage" not in page


# What was shown


def test_that_a_result_is_shown_is_noted_once_whatever_shows_it(asked_as, hospital, rows):
    ask = asked_as("radiologist=user:olga", "radiologist=user:anton", first=False)
    numbers = "select last_value from reader_shown_reader_shown_id_seq"

    for name, path in {
        "deep": "/cases/{}", "flagged": "/cases/{}/heat/1", "past_retention": "/cases/{}/overview.png",
        "no_nomogram": "/cases/{}/report.dcm",
    }.items():  # fmt: skip
        assert hospital.cases[name] not in shown(rows, "anton")
        assert ask(path.format(hospital.cases[name]), "anton").status_code == 200
        assert hospital.cases[name] in shown(rows, "anton"), path
    ask(f"/cases/{hospital.cases['staged']}", "olga")
    assert {hospital.cases["staged"], hospital.cases["earlier"]} <= shown(rows, "olga")
    ask("/worklist", "olga")
    seen = {hospital.cases[name] for name in (*STAGED, "not_staged", "earlier")}
    assert shown(rows, "olga") == seen

    before = rows(numbers)
    for path in ("/worklist", f"/cases/{hospital.cases['staged']}", f"/cases/{hospital.cases['deep']}/slices/1"):
        ask(path, "olga")
    assert rows(numbers) == before
    assert shown(rows, "olga") == seen


def test_a_result_that_was_shown_before_is_not_withheld_and_takes_no_own_stage(asked_as, hospital, rows):
    case = hospital.cases["deep"]
    seen = asked_as("radiologist=user:nemo", "radiologist=user:olga", first=False)(f"/cases/{case}", "olga").text
    later = asked_as("radiologist=user:olga")

    page = later(f"/cases/{case}", "olga").text
    answer = send(later, case, "own-stage", "olga", stage="T2")

    assert "cT4" in seen and "cT4" in page
    assert answer.status_code == 404
    assert rows("select 1 from reader_own_stage where reader = 'olga'") == []


def test_who_is_no_radiologist_is_noted_nowhere(asked_as, hospital, rows):
    ask: Callable = asked_as(first=False)

    for path in ("/worklist", f"/cases/{hospital.cases['deep']}"):
        ask(path, "ada")

    assert shown(rows, "ada") & {hospital.cases["deep"], hospital.cases["flagged"]} == set()


def test_a_site_that_does_not_ask_keeps_no_own_stage(asked_as, hospital, rows):
    ask = asked_as("radiologist=user:nemo", first=False)

    answer = send(ask, hospital.cases["past_retention"], "own-stage", "rahel", stage="T2")

    assert (answer.status_code, "does not ask" in answer.text) == (404, True)
