"""Who may do what in the database, and that what is kept stays: the nightly login against a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import attrs
import psycopg2
import pytest
from psycopg2.extensions import make_dsn, parse_dsn

from gtr_batch.config import DatabaseConfig
from gtr_batch.db import Database, PostgresNights
from gtr_batch.db.audit import PostgresAuditBook
from gtr_batch.db.cohorts import PostgresCohorts
from gtr_batch.db.registry import PostgresRegistry
from gtr_batch.db.restages import PostgresRestages
from gtr_batch.db.settings import PostgresSettings
from gtr_batch.domain.audit_run import Alarm, AlarmLevel, Crossing
from gtr_batch.domain.lifecycle import Change
from gtr_batch.errors import DatabaseRefused
from gtr_batch.operating_system import operating_system_user
from gtr_batch.training.cohort import build_cohort
from tests.adapters.db.test_audit_book import RUN
from tests.adapters.db.test_cases import a_case, a_staging
from tests.case_moves import Moves
from tests.fixtures_db import as_role
from tests.unit.training.test_build_cohort import SETTINGS, many

VERSION, DIGEST = "a" * 64, "b" * 64

#: Tables whose rows say how things are now: what became of them is in the table named, or in another system.
PRESENT_STATE = (
    {
        "staging_case": "case_event",
        "study_look": "the PACS: how it listed a study when it was last looked at",
        "model_version": "model_event",
        "notice_delivery": "notice: when it was raised, and here whether it went out since",
        "result_sending": "result_message: what was to be sent, and here whether it went out since",
        "reader_word_sending": "reader_word: what was said, and here whether the PACS has it since",
        "watch_look": "the clock: when somebody looked last",
        "schema_migration": "a file of sql/migrations is applied once",
        "schema_view": "sql/views",
    }
    | {
        f"ehr_{name}": "the EHR"
        for name in ("patient", "biopsy", "tumour", "marker", "treatment", "metastasis", "surgery", "read", "key_slice")
    }
    | {
        f"ehr_staging_{name}": "empty between loads"
        for name in ("patient", "biopsy", "tumour", "marker", "treatment", "metastasis", "surgery", "read", "key_slice")
    }
)


def asked(dsn: str, statement: str, *values: object) -> list[tuple]:
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


@pytest.fixture
def nightly(dsn: str) -> Iterator[Database]:
    """The database as a worker of the night reaches it, whose settings name no governor."""
    made = Database(DatabaseConfig(dsn=as_role(dsn, "gtr_app")))
    yield made
    made.close()


@pytest.fixture
def decided(database: Database) -> Database:
    """A registered model, an alarm, a comparison and a cohort, for somebody to decide about."""
    PostgresRegistry(database).register(VERSION, {"name": "m"}, Path("m"), by="retraining", why="a test")
    audits = PostgresAuditBook(database)
    audits.save_run(RUN)
    audits.raise_alarms(
        RUN.run_id,
        [
            Alarm(
                "headers",
                AlarmLevel.STOP,
                on=date(2026, 3, 20),
                watching_since=date(2026, 1, 5),
                model_version=VERSION,
                sentence="A scanner is new.",
                detail=Crossing("Scanners and protocols", 6.5, 5.0),
            )
        ],
    )
    PostgresRestages(database).save(DIGEST, VERSION, {"nights": [], "case_ids": []}, {})
    PostgresCohorts(database).freeze(*build_cohort(many(), SETTINGS))
    return database


def promote(database: Database) -> None:
    change = Change(VERSION, "promote", "candidate", "champion")
    PostgresRegistry(database).change([change], champion=None, by="Ada", why="better")


def withdraw(database: Database) -> None:
    change = Change(VERSION, "withdraw", "candidate", "withdrawn")
    PostgresRegistry(database).change([change], champion=None, by="Ada", why="worse")


def pass_the_gate(database: Database) -> None:
    PostgresRegistry(database).attach(VERSION, "gate", {"verdict": "pass"}, by="Ada")


def acknowledge(database: Database) -> None:
    book = PostgresAuditBook(database)
    (alarm,) = book.alarms()
    book.acknowledge(alarm.alarm_id, by="Ada", note="looked", watch_from=None)


def change_a_setting(database: Database) -> None:
    PostgresSettings(database).set("report.refusal_sr", True, by="Ada", why="asked for")


def let_a_replay_go(database: Database) -> None:
    PostgresRestages(database).approve(DIGEST, by="Ada", why="better")


def open_the_holdout(database: Database) -> None:
    cohort = build_cohort(many(), SETTINGS)[0].digest
    PostgresCohorts(database).open_holdout(cohort, VERSION, "Ada", "to look")


DECISIONS = [
    promote, withdraw, pass_the_gate, acknowledge, change_a_setting, let_a_replay_go, open_the_holdout,
]  # fmt: skip


@pytest.mark.parametrize("decide", DECISIONS)
def test_the_nightly_login_decides_nothing_and_is_told_which_login_may(decided, nightly, decide):
    with pytest.raises(DatabaseRefused, match=r"42501.*database\.governor_dsn"):
        decide(nightly)


@pytest.mark.parametrize("decide", DECISIONS)
def test_the_governor_decides(decided, decide):
    decide(decided)


@pytest.mark.parametrize(
    "statement",
    [
        "select subject_of(patient_id) from ehr_patient",
        "select subject from holdout_subject",
        "select manifest from training_cohort",
        "select member from holdout_member",
        "select * from open_holdout('a', 'b', 'c', 'd')",
        "select key from subject_key",
        "insert into holdout_subject (subject) values ('x')",
    ],
)
def test_the_nightly_login_cannot_learn_who_is_sealed(dsn, decided, statement):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        asked(as_role(dsn, "gtr_app"), statement)


def test_no_digest_of_an_audit_is_one_of_a_holdout(dsn):
    ((of_audits,),) = asked(as_role(dsn, "gtr_app"), "select audit_subject_of('P1')")
    ((again,),) = asked(as_role(dsn, "gtr_app"), "select audit_subject_of('P1')")
    ((of_cohorts,),) = asked(as_role(dsn, "gtr_governor"), "select subject_of('P1')")

    assert of_audits == again != of_cohorts
    assert len(of_audits) == len(of_cohorts) == 32


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        (
            "gtr_app",
            "insert into case_event (case_id, step, state, at) values (gen_random_uuid(), 'x', 'found', now())",
        ),
        (
            "gtr_governor",
            "insert into model_event (version, action, to_state, by_whom, why, db_user) values "
            "(repeat('a', 64), 'register', 'candidate', 'x', 'y', 'somebody else')",
        ),
        (
            "gtr_governor",
            "insert into setting_version (name, value, by_whom, why, at) values ('a.b', '1', 'x', 'y', '2020-01-01')",
        ),
    ],
)
def test_no_role_writes_the_time_or_the_login_of_a_decision_itself(dsn, role, statement):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        asked(as_role(dsn, role), statement)


@pytest.fixture
def ada_logs_in(dsn: str) -> Iterator[str]:
    """DSN of a person's own login, in the role gtr_governor."""
    name = f"ada_{parse_dsn(dsn)['dbname']}"
    asked(dsn, f"create role {name} login password 'a' in role gtr_governor")
    yield make_dsn(dsn, user=name, password="a")
    asked(dsn, f"drop owned by {name}; drop role {name}")


