"""A reader confirms or moves an automatic key slice; only then is the case learnt from. Over a real PostgreSQL."""

from __future__ import annotations

import threading
from datetime import date, datetime
from types import SimpleNamespace

import attrs
import psycopg2
import pytest

from gtr_batch.config import DatabaseConfig
from gtr_batch.db.access import PostgresAccessTrail
from gtr_batch.db.cohorts import PostgresCohorts
from gtr_batch.db.confirmations import PostgresSliceConfirmations
from gtr_batch.db.connection import Database
from gtr_batch.db.words import PostgresReaderWords
from gtr_batch.domain.case import PATH, Case, CaseState
from gtr_batch.domain.identifiers import case_id
from gtr_batch.domain.prepared import ROLES
from gtr_batch.domain.reader_word import NewWord, Reader, WordKind
from gtr_batch.domain.series import InstanceRecord
from gtr_batch.domain.slice_confirmation import SliceConfirmation, with_neighbours
from gtr_batch.domain.staging import CaseStaging, KeySliceSource, SliceStaging, StageProbabilities, TStage
from gtr_batch.errors import DatabaseRefused, InputRefused
from gtr_batch.governance.confirm_slice import confirm_slice
from gtr_batch.training.cohort import build_cohort
from tests.adapters.db.test_cohorts import as_superuser
from tests.case_moves import Moves
from tests.fixtures_db import as_role
from tests.unit.training.test_build_cohort import SETTINGS

VERSION = "a" * 64
WHO = {"by": "Dr Ada", "why": "read on the workstation"}
SERIES = [f"1.2.3.4.{k}" for k in range(12)]  # from feet to head; Instance Number 12 to 1
P = StageProbabilities((0.1, 0.2, 0.6, 0.1))


class Archive:
    """The series as the PACS lists it, numbered from head to feet, in no order."""

    def __init__(self) -> None:
        self.listed = [InstanceRecord(uid, instance_number=12 - k) for k, uid in enumerate(SERIES)][::-1]

    def find_instances(self, study_uid: str, series_uid: str) -> list[InstanceRecord]:
        return self.listed


def staging(source: KeySliceSource = KeySliceSource.AUTOMATIC, at: int = 5) -> CaseStaging:
    slices = tuple(SliceStaging(SERIES[at - 1 + k], role, TStage.T3, P) for k, role in enumerate(ROLES))
    return CaseStaging(TStage.T3, P, slices, source, VERSION, ())


@pytest.fixture
def book(database):
    return Moves.on(database)


@pytest.fixture
def gov(database, book):
    return SimpleNamespace(
        confirmations=PostgresSliceConfirmations(database), night=SimpleNamespace(cases=book.cases, archive=Archive())
    )


@pytest.fixture
def case(book, dsn) -> str:
    """An operated patient's case with an automatic key slice."""
    one = Case(
        case_id("1.2.3", "1.2.3.4"), date(2026, 2, 1), "1.2.3", "1.2.3.4", "SECRET-7", "A7", datetime(2026, 2, 1)
    )
    book.open_night(one.night, VERSION)
    book.record([one])
    for state in PATH[1 : PATH.index(CaseState.STAGED) + 1]:
        book.advance(one.case_id, state)
    book.save_staging(one.case_id, staging())
    as_superuser(dsn, "insert into ehr_patient values ('SECRET-7', 'female', '1960-01-01')")
    as_superuser(dsn, "insert into ehr_surgery values ('SECRET-7', '2026-02-20', '2026-03-01', 'pT', 'T3')")
    return one.case_id


def cohort(database):
    """Who is in, and why the others are not."""
    settings = attrs.evolve(SETTINGS, holdout_share=0.0, validation_share=0.0)
    manifest, sealed = build_cohort(PostgresCohorts(database).candidates(), settings)
    return [*manifest.members, *sealed], [e.code for e in manifest.exclusions]


