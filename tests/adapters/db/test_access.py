"""The audit trail in a real PostgreSQL: what is done is noted with it, what is sent is sent once and in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg2
import pytest

from gtr_batch.access import looked, refusals_noted, send_waiting
from gtr_batch.db.access import PostgresAccessTrail
from gtr_batch.domain.access import WaitingEvent
from gtr_batch.domain.case import PATH, CaseState
from gtr_batch.errors import GovernanceRefused, InputRefused, ReceiverUnreachable
from gtr_batch.operating_system import operating_system_user
from tests.adapters.db.test_cases import a_case, a_staging
from tests.adapters.db.test_rights import (
    acknowledge,
    asked,
    change_a_setting,
    decided,
    let_a_replay_go,
    open_the_holdout,
    promote,
    withdraw,
)
from tests.case_moves import Moves
from tests.fixtures_db import as_role

__all__ = ["decided"]


@pytest.fixture
def trail(database) -> PostgresAccessTrail:
    return PostgresAccessTrail(database)


class Repository:
    """Port `AccessReceiver`: keeps what it got; while it is away, nothing."""

    name = "audit.hospital.example:6514"

    def __init__(self) -> None:
        self.got: list[WaitingEvent] = []
        self.away = False

    def deliver(self, events: Sequence[WaitingEvent]) -> None:
        if self.away:
            raise ReceiverUnreachable("away")
        self.got.extend(events)

    @property
    def numbers(self) -> list[int]:
        return [event.event_id for event in self.got]


@pytest.mark.parametrize(
    ("decide", "noted"),
    [
        (promote, ("model.promote", "model", "Ada")),
        (withdraw, ("model.withdraw", "model", "Ada")),
        (acknowledge, ("alarm.acknowledge", "alarm", "Ada")),
        (change_a_setting, ("setting.change", "setting", "Ada")),
        (let_a_replay_go, ("restage.approve", "comparison", "Ada")),
        (open_the_holdout, ("holdout.open", "cohort", "Ada")),
    ],
)
def test_what_is_decided_is_noted_by_the_database_itself(decided, trail, decide, noted):
    decide(decided)

    newest = trail.newest(1)[0]
    assert (newest.action, newest.object_kind, newest.actor) == noted
    assert (newest.outcome, newest.os_user) == ("success", operating_system_user())


def test_what_is_sent_to_the_pacs_is_noted_with_its_study_and_no_patient(database, trail):
    book, case = Moves.on(database), a_case()
    book.open_night(case.night, "v1")
    book.record([case])
    for state in PATH[1 : PATH.index(CaseState.STAGED) + 1]:
        book.advance(case.case_id, state)
    book.save_staging(case.case_id, a_staging())
    for state in PATH[PATH.index(CaseState.STAGED) + 1 : PATH.index(CaseState.COMMITTED) + 1]:
        book.advance(case.case_id, state)
    repository = Repository()

    send_waiting(trail, repository)

    (sent,) = [event for event in repository.got if event.action == "report.send"]
    assert (sent.object_kind, sent.object_id, sent.study_uid) == ("case", case.case_id, case.study_uid)
    assert case.patient_id not in repr(repository.got)


def test_who_looks_is_noted_before_anything_is_shown(trail):
    looked(trail, "night", "2026-03-01")

    (event,) = trail.newest(5)
    assert (event.action, event.object_id, event.actor) == ("night.look", "2026-03-01", operating_system_user())


def test_what_is_refused_is_noted_as_refused_and_nonsense_is_not(trail):
    with pytest.raises(GovernanceRefused), refusals_noted(trail, "model.promote", "model", "a" * 64, by="Eve"):
        raise GovernanceRefused("the gate refused it")
    with pytest.raises(InputRefused), refusals_noted(trail, "model.promote", "model", "a" * 64, by="Eve"):
        raise InputRefused("no such model")

    (event,) = trail.newest(5)
    assert (event.action, event.actor, event.outcome) == ("model.promote", "Eve", "failure")


@pytest.mark.parametrize("role", ["gtr_app", "gtr_governor"])
@pytest.mark.parametrize(
    "statement",
    [
        "update access_event set actor = 'nobody'",
        "delete from access_event",
        "insert into access_event (action, object_kind, object_id, actor, db_user) values ('a.b', 'c', 'd', 'e', 'f')",
        "insert into access_event (action, object_kind, object_id, actor, at) values ('a.b', 'c', 'd', 'e', now())",
    ],
)
def test_nobody_rewrites_the_trail_or_writes_another_login_into_it(dsn, role, statement):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        asked(as_role(dsn, role), statement)


def note(trail: PostgresAccessTrail, *ids: str) -> None:
    for object_id in ids:
        looked(trail, "case", object_id)


def test_what_waits_is_sent_once_in_order_whatever_happens_to_the_receiver(trail):
    repository = Repository()
    note(trail, "a", "b")
    assert send_waiting(trail, repository) == 2
    note(trail, "c", "d")
    repository.away = True
    with pytest.raises(ReceiverUnreachable):
        send_waiting(trail, repository)
    note(trail, "e")
    repository.away = False

    assert send_waiting(trail, repository) == 3
    assert send_waiting(trail, repository) == 0
    assert [event.object_id for event in repository.got] == ["a", "b", "c", "d", "e"]
    assert repository.numbers == sorted(set(repository.numbers))


def test_what_fits_into_no_one_connection_is_sent_in_several(trail, monkeypatch):
    monkeypatch.setattr("gtr_batch.access.BATCH", 2)
    note(trail, "a", "b", "c", "d", "e")
    repository = Repository()

    assert send_waiting(trail, repository) == 5
    assert [event.object_id for event in repository.got] == ["a", "b", "c", "d", "e"]


@pytest.fixture
def open_transaction(dsn) -> Iterator[psycopg2.extensions.connection]:
    """A session that has noted something and has not committed it yet."""
    connection = psycopg2.connect(as_role(dsn, "gtr_app"))
    connection.cursor().execute(
        "insert into access_event (action, object_kind, object_id, actor) values ('case.look', 'case', 'late', 'Ada')"
    )
    yield connection
    connection.close()


def test_an_event_that_is_committed_after_a_later_one_is_not_passed_over(trail, open_transaction):
    note(trail, "after it")
    repository = Repository()

    send_waiting(trail, repository)
    open_transaction.commit()
    send_waiting(trail, repository)

    assert sorted(event.object_id for event in repository.got) == ["after it", "late"]


def test_two_senders_at_once_send_everything_once(trail, database, dsn):
    """While one sends, the other has nothing to do."""
    from gtr_batch.db import Database
    from tests.fixtures_db import logins

    second, repository = Database(logins(dsn)), Repository()
    note(trail, "a")

    def deliver(events: Sequence[WaitingEvent]) -> None:
        assert send_waiting(PostgresAccessTrail(second), repository) == 0
        repository.deliver(events)

    trail.send(repository.name, deliver, 10)
    second.close()

    assert [event.object_id for event in repository.got] == ["a"]
