"""The view `worklist_annotation`, as the reader sees it."""

from __future__ import annotations

from datetime import date, datetime

import attrs
import psycopg2
import pytest

from gtr_batch.config import DatabaseConfig
from gtr_batch.db import Database
from gtr_batch.db.queries import Query
from gtr_batch.domain.case import Case, CaseState, Failure, Step
from gtr_batch.domain.clinical import Covariates
from gtr_batch.domain.identifiers import case_id
from gtr_batch.domain.refusal import Refusal, RefusalCode
from gtr_batch.domain.staging import Flag, StageProbabilities, StageSet, TStage
from gtr_batch.errors import DatabaseRefused
from tests.adapters.db.test_cases import a_case, a_score, a_staging
from tests.case_moves import Moves
from tests.fixtures_db import as_role

ALL = Query("all", frozenset(), "select * from worklist_annotation order by study_uid")


@pytest.fixture
def book(database):
    return Moves.on(database)


@pytest.fixture
def worklist(dsn):
    """A function that reads the view with the rights of gtr_reader."""
    reader = Database(DatabaseConfig(dsn=as_role(dsn, "gtr_reader")))

    def read() -> list[dict]:
        with reader.transaction("worklist") as tx:
            return tx.all(ALL)

    yield read
    reader.close()


def bring(book, case: Case, to: CaseState, version: str = "v1") -> None:
    book.record([case])
    book.save_staging(case.case_id, a_staging(version, flags=()))
    book.save_score(case.case_id, a_score(), Covariates())
    book.advance(case.case_id, to)


def test_shows_the_result_of_a_study(book, worklist):
    case = a_case()
    bring(book, case, CaseState.COMMITTED)

    [row] = worklist()

    assert (row["accession_number"], row["study_uid"], row["case_id"]) == ("ACC1", "1.2.1", case.case_id)
    assert (row["state"], row["ct"], row["label"]) == ("committed", "cT3", "AI result - not verified")
    assert [row[f"p_t{i}"] for i in range(1, 5)] == [0.1, 0.2, 0.6, 0.1]
    assert (row["answer_by"], row["supporting_by"], row["supporting_ct"]) == ("network", "nomogram", "cT3")
    assert [row[f"supporting_p_t{i}"] for i in range(1, 5)] == [0.1, 0.2, 0.6, 0.1]
    assert row["nomogram"] == "available"
    assert (row["nomogram_low"], row["nomogram_high"]) == ([0.05, 0.1, 0.4, 0.05], [0.2, 0.3, 0.7, 0.2])
    assert (row["nomogram_points_total"], row["key_slice_source"], row["model_version"]) == (
        120.5,
        "ehr_reference",
        "v1",
    )
    assert row["stage_set"] is None
    assert row["delivered_at"] is not None


@pytest.mark.parametrize(
    ("lowest", "highest", "coverage", "shown"),
    [
        (TStage.T2, TStage.T3, 0.9, "T2-T3 (90%)"),
        (TStage.T3, TStage.T3, 0.9, "T3 (90%)"),
        (TStage.T1, TStage.T4, 0.975, "T1-T4 (97.5%)"),
    ],
)
def test_shows_the_set_of_likely_stages_as_it_is_printed(book, worklist, lowest, highest, coverage, shown):
    case, found = a_case(), StageSet(lowest, highest, coverage)
    book.record([case])
    book.save_staging(case.case_id, a_staging(flags=(), stage_set=found))
    book.advance(case.case_id, CaseState.STAGED)

    [row] = worklist()

    assert row["stage_set"] == shown == str(found)


def test_shows_the_nomograms_answer_first_where_it_counts(book, worklist):
    case = a_case()
    book.record([case])
    book.save_staging(case.case_id, a_staging(flags=()))
    nomogram = StageProbabilities((0.05, 0.45, 0.45, 0.05))
    book.save_score(case.case_id, attrs.evolve(a_score(), probabilities=nomogram, is_primary=True), Covariates())
    book.advance(case.case_id, CaseState.SCORED)

    [row] = worklist()

    assert (row["answer_by"], row["ct"]) == ("nomogram", "cT2")  # the lower one on a tie
    assert [row[f"p_t{i}"] for i in range(1, 5)] == list(nomogram.values)
    assert (row["supporting_by"], row["supporting_ct"], row["supporting_p_t3"]) == ("network", "cT3", 0.6)