def test_an_automatic_case_enters_the_cohort_once_a_reader_confirmed_its_slice(database, gov, case):
    before = cohort(database)

    confirm_slice(gov, case, **WHO)

    assert before == ([], ["key_slice_not_marked"])
    ((member,), left_out) = cohort(database)
    assert left_out == []
    assert member.slices == tuple(SERIES[4:7])
    assert member.key_slice_source is KeySliceSource.READER


@pytest.mark.parametrize(
    ("named", "slices"),
    [
        ({"number": 9}, (2, 3, 4)),
        ({"instance": SERIES[8]}, (7, 8, 9)),
        ({"instance": SERIES[5]}, (4, 5, 6)),
        ({"number": 12}, (1, 0, 1)),
        ({"number": 1}, (10, 11, 10)),
    ],
    ids=str,
)
def test_a_moved_slice_comes_with_its_own_neighbours_below_and_above(database, gov, case, named, slices):
    confirm_slice(gov, case, **WHO, **named)

    ((member,), _) = cohort(database)
    assert member.slices == tuple(SERIES[k] for k in slices)


def test_the_newest_word_holds_and_the_older_ones_stay(database, gov, case):
    confirm_slice(gov, case, **WHO, number=9)
    confirm_slice(gov, case, by="Dr Bo", why="second read")

    first, second = gov.confirmations.of_case(case)
    assert (first.by_whom, first.moved, second.by_whom, second.moved) == ("Dr Ada", True, "Dr Bo", False)
    assert cohort(database)[0][0].slices == tuple(SERIES[4:7])


def test_a_slice_that_a_person_marked_since_goes_before_a_confirmation(database, gov, book, case):
    confirm_slice(gov, case, **WHO)
    book.save_staging(case, staging(KeySliceSource.EHR, at=8))

    ((member,), _) = cohort(database)
    assert (member.key_slice_source, member.slices) == (KeySliceSource.EHR, tuple(SERIES[7:10]))


def test_it_is_noted_who_confirmed_in_the_same_transaction(database, gov, case):
    confirm_slice(gov, case, **WHO)

    event = PostgresAccessTrail(database).newest(1)[0]
    assert (event.action, event.object_kind, event.object_id) == ("case.confirm_slice", "case", case)
    assert (event.actor, event.outcome) == ("Dr Ada", "success")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"number": 13}, "instance number 13 is not one of the 12"),
        ({"instance": "9.9"}, "not one of the 12"),
        ({"number": 1, "instance": SERIES[1]}, "give one"),
        ({"by": " "}, "by is empty"),
        ({"why": ""}, "why is empty"),
    ],
    ids=str,
)
def test_what_names_no_slice_of_the_series_or_nobody_answers_for_is_refused(gov, case, given, says):
    with pytest.raises(InputRefused, match=says):
        confirm_slice(gov, case, **{**WHO, **given})

    assert gov.confirmations.of_case(case) == []


def test_a_case_that_is_not_there_or_whose_slice_was_marked_is_refused(gov, book, case):
    book.save_staging(case, staging(KeySliceSource.KEY_OBJECT))

    with pytest.raises(InputRefused, match="marked already"):
        confirm_slice(gov, case, **WHO)
    with pytest.raises(InputRefused, match="there is no case"):
        confirm_slice(gov, "1c9e1b0c-0000-4000-8000-000000000000", **WHO)


def test_instances_without_numbers_of_their_own_have_no_neighbours_that_can_be_told(gov, case):
    gov.night.archive.listed = [attrs.evolve(one, instance_number=1) for one in gov.night.archive.listed]

    with pytest.raises(InputRefused, match="one by one"):
        confirm_slice(gov, case, **WHO, instance=SERIES[2])


