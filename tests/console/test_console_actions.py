"""What operators and auditors decide on a page, what Airflow is asked, what is refused; and which runs a page links."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import attrs
import pytest
from fastapi import FastAPI
from starlette.routing import Mount
from starlette.testclient import TestClient

from gtr_batch.config import ConsoleConfig, DatabaseConfig
from gtr_batch.db import Database
from gtr_batch.db.switch import PostgresSwitch
from gtr_batch.domain.switch import SwitchAction
from gtr_batch.errors import DatabaseRefused
from gtr_console.app import create_app
from tests.console_hospital import NIGHT, ROLES
from tests.fixtures_db import as_role, logins

SAME = {"sec-fetch-site": "same-origin", "origin": "https://airflow.example"}
DAGS = Path(__file__).resolve().parents[2] / "dags"
STUDY = "1.2.840.113619.2.55.3.7"
LATER = datetime(2026, 3, 4, 9, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def airflow_app(airflow_tokens) -> Iterator[FastAPI]:
    """Airflow's own API server in this process, with the DAG `stage_now` in its own database."""
    from airflow import settings
    from airflow.api_fastapi.app import create_app as create_airflow
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.db import synchronize_log_template
    from airflow.utils.session import create_session

    import_all_models()
    Base.metadata.create_all(settings.engine)
    with create_session() as session:
        synchronize_log_template(session=session)
        session.merge(DagBundleModel(name="gtr"))
    sync_bag_to_db(DagBag(str(DAGS / "stage_now.py"), bundle_name="gtr"), "gtr", None)
    app = create_airflow(apps="core")
    app.root_path = "/ops"
    yield app
    with create_session() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())


@pytest.fixture(scope="module")
def clients(airflow_app, hospital) -> Iterator[Callable[..., TestClient]]:
    """A function that gives the console of the hospital within Airflow, with other settings where some are named."""
    sites: list = []

    def open_site(**console: object):
        config = attrs.evolve(hospital.config, console=ConsoleConfig(**{"roles": ROLES, **console}))
        sites.append(attrs.evolve(attrs.evolve(hospital, config=config).open_site()))
        return sites[-1]

    def mounted(**console: object) -> TestClient:
        airflow_app.router.routes[:] = [one for one in airflow_app.router.routes if getattr(one, "path", "") != "/gtr"]
        airflow_app.router.routes.insert(0, Mount("/gtr", create_app(lambda: open_site(**console))))
        return TestClient(airflow_app, base_url="https://airflow.example", follow_redirects=False)

    yield mounted
    for site in sites:
        site.close()


@pytest.fixture
def client(clients) -> TestClient:
    return clients()


@pytest.fixture
def send(browse, client) -> Callable:
    """A function that sends a form as a user, with the token of a page of theirs."""

    def sent(path: str, user: str = "olga", *, client: TestClient = client, page: str = "/nights", **given: str):
        shown = browse(page, user, client=client).text
        hidden = dict(re.findall(r'name="(gtr_token|stopped_at)" value="([^"]+)"', shown))
        data = {name: html.unescape(value) for name, value in hidden.items()} | given
        return browse(path, user, client=client, method="POST", headers=SAME, data=data)

    return sent


@pytest.fixture
def runs(airflow_app) -> Iterator[Callable[[], list]]:
    """A function that gives the runs of stage_now in Airflow's database, which are gone after the test."""
    from airflow.models import DagRun, Log
    from airflow.utils.session import create_session
    from sqlalchemy import delete, select

    def found() -> list:
        with create_session() as session:
            return list(session.scalars(select(DagRun).where(DagRun.dag_id == "stage_now").order_by(DagRun.id)))

    yield found
    with create_session() as session:
        session.execute(delete(DagRun))
        session.execute(delete(Log))


def noted(rows, action: str) -> list[tuple]:
    found = rows(
        "select object_kind, object_id, actor, outcome from access_event where action = %s order by access_event_id",
        action,
    )
    return found


# A study at once


