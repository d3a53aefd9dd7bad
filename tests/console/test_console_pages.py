"""What each page says: of a finished night with every kind of case, of bad input, and of a hospital's first day."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg2
import pytest
from starlette.testclient import TestClient

from gtr_batch.config import DatabaseConfig
from gtr_batch.db import Database
from gtr_batch.db.pool import PooledDatabase
from gtr_batch.db.queries import Query
from gtr_batch.db.switch import PostgresSwitch
from gtr_batch.domain.switch import SwitchAction
from gtr_batch.errors import DatabaseBusy, DatabaseRefused
from gtr_batch.wiring import open_console
from gtr_console import queries
from tests.case_moves import Moves
from tests.console_hospital import LONG_ID, MODEL, NIGHT, PATIENT_ID, console_config
from tests.fixtures_db import as_role, logins
from tests.phantoms import abdomen_hu


def text_of(answer) -> str:
    """What a person reads on a page."""
    assert answer.status_code == 200, answer.text
    body = re.sub(r"(?s)<(style|title)>.*?</\1>", "", answer.text)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)))


# Whose a case is


def looks(rows, action: str) -> list[tuple]:
    return rows("select object_id, actor, why from access_event where action = %s order by access_event_id", action)


def test_a_look_at_a_named_patient_is_written_down_before_it_is_shown(browse, hospital, rows):
    before = len(looks(rows, "patient.look"))

    page = text_of(browse(f"/cases/{hospital.cases['staged']}", "rahel"))

    assert f"PatientID {PATIENT_ID}" in page
    assert looks(rows, "patient.look")[before:] == [(hospital.cases["staged"], "rahel", "case")]


def test_a_worklist_with_names_is_a_look_at_each_patient_on_it(browse, hospital, rows):
    before = len(looks(rows, "patient.look"))

    page = text_of(browse("/worklist", "rahel"))

    noted = looks(rows, "patient.look")[before:]
    assert {case for case, _, _ in noted} == set(hospital.cases.values()) - {hospital.cases["earlier"]}
    assert {(actor, why) for _, actor, why in noted} == {("rahel", "worklist")}
    assert PATIENT_ID in page and LONG_ID in page


@pytest.mark.parametrize("user", ["olga", "anton", "ada"])
@pytest.mark.parametrize("path", ["/worklist", "/cases/{staged}", "/cases/{flagged}", "/nights/2026-03-01"])
def test_who_may_not_see_patients_is_shown_none(browse, hospital, rows, user, path):
    before = len(looks(rows, "patient.look"))

    answer = browse(path.format(**hospital.cases), user)

    assert answer.status_code == 200
    assert "PHANTOM-" not in answer.text and "ACC-" not in answer.text
    assert len(looks(rows, "patient.look")) == before


@pytest.mark.parametrize("path", ["/worklist", "/cases/{staged}", "/nights"])
def test_no_title_and_no_link_names_a_patient(browse, hospital, path):
    answer = browse(path.format(**hospital.cases), "rahel")

    assert "PHANTOM" not in re.search(r"<title>(.*?)</title>", answer.text)[1]
    assert not [
        link for link in re.findall(r'(?:href|src|action|value|data-\w+)="([^"]*)"', answer.text) if "PHANTOM" in link
    ]


def test_a_look_without_a_name_and_a_look_at_images_are_written_down_too(browse, hospital, rows):
    case = hospital.cases["deep"]

    browse(f"/cases/{case}", "anton")
    for index in range(3):
        browse(f"/cases/{case}/slices/{index}", "anton")

    assert [look for look in looks(rows, "case.look") if look[0] == case] == [(case, "anton", "")]
    assert [look for look in looks(rows, "pixels.look") if look[0] == case] == [(case, "anton", "")]


def test_the_consoles_login_sees_no_patient_but_through_the_function_that_writes_it_down(hospital):
    console = Database(DatabaseConfig(dsn=as_role(hospital.dsn, "gtr_console")))

    for sql in (
        "select patient_id from staging_case",
        "select accession_number from staging_case",
        "select * from staging_case",
        "select * from ehr_patient",
        "select * from access_event",
        "update staging_case set night = night",
        "insert into case_event (case_id, step, state) select case_id, 'x', 'found' from console_case limit 1",
        "delete from access_event",
    ):
        with pytest.raises(DatabaseRefused, match="42501"), console.transaction("console") as tx:
            tx.script(sql)
    console.close()


def test_nobody_else_may_call_the_function_that_names_patients(hospital):
    for role in ("gtr_app", "gtr_reader"):
        connection = psycopg2.connect(as_role(hospital.dsn, role))
        with pytest.raises(psycopg2.errors.InsufficientPrivilege), connection.cursor() as cursor:
            cursor.execute("select * from look_at_patients('{}', 'x', 'y')")
        connection.close()


# What the pages say


def test_the_worklist_begins_with_what_asks_for_a_look_and_then_the_deeper_stage(browse, hospital):
    names = {case: name for name, case in hospital.cases.items()}

    page = browse("/worklist").text

    shown = [names[case] for case in re.findall(r'/cases/([0-9a-f-]{36})"', page)]
    assert shown[:5] == ["flagged", "deep", "staged", "no_nomogram", "past_retention"]
    assert set(shown[5:7]) == {"not_staged", "withdrawn"}
    assert shown[7:] == ["failed", "unfinished", "refused"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("stage=T4", {"deep"}),
        ("stage=T2&stage=T4", {"deep", "no_nomogram", "past_retention"}),
        ("outcome=refused", {"refused"}),
        ("flag=automatic_key_slice", {"flagged"}),
        ("scanner=Phantom+Phantom+64&stage=T3", {"staged", "flagged"}),
        ("night=2026-02-28&stage=T2", {"earlier"}),
        ("stage=T9&outcome=nonsense&flag=", None),
    ],
)
def test_the_filter_is_in_the_address(browse, hospital, query, names):
    shown = set(re.findall(r'/cases/([0-9a-f-]{36})"', browse(f"/worklist?{query}").text))

    wanted = set(hospital.cases) - {"earlier"} if names is None else names
    assert shown == {hospital.cases[name] for name in wanted}


def test_a_long_worklist_goes_on_where_a_page_ends(browse, hospital, monkeypatch):
    monkeypatch.setattr("gtr_console.queries.CASES_A_PAGE", 3)
    seen, after = [], ""
    for _ in range(4):
        page = browse(f"/worklist?after={after}").text
        seen += re.findall(r'/cases/([0-9a-f-]{36})"', page)
        found = re.search(r'name="after" value="([^"]+)"', page)
        after = found[1] if found else ""

    assert len(seen) == len(set(seen)) == 10
    assert not after


@pytest.mark.parametrize(
    "after", ["nonsense", "1.2.3", "0.0.20260301T090600000000.x", "0.0.20260301T090600000000.' or 1"]
)
def test_a_link_that_was_cut_is_said_to_be(browse, after):
    answer = browse(f"/worklist?after={after}")

    assert answer.status_code == 404
    assert "not complete" in answer.text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "staged",
            ["cT3", "P = 0.62", "likely set T3–T4", "AI result - not verified", "votes T3 (0.71)", "Total points"],
        ),
        ("flagged", ["three-way tie of the slices", "Missing in the EHR: lauren", "not known"]),
        ("no_nomogram", ["cT2", "This model has no nomogram"]),
        ("past_retention", ["deleted after their retention time", "overview picture"]),
        ("not_staged", ["not staged", "unlike reference"]),
        ("withdrawn", ["withdrawn; its result must not be used"]),
        ("failed", ["failed", "PacsUnreachable", "The next run of the night tries again."]),
        ("refused", ["refused", "3 slices are missing"]),
        ("unfinished", ["has reached “retrieved” and is not finished"]),
    ],
)
def test_a_case_says_what_became_of_it(browse, hospital, name, words):
    page = text_of(browse(f"/cases/{hospital.cases[name]}"))

    assert [word for word in words if word not in page] == []


@pytest.mark.parametrize("name", ["withdrawn", "not_staged", "failed", "refused", "unfinished"])
def test_a_result_that_must_not_be_used_is_nowhere_on_the_page(browse, hospital, name):
    page = text_of(browse(f"/cases/{hospital.cases[name]}"))

    assert not re.search(r"\bcT\d|votes T|P = 0|t stage: T\d|points: \d", page)
    assert browse(f"/cases/{hospital.cases['withdrawn']}/heat/1").status_code == 404
    assert browse(f"/cases/{hospital.cases['withdrawn']}/report.dcm").status_code == 404


def test_a_case_shows_the_patients_other_results(browse, hospital):
    page = browse(f"/cases/{hospital.cases['staged']}").text

    assert hospital.cases["earlier"] in page
    assert hospital.cases["deep"] not in page


def test_the_night_says_what_failed_and_what_follows(browse, hospital):
    page = text_of(browse(f"/nights/{NIGHT}", "olga"))

    assert "This night is red" in page
    assert "retrieve: PacsUnreachable" in page
    assert "the next run of the night tries again" in page
    assert "slice gap: 3 slices are missing" in page


def test_the_nights_say_which_was_late(browse):
    page = browse("/nights", "olga").text

    late = re.findall(r'/nights/([\d-]{10})"[^§]*?class="(ok|look|stop)"', page)
    assert dict(late)[str(NIGHT - timedelta(days=2))] == "stop"
    assert dict(late)[str(NIGHT)] == "ok"
    assert "<svg" in page


@pytest.mark.parametrize(
    ("begun", "closed", "says"),
    [
        ("5 hours", "6 hours", "in time"),
        ("8 hours", "9 hours", "late"),
        ("80 hours", "81 hours", "run later, on 2026-03-02"),
    ],
)
def test_a_night_that_was_begun_days_after_it_was_due_is_not_called_late(browse, rows, begun, closed, says):
    night, evening = NIGHT - timedelta(days=3), "night + interval '1 day'"
    statement = (
        f"update night set opened_at = {evening} + %s::interval, closed_at = {evening} + %s::interval "
        "where night = %s returning 1"
    )
    rows(statement, begun, closed, night)

    page = text_of(browse("/nights", "olga"))

    [row] = re.findall(rf"{night} \w{{3}}(.*?)all runs", page)
    assert says in row
    assert bool(re.search(r"\blate\b", row)) is (says == "late")
    rows(statement, "3 hours", "5 hours", night)


def test_the_audits_show_what_is_open(browse):
    page = text_of(browse("/audits", "anton"))

    assert "A scanner that the model has not seen" in page
    assert "2026-W09" in page


def test_the_list_of_audits_goes_on_with_the_earlier_ones(browse, rows, monkeypatch):
    rows(
        "insert into audit_run select %s, kind, '2026-W08', as_of - 7, model_version, code_version, settings, answer, "
        "headline, files, asked_by, made_at - interval '7 days' from audit_run where run_id = %s returning run_id",
        "b" * 64, "c" * 64,
    )  # fmt: skip
    monkeypatch.setattr(queries, "AUDITS_SHOWN", 1)
    newest = browse("/audits", "anton").text
    [link] = re.findall(r'href="/ops/gtr(/audits\?before=[^"]+)"', newest)
    earlier = browse(link, "anton").text
    none = text_of(browse(f"/audits?before={'b' * 64}", "anton"))

    assert "2026-W09" in newest and "2026-W08" not in newest
    assert "2026-W08" in earlier and "Earlier audits" not in earlier
    assert "There are no earlier audits." in none


def test_a_model_shows_its_verdict_and_its_history(browse):
    page = text_of(browse(f"/models/{MODEL}", "ada"))

    assert "champion" in page and "it passed" in page
    assert "0.82 (0.74 to 0.89), margin 0.05." in page


def test_a_card_opens_with_its_own_styles_and_nothing_else_and_only_pages_of_a_card_do(browse, hospital):
    folder = hospital.config.training.models / "cards" / MODEL
    folder.mkdir(parents=True)
    for name in ("card.html", "other.html"):
        (folder / name).write_text('<style>p { color: red }</style><p style="fill: blue">A card</p>')

    there = browse(f"/models/{MODEL}/card/card.html", "ada")
    others = ["other.html", "claim.html", "..%2Fcard.html"]

    assert f'href="/ops/gtr/models/{MODEL}/card/card.html"' in browse(f"/models/{MODEL}", "ada").text
    assert (there.status_code, "A card" in there.text) == (200, True)
    assert "script" not in there.headers["content-security-policy"]
    assert "style-src-attr 'unsafe-inline'" in there.headers["content-security-policy"]
    assert [browse(f"/models/{MODEL}/card/{one}", "ada").status_code for one in others] == [404] * 3
    assert browse("/models/..%2F..%2Fetc/card/card.html", "ada").status_code == 404


def test_the_page_of_a_case_is_what_the_pacs_got_for_those_who_see_patients(browse, hospital):
    case, other = hospital.cases["staged"], hospital.cases["withdrawn"]

    answer = browse(f"/cases/{case}/page.pdf", "rahel")

    assert f'href="/ops/gtr/cases/{case}/page.pdf"' in browse(f"/cases/{case}", "rahel").text
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
    assert (answer.content[:5], answer.content.rstrip()[-5:]) == (b"%PDF-", b"%%EOF")
    assert "PHANTOM" not in answer.headers["content-disposition"]
    assert browse(f"/cases/{case}/page.pdf", "anton").status_code == 403
    assert browse(f"/cases/{other}/page.pdf", "rahel").status_code == 404


# Pictures


def test_a_slice_is_what_the_scanner_measured(browse, hospital):
    answer = browse(f"/cases/{hospital.cases['staged']}/slices/3")

    shape = int(answer.headers["x-rows"]), int(answer.headers["x-columns"])
    hu = np.frombuffer(answer.content, "<i2").reshape(shape)
    np.testing.assert_array_equal(hu, np.round(abdomen_hu(7, 64)[3]))


def test_the_heat_map_lies_on_the_slices_pixels(browse, hospital):
    answer = browse(f"/cases/{hospital.cases['staged']}/heat/1")

    heat = np.frombuffer(answer.content, np.uint8).reshape(64, 64)
    assert np.unravel_index(heat.argmax(), heat.shape) == (32, 32)
    assert heat.max() == 255


@pytest.mark.parametrize("path", ["slices/7", "slices/-1", "slices/x", "heat/3", "heat/-1"])
def test_a_picture_that_is_not_there_is_not_found(browse, hospital, path):
    assert browse(f"/cases/{hospital.cases['staged']}/{path}").status_code == 404


def test_what_is_gone_or_cut_is_said_to_be(browse, hospital):
    case = hospital.cases["no_nomogram"]
    folder = hospital.config.files.root / str(NIGHT) / case / "retrieve"
    file = sorted(folder.glob("*.dcm"))[2]
    whole = file.read_bytes()
    file.write_bytes(whole[:1500])
    try:
        answers = [browse(f"/cases/{case}/slices/{index}") for index in range(7)]
        page = browse(f"/cases/{case}")
    finally:
        file.write_bytes(whole)

    assert sorted({answer.status_code for answer in answers}) == [200, 404]
    assert page.status_code == 200


# Bad input, and the first day


@pytest.mark.parametrize("case", ["nonsense", "00000000-0000-0000-0000-000000000000", "%00", "'; drop table night; --"])
def test_an_unknown_case_is_said_to_be_unknown(browse, case):
    answer = browse(f"/cases/{case}")

    assert answer.status_code == 404
    assert "There is no such" in answer.text


@pytest.fixture
def first_day(dsn, app_of, browse, tmp_path: Path):
    """A function that asks a page of a hospital that has not had a night yet."""
    client = TestClient(
        app_of(lambda: open_console(console_config(dsn, tmp_path))),
        base_url="https://airflow.example",
        follow_redirects=False,
    )
    return lambda path, user="rahel": browse(path, user, client=client)


@pytest.mark.parametrize(
    ("path", "user", "words"),
    [
        ("/nights", "olga", "No night has run yet"),
        ("/worklist", "rahel", "No night has run yet"),
        ("/audits", "anton", "No audit has run yet"),
        ("/models", "ada", "No model is registered"),
    ],
)
def test_a_hospital_on_its_first_day_is_told_what_will_come(first_day, path, user, words):
    assert words in text_of(first_day(path, user))


def test_a_night_that_is_running_says_so(first_day, dsn):
    database = Database(logins(dsn))
    Moves.on(database).open_night(datetime.now(UTC).date(), MODEL)
    database.close()

    assert "running" in text_of(first_day("/nights", "olga"))
    assert "No study of this night became a case yet" in text_of(
        first_day(f"/nights/{datetime.now(UTC).date()}", "olga")
    )
    assert "found no studies yet" in text_of(first_day("/worklist"))


def test_what_is_stopped_stands_on_top_of_every_page(first_day, dsn):
    database = Database(logins(dsn))
    PostgresSwitch(database).decide(SwitchAction.STOP, by="Ada", why="the scanner is being mended")
    database.close()

    for path in ("/nights", "/worklist", "/audits"):
        assert "Nothing is staged or sent: the service was stopped" in text_of(first_day(path, "olga"))


def test_a_console_that_is_not_set_up_says_so_and_shows_no_login(app_of, browse, tmp_path):
    config = console_config("postgresql://nobody:secret@127.0.0.1:1/none", tmp_path)
    unset = TestClient(app_of(lambda: open_console(type(config)())), base_url="https://airflow.example")
    away = TestClient(app_of(lambda: open_console(config)), base_url="https://airflow.example")

    answers = [browse("/nights", client=client) for client in (unset, away)]

    assert [answer.status_code for answer in answers] == [503, 503]
    assert not [answer for answer in answers if "secret" in answer.text]


# The database


def test_a_request_does_not_wait_long_for_a_connection_that_others_hold(hospital):
    pool = PooledDatabase(DatabaseConfig(dsn=hospital.config.database.console_dsn), 1, wait_s=0.05)

    with pool.transaction("first") as tx:
        tx.script("select 1")
        with pytest.raises(DatabaseBusy, match="in use"), pool.transaction("second"):
            pass
    with pool.transaction("third") as tx:
        tx.script("select 1")
    pool.close()


def test_a_statement_that_takes_too_long_is_ended_and_the_connection_is_made_anew(hospital):
    login = DatabaseConfig(dsn=hospital.config.database.console_dsn, statement_timeout_s=1)
    pool = PooledDatabase(login, 1)

    with pytest.raises(DatabaseBusy), pool.transaction("slow") as tx:
        tx.script("select pg_sleep(30)")
    with pool.transaction("next") as tx:
        tx.script("select 1")
    pool.close()


def test_a_connection_that_the_server_has_ended_meanwhile_is_made_anew(hospital, rows):
    pool = PooledDatabase(DatabaseConfig(dsn=hospital.config.database.console_dsn), 1, trusted_s=600)
    whose = Query("whose", frozenset(), "select pg_backend_pid() as pid")
    with pool.transaction("first") as tx:
        first = tx.one(whose)["pid"]
    with pool.transaction("second") as tx:
        assert tx.one(whose)["pid"] == first

    assert rows("select pg_terminate_backend(%s, 60000)", first) == [(True,)]

    with pool.transaction("third") as tx:
        assert tx.one(whose)["pid"] != first
    pool.close()
