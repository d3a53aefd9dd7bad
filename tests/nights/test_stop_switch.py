"""The whole service stopped by a person, in the middle of whatever it does. Real PACS and Postgres."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from gtr_batch import night as steps
from gtr_batch.cli import app
from gtr_batch.db import Database, queries
from gtr_batch.db.switch import PostgresSwitch
from gtr_batch.domain.lifecycle import Approval
from gtr_batch.domain.switch import SwitchAction
from gtr_batch.errors import DatabaseRefused, GovernanceRefused, NightFailed, ServiceStopped
from gtr_batch.governance import restage
from gtr_batch.governance.promotion import promote
from gtr_batch.governance.registry import adopt, register_artefact
from gtr_batch.governance.switch import resume, stop
from gtr_batch.governance.withdrawal import affected, send_notices, withdraw
from gtr_batch.wiring import open_site
from tests.nights.conftest import NIGHT
from tests.nights.test_cli import gtr, settings  # noqa: F401 - fixtures

WHO = {"by": "Ada", "why": "a scanner was mended"}


@pytest.fixture
def patient(admit, enter_in_ehr, fill):
    """One patient with a study in the PACS."""
    admit("one")
    enter_in_ehr("one")
    fill()


@pytest.fixture
def stop_now(config):
    """A function that stops the service as another process would."""
    database = Database(config.database)
    yield lambda *_: PostgresSwitch(database).decide(SwitchAction.STOP, **WHO)
    database.close()


def begun(site) -> list[list[str]]:
    return steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))


def work_through(site, shards, wanted) -> None:
    for step in wanted:
        for shard in shards:
            step(site, NIGHT, shard)


def state(site) -> str:
    [case] = site.cases.of_night(NIGHT)
    return str(case.state)


def in_the_pacs(site) -> int:
    """How many of the case's objects the PACS lists."""
    [case] = site.cases.of_night(NIGHT)
    objects = site.cases.objects(case.case_id)
    return sum(len(site.archive.present(case.study_uid, o.series_uid, [o.sop_instance_uid])) for o in objects)


def test_from_the_stop_on_no_step_does_anything_and_after_the_resume_the_night_ends(site, patient, stop_now):
    shards = begun(site)
    for step in steps.SHARD_STEPS:
        before = state(site)
        stop_now()
        with pytest.raises(ServiceStopped, match="by Ada: a scanner was mended"):
            step(site, NIGHT, shards[0])
        assert (state(site), in_the_pacs(site)) == (before, 0), step.__name__
        if step is not steps.deliver:
            resume(site, **WHO)
            step(site, NIGHT, shards[0])

    for work in (steps.query_pacs, begun, steps.shadow):
        with pytest.raises(ServiceStopped):
            work(*{steps.query_pacs: (site, NIGHT), begun: (site,), steps.shadow: (site, NIGHT, shards[0])}[work])
    with pytest.raises(NightFailed, match=r"stopped on .* by Ada.* 1 of 1 cases wait"):
        steps.close_night(site, NIGHT)
    resume(site, **WHO)
    work_through(site, begun(site), steps.SHARD_STEPS)
    assert steps.close_night(site, NIGHT)["states"] == {"committed": 1}
    assert not steps.close_night(site, NIGHT)["stopped"]


def test_a_case_that_is_being_staged_is_not_written_after_the_stop(site, patient, stop_now, monkeypatch):
    shards = begun(site)
    work_through(site, shards, steps.SHARD_STEPS[:3])
    write = site.files.write_arrays
    monkeypatch.setattr(type(site.files), "write_arrays", lambda _, *given: (stop_now(), write(*given))[1])

    with pytest.raises(ServiceStopped):
        steps.stage(site, NIGHT, shards[0])

    [case] = site.cases.of_night(NIGHT)
    assert (state(site), site.cases.staging(case.case_id)) == ("preprocessed", None)