def test_a_failed_case_is_tried_again_by_a_run_in_the_name_of_whoever_asked(browse, send, runs, client, hospital, rows):
    from airflow.models import Log
    from airflow.utils.session import create_session
    from sqlalchemy import select

    case = hospital.cases["failed"]

    answer = send(f"/cases/{case}/retry")

    assert (answer.status_code, answer.headers["location"]) == (303, f"/ops/gtr/cases/{case}#runs")
    [run] = runs()
    assert (run.conf, run.triggering_user_name, str(run.state)) == ({"case_ids": [case]}, "olga", "queued")
    page = browse(f"/cases/{case}", "olga", client=client).text
    assert f'href="/ops/dags/stage_now/runs/{run.run_id}"' in page
    assert "queued" in page and "olga" in page
    assert f"/cases/{case}/retry" not in page
    assert f"/stage_now/runs/{run.run_id}" in browse("/nights", "olga", client=client).text
    with create_session() as session:
        [log] = session.scalars(select(Log).where(Log.event == "trigger_dag_run"))
    assert (log.dag_id, log.owner) == ("stage_now", "olga")
    assert noted(rows, "case.stage_now")[-1] == ("case", case, "olga", "success")


def test_a_case_for_which_a_run_waits_is_not_asked_for_twice(browse, send, runs, hospital):
    case = hospital.cases["failed"]
    [study] = {c.study_uid for c in [_case(hospital, case)]}
    send(f"/cases/{case}/retry")

    answers = [send(f"/cases/{case}/retry"), send("/studies/stage", study_uid=study)]

    [run] = runs()
    assert [answer.status_code for answer in answers] == [409, 409]
    assert all(f"the run {run.run_id} is queued for it already" in answer.text for answer in answers)