def test_a_decision_keeps_the_login_and_the_account_beside_the_name_that_was_given(dsn, decided, ada_logs_in):
    as_ada = Database(attrs.evolve(DatabaseConfig(dsn=as_role(dsn, "gtr_app")), governor_dsn=ada_logs_in))
    login = parse_dsn(ada_logs_in)["user"]

    for decide in (promote, pass_the_gate, acknowledge, change_a_setting, let_a_replay_go, open_the_holdout):
        decide(as_ada)
    as_ada.close()

    for table in (
        "model_event", "model_document", "setting_version", "drift_alarm_acknowledgment", "restage_approval",
        "holdout_opening",
    ):  # fmt: skip
        found = asked(dsn, f"select db_user, os_user from {table}")
        assert (login, operating_system_user()) in found, table


# What is kept


def tables(dsn: str) -> set[str]:
    statement = "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
    return {name for (name,) in asked(dsn, statement)}


def guards(dsn: str, function: str, *, for_each: str) -> dict[str, set[str]]:
    """Table -> the events (DELETE, TRUNCATE, UPDATE) at which an enabled trigger calls this function."""
    found = asked(
        dsn,
        "select c.relname, t.tgtype from pg_trigger as t join pg_class as c on c.oid = t.tgrelid "
        "join pg_proc as p on p.oid = t.tgfoid where p.proname = %s and t.tgenabled in ('O', 'A')",
        function,
    )
    events: dict[str, set[str]] = {}
    for table, kind in found:
        assert bool(kind & 1) == (for_each == "row") or function == "append_only"
        events.setdefault(table, set()).update(
            name for bit, name in ((8, "DELETE"), (16, "UPDATE"), (32, "TRUNCATE")) if kind & bit
        )
    return events