def test_says_that_a_model_has_no_nomogram(book, worklist):
    case = a_case()
    book.record([case])
    book.save_staging(case.case_id, a_staging(flags=(Flag.NO_NOMOGRAM,)))
    book.advance(case.case_id, CaseState.SCORED)

    [row] = worklist()

    assert (row["answer_by"], row["ct"], row["nomogram"]) == ("network", "cT3", "not available for this model")
    assert (row["supporting_by"], row["supporting_ct"], row["supporting_p_t1"]) == (None, None, None)


def test_holds_no_patient(book, worklist):
    bring(book, a_case(patient_id="SECRET"), CaseState.COMMITTED)

    [row] = worklist()

    assert "SECRET" not in str(row)
    assert not [column for column in row if "name" in column or "patient" in column or "birth" in column]


def test_is_not_delivered_before_the_pacs_has_committed(book, worklist):
    bring(book, a_case(), CaseState.STORED)

    [row] = worklist()

    assert (row["state"], row["ct"], row["delivered_at"]) == ("stored", "cT3", None)


def test_says_where_the_pacs_offers_no_commitment(book, worklist):
    case = a_case()
    bring(book, case, CaseState.COMMITTED)
    with book.step(case.case_id, Step.DELIVER) as record:
        record.flag(Flag.NO_STORAGE_COMMITMENT)

    [row] = worklist()

    assert row["flags"] == ["no_storage_commitment"]


def test_shows_a_refusal_with_its_reason_and_no_result(book, worklist):
    case = a_case()
    bring(book, case, CaseState.STAGED)
    book.refuse(case.case_id, Step.STAGE, Refusal(RefusalCode.NON_FINITE_OUTPUT, "not finite"))

    [row] = worklist()

    assert (row["refusal_code"], row["refusal_sentence"]) == ("non_finite_output", "not finite")
    assert (row["ct"], row["p_t1"], row["supporting_p_t1"], row["model_version"]) == (None, None, None, None)


def test_shows_no_result_that_was_written_but_not_reached(book, worklist):
    case = a_case()
    book.record([case])
    book.save_staging(case.case_id, a_staging())
    book.fail(case.case_id, Failure(Step.STAGE, "GpuOutOfMemory: …", True))

    [row] = worklist()

    assert (row["state"], row["ct"]) == ("failed", None)


def test_shows_the_latest_result_of_a_study_once(book, worklist, dsn):
    """Two series of it were staged by a version that did not see to that, and the study was refused later."""
    older, newer, refused = (
        attrs.evolve(a_case(), case_id=case_id(study, series), study_uid=study, series_uid=series, night=night)
        for study, series, night in (
            ("1.2.2", "1.1", date(2026, 3, 1)),
            ("1.2.1", "1.2", date(2026, 3, 2)),
            ("1.2.1", "", date(2026, 3, 3)),
        )
    )
    bring(book, newer, CaseState.COMMITTED, "v2")
    bring(book, older, CaseState.COMMITTED, "v1")
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("update staging_case set study_uid = '1.2.1'")
    connection.close()
    book.record([refused])
    book.refuse(refused.case_id, Step.INTAKE, Refusal(RefusalCode.NO_PORTAL_VENOUS_SERIES, "none"))

    [row] = worklist()

    assert (row["case_id"], row["model_version"], row["ct"]) == (newer.case_id, "v2", "cT3")


def test_the_reader_reads_no_table_and_writes_nothing(book, dsn):
    bring(book, a_case(study_at=datetime(2026, 3, 1)), CaseState.COMMITTED)
    reader = Database(DatabaseConfig(dsn=as_role(dsn, "gtr_reader")))

    for sql in (
        "select * from staging_case",
        "select * from ehr_patient",
        "update worklist_annotation set state = 'found'",
        "insert into night (night) values ('2026-03-01')",
    ):
        with pytest.raises(DatabaseRefused, match=r"42501|55000"), reader.transaction("reader") as tx:
            tx.script(sql)
    reader.close()
