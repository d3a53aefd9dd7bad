"""A person is asked and answers: what is carried out is what was asked, in the name of who was authenticated."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import attrs
import psycopg2
import pytest

from gtr_batch.config import Config, GovernanceConfig
from gtr_batch.db.access import PostgresAccessTrail
from gtr_batch.db.approvals import PostgresApprovals
from gtr_batch.db.restages import PostgresRestages
from gtr_batch.domain.approval import Answer, Decision
from gtr_batch.domain.model_json import to_json
from gtr_batch.errors import ConfigError, GovernanceRefused
from gtr_batch.governance import approval
from gtr_batch.governance.gate import judge
from gtr_batch.governance.registry import adopt
from gtr_batch.governance.site import GovernanceSite
from tests.fixtures_db import as_role
from tests.unit.governance.test_gate import EASY, paired

PLACE = "retraining, scheduled__2026-04-01, approve"
YES = Answer(True, "eve", "Eve", "better on T4", datetime(2026, 4, 2, 9, tzinfo=UTC))


@pytest.fixture
def gov(registry, database) -> GovernanceSite:
    """Whoever decides; Eve and Bob may approve."""
    night = SimpleNamespace(
        config=Config(governance=GovernanceConfig(approvers=("eve", "bob"))), trail=PostgresAccessTrail(database)
    )
    return GovernanceSite(night, registry, PostgresRestages(database), PostgresApprovals(database), None, None)


@pytest.fixture
def judged(registry, versions, models, artefacts) -> str:
    """A candidate of which the gate cannot tell."""
    champion = adopt(registry, models, artefacts["old"], by="Ada", why="it stages since May")
    verdict = to_json(judge(paired(12), EASY, draws=50)) | {"champion": champion, "model_version": versions["new"]}
    verdict |= {"verdict": "cannot tell"}
    registry.attach(versions["new"], "gate", verdict, by="gate")
    return versions["new"]


def ask(gov, version, triggered_by=""):
    return approval.ask(gov, Decision.PROMOTE, version, asked_in=PLACE, triggered_by=triggered_by)


def test_what_is_approved_is_what_was_shown_with_the_registrys_verdict(gov, judged, registry):
    shown = ask(gov, judged)
    approval.answer(gov, PLACE, YES)

    asked, given = approval.approved(gov, Decision.PROMOTE, PLACE)

    assert (asked.subject, asked.champion, asked.verdict) == (judged, registry.champion(), "cannot tell")
    assert asked.shown == shown.shown
    assert judged[:12] in asked.shown
    assert given == YES


def test_a_task_that_somebody_set_to_success_has_approved_nothing(gov, judged):
    with pytest.raises(GovernanceRefused, match="no person was asked"):
        approval.approved(gov, Decision.PROMOTE, PLACE)

    ask(gov, judged)

    with pytest.raises(GovernanceRefused, match="no named person has approved"):
        approval.approved(gov, Decision.PROMOTE, PLACE)


def test_a_question_that_is_asked_anew_needs_a_new_answer(gov, judged):
    ask(gov, judged)
    approval.answer(gov, PLACE, YES)
    ask(gov, judged)

    with pytest.raises(GovernanceRefused, match="no named person has approved"):
        approval.approved(gov, Decision.PROMOTE, PLACE)


def test_a_no_is_kept_and_is_no_yes(gov, judged):
    ask(gov, judged)
    approval.answer(gov, PLACE, attrs.evolve(YES, approved=False, why="not convinced"))

    with pytest.raises(GovernanceRefused, match="no named person has approved"):
        approval.approved(gov, Decision.PROMOTE, PLACE)

    approval.answer(gov, PLACE, YES)  # a second thought is a new question

    with pytest.raises(GovernanceRefused, match="no named person has approved"):
        approval.approved(gov, Decision.PROMOTE, PLACE)


@pytest.mark.parametrize(("user", "name"), [("mallory", "Eve"), ("", "eve"), ("EVE", "Eve")])
def test_only_an_approver_approves_whatever_name_they_give(gov, judged, user, name):
    ask(gov, judged)

    with pytest.raises(GovernanceRefused, match=r"not one of governance\.approvers"):
        approval.answer(gov, PLACE, attrs.evolve(YES, user_id=user, by_whom=name))

    newest = gov.night.trail.newest(1)[0]
    assert (newest.action, newest.actor, newest.outcome) == ("approval.approve", name, "failure")


@pytest.mark.parametrize("started", ["eve", "Eve", "EVE"])
def test_nobody_approves_a_run_that_they_started(gov, judged, started):
    ask(gov, judged, triggered_by=started)

    with pytest.raises(GovernanceRefused, match="started this run and cannot approve it"):
        approval.answer(gov, PLACE, YES)
    approval.answer(gov, PLACE, attrs.evolve(YES, user_id="bob", by_whom="Bob"))

    assert approval.approved(gov, Decision.PROMOTE, PLACE)[1].by_whom == "Bob"


def test_nobody_is_asked_where_anybody_could_answer(gov, judged):
    gov.night.config = Config()

    with pytest.raises(ConfigError, match=r"governance\.approvers is empty"):
        ask(gov, judged)


def test_there_is_nothing_to_approve_of_what_the_gate_refused_or_never_saw(gov, judged, registry, versions):
    with pytest.raises(GovernanceRefused, match="was not asked about"):
        ask(gov, versions["third"])
    registry.attach(versions["third"], "gate", {**registry.document(judged, "gate"), "verdict": "fail"}, by="gate")
    with pytest.raises(GovernanceRefused, match="the gate refused"):
        ask(gov, versions["third"])
    with pytest.raises(GovernanceRefused, match="not one comparison"):
        approval.ask(gov, Decision.RESTAGE, "f" * 64, asked_in=PLACE, triggered_by="")


def test_a_yes_to_one_decision_is_none_to_another(gov, judged):
    ask(gov, judged)
    approval.answer(gov, PLACE, YES)

    with pytest.raises(GovernanceRefused, match="no named person has approved"):
        approval.approved(gov, Decision.RESTAGE, PLACE)


def test_the_nightly_login_neither_asks_nor_answers(dsn):
    for table in ("approval_request", "approval_answer"):
        connection = psycopg2.connect(as_role(dsn, "gtr_app"))
        with pytest.raises(psycopg2.errors.InsufficientPrivilege), connection, connection.cursor() as cursor:
            cursor.execute(f"insert into {table} default values")
        connection.close()