def test_every_table_is_history_or_keeps_what_it_replaces_or_is_named_here_as_neither(dsn):
    appended, kept = guards(dsn, "append_only", for_each="statement"), guards(dsn, "keep_former", for_each="row")
    history = {table for table, events in appended.items() if events == {"DELETE", "UPDATE", "TRUNCATE"}}
    keeping = {table for table, events in kept.items() if events == {"DELETE", "UPDATE"} <= events}

    assert all(appended[table] == {"TRUNCATE"} for table in keeping)
    assert history.isdisjoint(keeping)
    assert tables(dsn) - history - keeping == PRESENT_STATE.keys()


def test_history_is_refused_also_to_the_owner(dsn):
    appended = guards(dsn, "append_only", for_each="statement")

    for table in sorted(t for t, events in appended.items() if "DELETE" in events):
        for statement in (f"delete from {table}", f"truncate {table} cascade"):
            with pytest.raises(psycopg2.Error, match="append-only"):
                asked(dsn, statement)


def test_a_result_that_is_made_again_with_another_answer_keeps_the_one_before(dsn, database):
    book, case, first = Moves.on(database), a_case(), a_staging()
    book.open_night(case.night, "v1")
    book.record([case])
    book.save_staging(case.case_id, first)
    book.save_staging(case.case_id, first)

    assert asked(dsn, "select count(*) from former_row where table_name = 'staging_result'") == [(0,)]

    book.save_staging(case.case_id, attrs.evolve(first, flags=()))
    book.save_staging(case.case_id, attrs.evolve(first, probabilities=first.slices[0].probabilities))

    kept = asked(dsn, "select content, db_user from former_row where table_name = 'staging_result' order by 1")
    assert kept
    assert kept[0][0]["t_stage"] == str(first.t_stage)
    assert "staged_at" in json.dumps(kept[0][0])
    assert asked(dsn, "select count(*) > 0 from former_row where table_name = 'slice_result'") == [(True,)]


def test_the_service_cannot_empty_what_was_kept(dsn):
    for statement in ("delete from former_row", "select * from former_row", "insert into former_row values (default)"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            asked(as_role(dsn, "gtr_app"), statement)


def test_a_night_that_is_closed_again_keeps_its_first_summary(dsn, database):
    nights, night = PostgresNights(database), date(2026, 3, 2)
    nights.close(night, {"states": {"failed": 1}})
    nights.close(night, {"states": {"failed": 1}})
    nights.close(night, {"states": {"committed": 1}})

    kept = asked(dsn, "select content -> 'summary' from former_row where table_name = 'night'")
    assert kept == [({"states": {"failed": 1}},)]
