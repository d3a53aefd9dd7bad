"""Cohorts on a real PostgreSQL: who could be in one, and that the seal holds."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import attrs
import psycopg2
import pytest

from gtr_batch.db.cohorts import PostgresCohorts
from gtr_batch.db.registry import PostgresRegistry
from gtr_batch.domain.case import PATH, Case, CaseState
from gtr_batch.domain.clinical import Differentiation, Lauren, Markers
from gtr_batch.domain.cohort import HoldoutLook
from gtr_batch.domain.identifiers import case_id
from gtr_batch.domain.staging import CaseStaging, KeySliceSource, SliceStaging, StageProbabilities, TStage
from gtr_batch.errors import DatabaseRefused
from gtr_batch.training.cohort import build_cohort
from tests.case_moves import Moves
from tests.fixtures_db import as_role
from tests.unit.training.test_build_cohort import SETTINGS, many

VERSION = "a" * 64


@pytest.fixture
def cohorts(database):
    return PostgresCohorts(database)


@pytest.fixture
def frozen(cohorts):
    manifest, holdout = build_cohort(many(), SETTINGS)
    cohorts.freeze(manifest, holdout)
    return manifest, holdout


def as_superuser(dsn: str, statement: str, *values: object) -> list[tuple]:
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def test_finds_an_operated_patient_with_the_staged_series_and_no_patient_id(cohorts, database, dsn):
    book = Moves.on(database)
    case = Case(
        case_id("1.2.3", "1.2.3.4"), date(2026, 2, 1), "1.2.3", "1.2.3.4", "SECRET-7", "A7", datetime(2026, 2, 1)
    )
    book.open_night(case.night, VERSION)
    book.record([case])
    for state in PATH[1 : PATH.index(CaseState.STAGED) + 1]:
        book.advance(case.case_id, state)
    p = StageProbabilities((0.1, 0.2, 0.6, 0.1))
    slices = tuple(SliceStaging(f"1.2.3.4.{k}", role, TStage.T3, p) for k, role in enumerate(("below", "key", "above")))
    book.save_staging(case.case_id, CaseStaging(TStage.T3, p, slices, KeySliceSource.EHR, VERSION, ()))
    book.save_facts(case.case_id, {"manufacturer": "Philips", "model": "iCT 256"})
    for statement in (
        "insert into ehr_patient values ('SECRET-7', 'female', '1960-01-01')",
        "insert into ehr_surgery values ('SECRET-7', '2026-02-20', '2026-03-01', 'pT', 'T3')",
        "insert into ehr_biopsy values ('SECRET-7', '2026-01-10', 'stomach', true, 'diffuse', 'poor')",
        "insert into ehr_tumour values ('SECRET-7', '2026-01-15', 6.5, 'lower')",
        "insert into ehr_tumour values ('SECRET-7', '2026-02-15', 9.5, 'lower')",
        "insert into ehr_marker values ('SECRET-7', '2026-01-11', 3, null, null, null, null, 5)",
        "insert into ehr_marker (patient_id, sampled_on, cea_ng_ml) values ('SECRET-7', '2026-01-30', 4.5)",
        "insert into ehr_marker (patient_id, sampled_on, cea_ng_ml) values ('SECRET-7', '2026-02-10', 99)",
    ):
        as_superuser(dsn, statement)

    (found,) = cohorts.candidates()

    assert (found.case_id, found.series_uid, found.slices) == (
        case.case_id,
        "1.2.3.4",
        tuple(s.sop_instance_uid for s in slices),
    )
    assert (found.classification, found.t_category, found.scanner) == ("pT", "T3", "Philips iCT 256")
    assert found.covariates.tumour_size_cm == 6.5  # as of the study date, not the later one
    assert (found.covariates.lauren, found.covariates.differentiation) == (Lauren.DIFFUSE, Differentiation.POOR)
    assert found.markers == Markers(cea_ng_ml=4.5, pd_l1_percent=5)  # each the last known by the day of the CT
    assert (found.key_slice_source, found.treated_before_surgery) == (KeySliceSource.EHR, False)
    assert "SECRET" not in repr(found)
    assert len(found.subject) == 32


def test_a_patient_who_was_treated_between_ct_and_operation_is_told_apart(cohorts, dsn):
    as_superuser(dsn, "insert into ehr_patient values ('P', 'male', '1960-01-01')")
    as_superuser(dsn, "insert into ehr_surgery values ('P', '2026-02-20')")

    (found,) = cohorts.candidates()

    assert (found.case_id, found.reported_on, found.slices) == ("", None, ())


def test_a_cohort_comes_back_as_it_was_frozen(cohorts, frozen):
    manifest, _ = frozen

    assert cohorts.cohort(manifest.digest) == manifest


def test_freezing_the_same_cohort_again_changes_nothing(cohorts, frozen):
    cohorts.freeze(*frozen)

    assert cohorts.cohort(frozen[0].digest) == frozen[0]
    assert cohorts.sealed_subjects() == {m.subject for m in frozen[1]}
    assert cohorts.trained_subjects() == {m.subject for m in frozen[0].members}


@pytest.mark.parametrize(
    "statement",
    [
        "select * from holdout_member",
        "update holdout_member set member = '{}'",
        "delete from holdout_member",
        "delete from holdout_subject",
        "insert into holdout_opening (digest, model_version, opened_by, why) values ('a', 'b', 'c', 'd')",
        "update training_cohort set manifest = '{}'",
        "delete from training_cohort",
        "select key from subject_key",
    ],
)
def test_the_service_cannot_get_round_the_seal(dsn, frozen, statement):
    as_app = psycopg2.connect(as_role(dsn, "gtr_app"))

    with pytest.raises(psycopg2.errors.InsufficientPrivilege), as_app, as_app.cursor() as cursor:
        cursor.execute(statement)


def test_the_reader_can_open_nothing(dsn, frozen):
    as_reader = psycopg2.connect(as_role(dsn, "gtr_reader"))

    with pytest.raises(psycopg2.errors.InsufficientPrivilege), as_reader, as_reader.cursor() as cursor:
        cursor.execute("select open_holdout(%s, %s, 'me', 'why not')", (frozen[0].digest, VERSION))


def test_cannot_open_the_holdout_for_a_model_that_is_not_registered(cohorts, frozen, database):
    with pytest.raises(DatabaseRefused):
        cohorts.open_holdout(frozen[0].digest, VERSION, "tester", "to look")

    assert list(PostgresRegistry(database).openings(frozen[0].digest)) == []


def test_opening_the_holdout_for_a_registered_model_leaves_a_row(cohorts, frozen, database):
    manifest, holdout = frozen
    registry = PostgresRegistry(database)
    registry.register(VERSION, {"name": "m"}, Path("m"), by="tester", why="a test")

    members = cohorts.open_holdout(manifest.digest, VERSION, "tester", "evaluation")

    assert sorted(members, key=lambda m: m.subject) == sorted(holdout, key=lambda m: m.subject)
    (row,) = registry.openings(manifest.digest)
    assert (row.model_version, row.opened_by, row.why) == (VERSION, "tester", "evaluation")


def test_looks_at_a_holdout_are_also_those_at_another_that_shares_a_patient(cohorts, frozen, database):
    """The cohort grows, its digest is new, and the sealed patients are mostly the same ones."""
    manifest, holdout = frozen
    grown, more = build_cohort(
        many(), attrs.evolve(SETTINGS, days_before_surgery=121), sealed={m.subject for m in holdout}
    )
    other, none_of_them = build_cohort(many(), attrs.evolve(SETTINGS, days_before_surgery=122))
    none_of_them = [attrs.evolve(m, subject=f"other-{m.subject}") for m in none_of_them]
    for each in ((grown, more), (other, none_of_them)):
        cohorts.freeze(*each)
    registry = PostgresRegistry(database)
    for name in "ab":
        registry.register(name * 64, {"name": name}, Path(name), by="tester", why="a test")
    opened = [(manifest, "a"), (manifest, "b"), (manifest, "a"), (other, "a"), (grown, "b")]
    for cohort, name in opened:
        cohorts.open_holdout(cohort.digest, name * 64, "tester", "a look")

    looks = registry.looks(grown.digest)

    assert looks == [
        HoldoutLook(manifest.digest, "a" * 64),
        HoldoutLook(manifest.digest, "b" * 64),
        HoldoutLook(grown.digest, "b" * 64),
    ]
    assert registry.looks(other.digest) == [HoldoutLook(other.digest, "a" * 64)]


def test_who_is_sealed_is_not_learnt_by_counting_looks(dsn, frozen):
    as_app = psycopg2.connect(as_role(dsn, "gtr_app"))

    with pytest.raises(psycopg2.errors.InsufficientPrivilege), as_app, as_app.cursor() as cursor:
        cursor.execute("select * from holdout_looks(%s)", (frozen[0].digest,))


def test_a_model_is_registered_once_and_its_history_says_by_whom(database):
    registry = PostgresRegistry(database)

    registry.register(VERSION, {"name": "m"}, Path("m"), by="tester", why="a test")
    registry.register(VERSION, {"name": "m"}, Path("elsewhere"), by="another", why="again")

    assert registry.state(VERSION) == "candidate"
    assert registry.champion() is None
    (event,) = registry.history(VERSION)
    assert (event.to_state, event.by_whom, event.why) == ("candidate", "tester", "a test")
    assert [m.version for m in registry.all()] == [VERSION]