def test_the_night_cannot_confirm_and_nobody_can_change_a_word(dsn, gov, case):
    confirm_slice(gov, case, **WHO)

    word = SliceConfirmation(case, SERIES[5], tuple(SERIES[4:7]), "Dr Ada", "so")
    of_the_night = Database(DatabaseConfig(dsn=as_role(dsn, "gtr_app")))
    with pytest.raises(DatabaseRefused):
        PostgresSliceConfirmations(of_the_night).confirm(word)
    of_the_night.close()
    for statement in ("update key_slice_confirmation set by_whom = 'x'", "delete from key_slice_confirmation"):
        with pytest.raises(psycopg2.Error, match="append"):
            as_superuser(dsn, statement)


# Said in the console


@pytest.fixture
def words(dsn):
    """Readers' words as the console's login writes them."""
    database = Database(DatabaseConfig(dsn=as_role(dsn, "gtr_console")))
    yield PostgresReaderWords(database)
    database.close()


def moved_to(words, case: str, at: int, reader: str = "rahel") -> int:
    """A word that moves the key slice; its number."""
    slices = with_neighbours(SERIES, at)
    by = Reader(reader, "radiologist")
    return words.say(NewWord(words.result(case), by, WordKind.SLICE_MOVED, slices=slices))


def learnt(database) -> list[tuple[str, ...]]:
    """The slices that a cohort takes."""
    return [member.slices for member in cohort(database)[0]]


def test_the_cohort_takes_what_a_reader_said_in_the_console_until_it_is_taken_back(database, words, case):
    first, second = moved_to(words, case, 3), moved_to(words, case, 0, "otto")

    assert learnt(database) == [(SERIES[1], SERIES[0], SERIES[1])]
    words.withdraw(case, second, Reader("otto", "radiologist"), "")
    assert learnt(database) == [tuple(SERIES[2:5])]
    words.withdraw(case, first, Reader("rahel", "radiologist"), "")
    assert cohort(database) == ([], ["key_slice_not_marked"])


def test_a_word_taken_back_leaves_what_was_confirmed_by_the_command(database, gov, words, case):
    confirm_slice(gov, case, **WHO)
    number = moved_to(words, case, 8)

    words.withdraw(case, number, Reader("rahel", "radiologist"), "")

    assert learnt(database) == [tuple(SERIES[4:7])]


def test_a_reader_who_was_shown_a_mark_moves_it_and_a_later_mark_goes_before(database, book, words, case):
    book.save_staging(case, staging(KeySliceSource.EHR))

    moved_to(words, case, 9)

    assert learnt(database) == [tuple(SERIES[8:11])]
    book.save_staging(case, staging(KeySliceSource.KEY_OBJECT, at=2))
    assert learnt(database) == [tuple(SERIES[1:4])]


def test_two_readers_at_once_lose_no_word_on_a_slice(dsn, database, case):
    def speak(reader: str, places: range) -> None:
        own = Database(DatabaseConfig(dsn=as_role(dsn, "gtr_console")))
        ready.wait()
        for at in places:
            moved_to(PostgresReaderWords(own), case, at, reader)
        own.close()

    ready = threading.Barrier(2)
    threads = [threading.Thread(target=speak, args=one) for one in (("rahel", range(5)), ("otto", range(6, 11)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    kept = PostgresSliceConfirmations(database).of_case(case)
    assert sorted(one.slices[1] for one in kept) == sorted(SERIES[at] for at in (*range(5), *range(6, 11)))
    standing = [word for word in PostgresReaderWords(database).of_case(case) if word.stands]
    assert {word.reader: word.slices[1] for word in standing} == {"rahel": SERIES[4], "otto": SERIES[10]}
    assert learnt(database) == [kept[-1].slices]


@pytest.mark.parametrize(
    ("kind", "at"), [(WordKind.SLICE_CONFIRMED, 4), (WordKind.SLICE_MOVED, 5)], ids=["confirms", "moves"]
)
def test_a_word_that_confirms_names_the_slice_that_was_staged_and_one_that_moves_another(words, case, kind, at):
    slices = with_neighbours(SERIES, at)

    with pytest.raises(DatabaseRefused):
        words.say(NewWord(words.result(case), Reader("rahel", "radiologist"), kind, slices=slices))
    assert words.of_case(case) == []