def test_of_a_report_that_is_being_sent_no_further_object_is_sent_after_the_stop(site, patient, stop_now, monkeypatch):
    shards = begun(site)
    work_through(site, shards, steps.SHARD_STEPS[:-1])
    note = site.deliveries.note_receipts
    monkeypatch.setattr(type(site.deliveries), "note_receipts", lambda _, *given: (note(*given), stop_now()))
    [case] = site.cases.of_night(NIGHT)

    with pytest.raises(ServiceStopped):
        steps.deliver(site, NIGHT, shards[0])
    monkeypatch.undo()

    assert len(site.cases.objects(case.case_id)) > 1
    assert (state(site), in_the_pacs(site)) == ("reported", 1)
    resume(site, **WHO)
    steps.deliver(site, NIGHT, shards[0])
    assert (state(site), in_the_pacs(site)) == ("committed", len(site.cases.objects(case.case_id)))


def test_a_replay_and_the_notices_of_a_withdrawal_wait_too(config, gov, patient, recorded, challenger, stop_now):
    models = config.training.models
    versions = [
        adopt(gov.registry, models, recorded, **WHO),
        register_artefact(gov.registry, models, challenger, **WHO),
    ]
    with open_site(config) as site:
        work_through(site, begun(site), steps.SHARD_STEPS)
    found = restage.compare(gov, versions[0], nights=[NIGHT])
    promote(gov.registry, versions[1], Approval(versions[1], versions[0], "Ada", "a test"), without_gate=True)
    withdraw(gov.registry, versions[0], shown=versions[1], **WHO)
    due = [row.sop_instance_uid for row in affected(gov.registry, versions[0])]

    stop_now()

    with pytest.raises(ServiceStopped):
        restage.compare(gov, versions[1], nights=[NIGHT])
    with pytest.raises(ServiceStopped):
        send_notices(gov.night, gov.registry, versions[0], due)
    with pytest.raises(GovernanceRefused):  # withdrawn meanwhile; not to be sent, stopped or not
        restage.deliver(gov, found.digest, **WHO)
    resume(gov.night, **WHO)
    assert send_notices(gov.night, gov.registry, versions[0], due).sent == len(due) > 0


def test_the_nights_login_stops_and_only_the_governors_resumes(database, site):
    switch = PostgresSwitch(database)
    switch.decide(SwitchAction.STOP, **WHO)

    with pytest.raises(DatabaseRefused), database.transaction("resume as the night") as tx:
        tx.run(queries.load("switch")["decide"], action="resume", by_whom="Ada", why="a test")
    assert switch.stopped() is not None
    switch.decide(SwitchAction.RESUME, **WHO)
    assert switch.stopped() is None
    assert [str(event.action) for event in switch.history()] == ["stop", "resume"]
    assert [(e.action, e.actor) for e in site.trail.newest(2)] == [("service.resume", "Ada"), ("service.stop", "Ada")]


def test_stopped_twice_it_is_resumed_once_and_what_runs_cannot_be_resumed(site):
    stop(site, by="Ada", why="first")
    assert stop(site, by="Grace", why="second").by_whom == "Grace"

    assert resume(site, **WHO).why == "second"
    with pytest.raises(GovernanceRefused, match="not stopped"):
        resume(site, **WHO)


def test_the_command_line_stops_shows_it_everywhere_and_resumes(gtr, settings, patient):  # noqa: F811
    told = gtr("stop", "--by", "Ada", "--why", "[bold]a fire[/]", **settings)
    night, status, doctor = (
        gtr(*words, **settings) for words in (("night", "--night", str(NIGHT)), ("status",), ("doctor", "--json"))
    )
    shown = json.loads(doctor.stdout)
    resumed = gtr("resume", "--by", "Grace", "--why", "put out", "--json", **settings)
    again = gtr("night", "--night", str(NIGHT), "--json", **settings)

    assert told.exit_code == 0
    assert "by Ada: [bold]a fire[/]" in told.stdout
    assert night.exit_code != 0
    assert "STOPPED" in status.stdout
    assert [one["state"] for one in shown if one["check"] == "stop switch"] == ["red"]
    assert json.loads(resumed.stdout)["stopped"] is False
    assert [case["state"] for case in json.loads(again.stdout)["cases"]] == ["committed"]


def test_nobody_stops_or_resumes_without_name_and_reason():
    for command in ("stop", "resume"):
        assert CliRunner().invoke(app, [command, "--by", "Ada"]).exit_code != 0
