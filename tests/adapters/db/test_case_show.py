"""`gtr case show`: one case as a person looks at it; each look is noted, and a named patient has a reason."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import Result
from typer.testing import CliRunner

from gtr_batch.cli import app
from gtr_batch.db.access import PostgresAccessTrail
from gtr_batch.domain.case import PATH, CaseState, Failure, Step
from gtr_batch.domain.delivery import ObjectKind, StoreReceipt
from gtr_batch.operating_system import operating_system_user
from tests.adapters.db.test_cases import a_case, a_staging, an_object
from tests.case_moves import Moves
from tests.fixtures_db import logins

PATIENT, ACCESSION = "SECRET-7", "ACC-SECRET-7"
CASE = a_case(patient_id=PATIENT, issuer_of_patient_id="CLINIC", accession_number=ACCESSION)
NAMED = ("--by", "Ada", "--why", "the ward asks")


@pytest.fixture
def trail(database) -> PostgresAccessTrail:
    return PostgresAccessTrail(database)


@pytest.fixture
def gtr(dsn, database, monkeypatch) -> Callable[..., Result]:
    """A function that runs `gtr case show` on a case that was reported, stored and then failed."""
    book = Moves.on(database)
    book.open_night(CASE.night, "v1")
    book.record([CASE])
    book.save_staging(CASE.case_id, a_staging())
    for state in PATH[1 : PATH.index(CaseState.REPORTED) + 1]:
        book.advance(CASE.case_id, state)
    book.save_objects(CASE.case_id, [an_object(ObjectKind.STRUCTURED_REPORT, "2.25.1")])
    book.save_receipts(CASE.case_id, [StoreReceipt("2.25.1", 0x0000)])
    book.fail(CASE.case_id, Failure(Step.DELIVER, "C-STORE [/bold]\x1b[31m refused", retryable=True))
    monkeypatch.delenv("GTR_CONFIG", raising=False)
    monkeypatch.setenv("GTR_DATABASE__DSN", logins(dsn).dsn)
    return lambda *options: CliRunner().invoke(app, ["case", "show", *options])


def test_a_case_is_shown_with_its_history_and_without_its_patient(gtr, trail):
    result = gtr(CASE.case_id)

    assert result.exit_code == 0
    shown = (CASE.study_uid, "structured_report", "2.25.1", "yes", "C-STORE [/bold]", "case.look", "failed")
    assert [text for text in shown if text not in result.stdout] == []
    assert "\x1b" not in result.stdout
    assert PATIENT not in result.stdout
    [look] = trail.about([CASE.case_id])
    assert (look.action, look.actor, look.outcome, look.why) == ("case.look", operating_system_user(), "success", "")


def test_whose_case_it_is_is_shown_to_a_named_person_with_a_reason_and_that_is_kept(gtr, trail):
    result = gtr(CASE.case_id, *NAMED, "--json")

    found = json.loads(result.stdout)
    assert found["patient"] == {"patient_id": PATIENT, "issuer": "CLINIC", "accession_number": ACCESSION}
    [look] = trail.about([CASE.case_id])
    assert (look.action, look.actor, look.why) == ("patient.look", "Ada", "the ward asks")
    again = json.loads(gtr(CASE.case_id, "--json").stdout)
    assert "patient" not in again
    assert [(one["action"], one["why"]) for one in again["accesses"]] == [
        ("patient.look", "the ward asks"),
        ("case.look", ""),
    ]


@pytest.mark.parametrize(
    "options",
    [
        ("--by", "Ada"),
        ("--why", "the ward asks"),
        ("--by", "Ada", "--why", f"of {PATIENT}"),
        ("--by", "Ada", "--why", f"of {ACCESSION.lower()}"),
    ],
)
def test_no_patient_is_shown_without_a_name_and_a_reason_that_names_none(gtr, trail, options):
    result = gtr(CASE.case_id, *options)

    assert result.exit_code == 2
    assert PATIENT not in result.output
    assert trail.about([CASE.case_id]) == []


def test_looking_changes_nothing_of_the_case(gtr, database):
    book = Moves.on(database)
    before = (book.get(CASE.case_id), book.events(CASE.case_id), book.objects(CASE.case_id))

    gtr(CASE.case_id, *NAMED)

    assert (book.get(CASE.case_id), book.events(CASE.case_id), book.objects(CASE.case_id)) == before


def test_what_is_no_case_is_said_so(gtr):
    assert gtr("11111111-1111-4111-8111-111111111111").exit_code == 2
    assert gtr("no case").exit_code == 2