def test_of_two_who_ask_in_the_same_moment_one_is_told_so(send, runs, hospital, monkeypatch):
    """Neither saw the other's run: Airflow takes one id once."""
    case = hospital.cases["failed"]
    monkeypatch.setattr("gtr_console.airflow_runs.next_run_id", lambda prefix: f"{prefix}1")
    monkeypatch.setattr("gtr_console.airflow_runs.at_once", list)

    answers = [send(f"/cases/{case}/retry") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [303, 409]
    assert "in this very moment" in answers[1].text
    assert len(runs()) == 1


def test_a_case_whose_run_has_ended_may_be_tried_once_more(send, runs, hospital):
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import update

    case = hospital.cases["failed"]
    send(f"/cases/{case}/retry")
    with create_session() as session:
        session.execute(update(DagRun).values(state="failed"))

    assert send(f"/cases/{case}/retry").status_code == 303
    assert len({run.run_id for run in runs()}) == 2


@pytest.mark.parametrize(
    ("name", "why"), [("staged", "the case is staged"), ("refused", "the case is refused"), ("withdrawn", "withdrawn")]
)
def test_a_case_that_has_ended_is_not_tried_again(browse, send, runs, client, hospital, name, why):
    case = hospital.cases[name]

    answer = send(f"/cases/{case}/retry")

    assert answer.status_code == 409
    assert why in answer.text
    assert runs() == []
    assert "/retry" not in browse(f"/cases/{case}", "olga", client=client).text


def test_the_night_offers_to_try_what_failed_or_was_not_finished(browse, client, hospital):
    found = re.findall(r"/cases/([0-9a-f-]{36})/retry", browse(f"/nights/{NIGHT}", "olga", client=client).text)

    assert set(found) == {hospital.cases["failed"], hospital.cases["unfinished"]}
    for user in ("rahel", "anton"):
        assert "/retry" not in browse(f"/nights/{NIGHT}", user, client=client).text


def test_a_study_is_staged_by_its_uid(browse, send, runs, client, rows):
    answer = send("/studies/stage", "ada", study_uid=f" {STUDY} ")

    assert (answer.status_code, answer.headers["location"]) == (303, "/ops/gtr/nights#runs")
    [run] = runs()
    assert (run.conf, run.triggering_user_name) == ({"study_uids": [STUDY]}, "ada")
    assert STUDY not in run.run_id
    assert noted(rows, "study.stage_now")[-1] == ("study", STUDY, "ada", "success")


@pytest.mark.parametrize("typed", ["", "PHANTOM-7", "1.2.", "1..2", "1.2.3; drop", "1." + "2" * 70, "ACC-00012"])
def test_what_is_no_study_uid_is_refused_and_not_repeated(send, runs, typed):
    answer = send("/studies/stage", study_uid=typed)

    assert answer.status_code == 409
    assert "no Study Instance UID" in answer.text
    assert not typed or typed not in answer.text
    assert runs() == []


def test_a_stopped_service_starts_nothing_and_says_who_stopped_it(send, runs, hospital):
    case = hospital.cases["failed"]
    assert send("/service/stop", "ada", why="the scanner is being mended").status_code == 303
    try:
        answer = send(f"/cases/{case}/retry")
    finally:
        send("/service/resume", "ada", why="it is mended")

    assert answer.status_code == 409
    assert "by ada: the scanner is being mended" in answer.text
    assert runs() == []


def test_what_airflow_does_not_let_a_user_do_is_not_done(send, runs, clients, hospital, rows):
    """An operator of the console who may only read in Airflow."""
    case = hospital.cases["failed"]
    client = clients(roles=("operator=user:anton",))

    answer = send(f"/cases/{case}/retry", "anton", client=client)

    assert answer.status_code == 409
    assert "Airflow does not let you start runs of stage_now" in answer.text
    assert runs() == []
    assert noted(rows, "case.stage_now")[-1] == ("case", case, "anton", "failure")


def test_a_dag_that_is_paused_is_said_to_be(send, runs, hospital):
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import update

    with create_session() as session:
        session.execute(update(DagModel).values(is_paused=True))
    try:
        answer = send(f"/cases/{hospital.cases['failed']}/retry")
    finally:
        with create_session() as session:
            session.execute(update(DagModel).values(is_paused=False))

    assert answer.status_code == 409
    assert "paused in Airflow" in answer.text
    assert runs() == []


def _case(hospital, case_id: str):
    site = hospital.open_site()
    try:
        return site.book.case(case_id)
    finally:
        site.close()


# The stop switch


def test_the_service_is_stopped_and_resumed_with_a_reason_in_the_name_of_whoever_is_signed_in(
    browse, send, client, rows
):
    stopped = send("/service/stop", why="wrong patients <in> the PACS")
    banner = browse("/worklist", "rahel", client=client).text
    page = browse("/nights", "olga", client=client).text
    resumed = send("/service/resume", "ada", why="the PACS is mended")

    assert (stopped.status_code, resumed.status_code) == (303, 303)
    assert "Nothing is staged or sent" in banner and "by olga: wrong patients &lt;in&gt; the PACS" in banner
    assert "nights#service" in page and "nights#service" not in banner
    assert "Resume the service" in page and "/service/stop" not in page
    assert "Nothing is staged or sent" not in browse("/worklist", "rahel", client=client).text
    history = rows("select action, by_whom, why from service_switch order by service_switch_id desc limit 2")
    assert history == [("resume", "ada", "the PACS is mended"), ("stop", "olga", "wrong patients <in> the PACS")]
    assert [actor for _, _, actor, _ in noted(rows, "service.stop")[-1:]] == ["olga"]
    assert [actor for _, _, actor, _ in noted(rows, "service.resume")[-1:]] == ["ada"]


@pytest.mark.parametrize(("path", "why"), [("stop", ""), ("stop", " "), ("stop", "x" * 2001), ("resume", "it runs")])
def test_a_stop_needs_a_reason_and_a_resume_something_to_resume(send, rows, path, why):
    before = rows("select count(*) from service_switch")

    assert send(f"/service/{path}", why=why).status_code == 409
    assert rows("select count(*) from service_switch") == before


def test_a_stop_that_the_page_did_not_show_is_not_ended(browse, send, client, hospital, rows):
    send("/service/stop", why="the first reason")
    [seen] = re.findall(r'name="stopped_at" value="([^"]+)"', browse("/nights", "olga", client=client).text)
    database = Database(logins(hospital.dsn))
    PostgresSwitch(database).decide(SwitchAction.STOP, by="Ada", why="a worse one")
    database.close()
    try:
        answer = send("/service/resume", why="mended", stopped_at=html.unescape(seen))
        assert answer.status_code == 409
        assert "stopped once more" in answer.text
        assert rows("select action from service_switch order by service_switch_id desc limit 1") == [("stop",)]
    finally:
        assert send("/service/resume", why="both are mended").status_code == 303


@pytest.mark.parametrize("path", ["/service/stop", "/service/resume", "/studies/stage"])
def test_who_may_not_operate_is_shown_no_form(browse, client, path):
    for user in ("rahel", "anton"):
        assert path not in browse("/nights", user, client=client).text


# Alarms


@pytest.fixture
def alarm(rows) -> int:
    """An open alarm of its own."""
    [(number,)] = rows(
        "insert into drift_alarm (monitor, level, night, watching_since, model_version, sentence, detail, run_id) "
        "select monitor, 'stop', night, (select min(watching_since) from drift_alarm) - 1, model_version, sentence, "
        "detail, run_id from drift_alarm order by drift_alarm_id limit 1 returning drift_alarm_id"
    )
    return number


def test_an_alarm_is_acknowledged_with_a_note_once(browse, send, client, rows, alarm):
    path, form = f"/alarms/{alarm}/acknowledge", {"page": "/audits", "note": "a new <scanner>, as expected"}
    assert path in browse("/audits", "anton", client=client).text

    answers = [send(path, "anton", **form), send(path, "ada", **form)]

    assert [answer.status_code for answer in answers] == [303, 409]
    assert "was acknowledged by anton already" in answers[1].text
    kept = rows("select by_whom, note, watch_from from drift_alarm_acknowledgment where drift_alarm_id = %s", alarm)
    assert kept == [("anton", "a new <scanner>, as expected", None)]
    assert noted(rows, "alarm.acknowledge")[-1] == ("alarm", str(alarm), "anton", "success")
    page = browse("/audits", "anton", client=client).text
    assert path not in page
    assert "a new &lt;scanner&gt;, as expected" in page


def test_an_alarm_is_acknowledged_so_that_its_monitor_watches_anew(send, rows, alarm):
    form = {"page": "/audits", "note": "recalibrated"}
    refused = [
        send(f"/alarms/{alarm}/acknowledge", "anton", **{**form, "watch_from": "1999-01-01"}),
        send(f"/alarms/{alarm}/acknowledge", "anton", **{**form, "watch_from": "soon"}),
        send(f"/alarms/{alarm}/acknowledge", "anton", page="/audits", note=" "),
        send("/alarms/999999/acknowledge", "anton", **form),
    ]
    assert {answer.status_code for answer in refused} == {409}

    assert send(f"/alarms/{alarm}/acknowledge", "anton", **form, watch_from="2026-03-02").status_code == 303
    kept = rows("select watch_from from drift_alarm_acknowledgment where drift_alarm_id = %s", alarm)
    assert kept == [(date(2026, 3, 2),)]


def test_the_consoles_login_adds_to_these_histories_and_changes_none(hospital, alarm):
    console = Database(DatabaseConfig(dsn=as_role(hospital.dsn, "gtr_console")))

    for sql in (
        "insert into service_switch (action, by_whom, why, db_user) values ('stop', 'x', 'y', 'somebody else')",
        "insert into service_switch (action, by_whom, why, at) values ('stop', 'x', 'y', now() - interval '1 day')",
        "update service_switch set why = 'z'",
        "delete from service_switch",
        f"insert into drift_alarm_acknowledgment (drift_alarm_id, by_whom, note, at) values ({alarm}, 'x', 'y', now())",
        "update drift_alarm_acknowledgment set note = 'z'",
        "delete from drift_alarm_acknowledgment",
        "insert into delivery_pause (drift_alarm_id) values (1)",
    ):
        with pytest.raises(DatabaseRefused, match="42501"), console.transaction("console") as tx:
            tx.script(sql)
    console.close()


# Which runs worked on a night


@pytest.fixture
def add_runs(airflow_app, runs) -> Callable[..., None]:
    """A function that writes runs of nightly_staging as Airflow's scheduler and API write them."""
    from airflow.models import DagRun
    from airflow.utils.session import create_session

    def added(*many: dict) -> None:
        with create_session() as session:
            for one in many:
                given = {"run_type": "manual", "state": "success", "conf": {}, "run_after": LATER, **one}
                session.add(DagRun(dag_id="nightly_staging", **given))

    return added


def scheduled(night: date, **more: object) -> dict:
    """A night's scheduled run, which began on time."""
    due = datetime.combine(night + timedelta(days=1), time(0, 30), UTC)
    logical = {"logical_date": due - timedelta(hours=12), "run_after": due, "start_date": due}
    return {"run_id": f"scheduled__{night}", "run_type": "scheduled", **logical, **more}


def linked(page: str) -> list[str]:
    """The runs that a page links, in its order."""
    return list(dict.fromkeys(re.findall(r"/ops/dags/\w+/runs/([^\"/]+)", page)))


@pytest.fixture
def night_page(browse, client) -> Callable[[], str]:
    return lambda: browse(f"/nights/{NIGHT}", "olga", client=client).text


def row_of_nights(browse, client) -> str:
    [row] = re.findall(rf'/nights/{NIGHT}".*?</tr>', browse("/nights", "olga", client=client).text, re.DOTALL)
    return row


def test_a_night_links_the_run_that_worked_on_it_and_not_one_that_still_waits(browse, client, night_page, add_runs):
    waiting = {"run_id": "manual__waits", "state": "queued", "conf": {"night": str(NIGHT)}}
    add_runs(scheduled(NIGHT), {**waiting, "triggering_user_name": "olga"}, scheduled(NIGHT + timedelta(days=1)))

    assert linked(night_page()) == [f"scheduled__{NIGHT}", "manual__waits"]
    assert linked(row_of_nights(browse, client)) == [f"scheduled__{NIGHT}"]


def test_a_night_that_was_run_again_by_hand_links_that_run_and_says_whose_it_was(browse, client, night_page, add_runs):
    again = {"run_id": "manual__again", "conf": {"night": str(NIGHT)}, "start_date": LATER}
    add_runs(scheduled(NIGHT, state="failed"), {**again, "triggering_user_name": "olga"})

    assert linked(night_page()) == ["manual__again", f"scheduled__{NIGHT}"]
    assert linked(row_of_nights(browse, client)) == ["manual__again"]
    assert re.search(r"manual__again</a></th>.*?<td>olga</td>.*?<td>schedule</td>", night_page(), re.DOTALL)


def test_a_night_long_ago_has_its_run_too(browse, client, night_page, add_runs):
    add_runs(scheduled(NIGHT), *(scheduled(NIGHT + timedelta(days=ahead)) for ahead in range(1, 300)))

    assert linked(night_page()) == [f"scheduled__{NIGHT}"]
    answer = browse(f"/run?dag_id=nightly_staging&run_id=scheduled__{NIGHT}", "olga", client=client)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/ops/gtr/nights/{NIGHT}")


def test_a_study_that_was_taken_into_a_night_at_once_links_its_run_and_the_log_of_what_failed(
    browse, client, send, runs, night_page, add_runs, hospital
):
    from airflow.models import DagRun, TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import update

    case = hospital.cases["unfinished"]
    add_runs(scheduled(NIGHT))
    assert send("/studies/stage", study_uid=STUDY).status_code == 303
    [run] = runs()
    assert linked(night_page()) == [f"scheduled__{NIGHT}"]
    assert run.run_id not in browse(f"/cases/{case}", "olga", client=client).text

    taken = {"night": str(NIGHT), "case_ids": [case], "not_taken": {}}
    with create_session() as session:
        session.execute(update(DagRun).where(DagRun.id == run.id).values(state="failed", start_date=LATER))
        session.execute(update(TaskInstance).where(TaskInstance.task_id == "deliver").values(state="failed"))
        XComModel.set("return_value", taken, dag_id="stage_now", task_id="take", run_id=run.run_id, session=session)

    assert linked(night_page()) == [run.run_id, f"scheduled__{NIGHT}"]
    assert f'href="/ops/dags/stage_now/runs/{run.run_id}/tasks/deliver"' in night_page()
    assert run.run_id in browse(f"/cases/{case}", "olga", client=client).text


@pytest.mark.parametrize(
    "written",
    [
        "text",
        {"night": "soon", "case_ids": ["../../x"]},
        {"night": "soon", "case_ids": ["6f1d2c1e-0b5c-5e53-9a3d-5f0c1f8f6a10"]},
        {"case_ids": 7},
    ],
)
def test_what_somebody_writes_into_a_runs_xcom_or_conf_by_hand_breaks_no_page(browse, client, send, runs, written):
    from airflow.models import DagRun
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import update

    send("/studies/stage", study_uid=STUDY)
    [run] = runs()
    conf = {"case_ids": ["../../x", 7], "study_uids": {"a": 1}}
    with create_session() as session:
        session.execute(update(DagRun).where(DagRun.id == run.id).values(conf=conf))
        XComModel.set("return_value", written, dag_id="stage_now", task_id="take", run_id=run.run_id, session=session)

    page = browse("/nights", "olga", client=client)

    assert page.status_code == 200
    assert run.run_id in page.text
    assert "../x" not in page.text
