"""The contract of `Nights`, `Cases` and `Deliveries`, in memory and over PostgreSQL."""

from __future__ import annotations

import math
import threading
from datetime import date, datetime
from uuid import uuid4

import attrs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gtr_batch.config import DatabaseConfig
from gtr_batch.db import Database
from gtr_batch.domain.case import PATH, Case, CaseState, Failure, Selected, Step
from gtr_batch.domain.clinical import Covariates, Differentiation, Lauren
from gtr_batch.domain.delivery import Commitment, ObjectKind, ReportObject, StoreReceipt
from gtr_batch.domain.identifiers import case_id
from gtr_batch.domain.identity import PatientIdentity
from gtr_batch.domain.refusal import Refusal, RefusalCode
from gtr_batch.domain.score import NomogramScore
from gtr_batch.domain.staging import (
    CaseStaging,
    Flag,
    KeySliceSource,
    SliceStaging,
    StageProbabilities,
    StageSet,
    TStage,
)
from gtr_batch.domain.transitions import Reopening
from gtr_batch.errors import CaseTakenOver, DatabaseBusy
from tests.builders import not_staged
from tests.case_moves import Moves

NIGHT = date(2026, 3, 1)
REFUSAL = Refusal(RefusalCode.SLICE_GAP, "3 slices are missing", {"missing": 3, "spacing_mm": 2.5})
FAILURE = Failure(Step.RETRIEVE, "PacsUnreachable: no answer", True)
P = StageProbabilities((0.1, 0.2, 0.6, 0.1))


@pytest.fixture(params=["memory", "postgres"])
def book(request):
    """Every test of the contract runs over both."""
    return Moves.in_memory() if request.param == "memory" else Moves.on(request.getfixturevalue("database"))


def a_case(number: int = 1, **changes) -> Case:
    study, series = f"1.2.{number}", f"1.2.{number}.1"
    case = Case(
        case_id=case_id(study, series),
        night=NIGHT,
        study_uid=study,
        series_uid=series,
        patient_id=f"P{number}",
        accession_number=f"ACC{number}",
        study_at=datetime(2026, 3, 1, 20, number % 60),
    )
    return attrs.evolve(case, **changes)


def a_staging(
    version: str = "v1", flags: tuple[Flag, ...] = (Flag.TIE,), stage_set: StageSet | None = None
) -> CaseStaging:
    slices = tuple(SliceStaging(f"1.2.3.{i}", role, TStage.T3, P) for i, role in enumerate(("below", "key", "above")))
    return CaseStaging(TStage.T3, P, slices, KeySliceSource.EHR, version, flags, stage_set)


def a_score(points: float = 120.5) -> NomogramScore:
    return NomogramScore(
        rad_score=0.25,
        linear_predictor=1.5,
        points={"rad_score": 54.2, "total": points},
        probabilities=P,
        low=(0.05, 0.1, 0.4, 0.05),
        high=(0.2, 0.3, 0.7, 0.2),
        missing=("lauren",),
        coefficients="champion",
        rad_score_clipped=True,
    )


def an_object(kind: ObjectKind, uid: str) -> ReportObject:
    return ReportObject(kind, "1.2.840.10008.5.1.4.1.1.88.34", uid, "2.25.9", f"{kind}.dcm", "digest")


def states(book, case: Case) -> list[CaseState]:
    return [event["state"] for event in book.events(case.case_id)]


# Two workers on one night


def test_what_a_slower_worker_found_of_a_case_that_has_gone_on_is_not_written(book):
    """Its answer differs in the last digits (the batch was another): the report of the first is on its way already."""
    case = a_case()
    book.record([case])
    for state in PATH[1 : PATH.index(CaseState.STAGED)]:
        book.advance(case.case_id, state)
    seen = book.get(case.case_id)
    book.save_staging(case.case_id, a_staging())
    book.advance(case.case_id, CaseState.STAGED)
    book.advance(case.case_id, CaseState.SCORED)
    before = book.staging(case.case_id), states(book, case)

    with pytest.raises(CaseTakenOver, match="reached scored meanwhile, from preprocessed"):  # noqa: SIM117
        with book.step(case.case_id, Step.STAGE) as record:
            record.seen = seen
            record.stages(a_staging(flags=(Flag.TIE, Flag.PHASE_UNCLEAR)), np.zeros(4), np.zeros((3, 4)))
            record.advance(CaseState.STAGED)

    assert (book.staging(case.case_id), states(book, case)) == before


# Recording


def test_a_recorded_case_comes_back_as_it_was(book):
    case = a_case(expected_sop_uids=("1.2.3", "1.2.4"))

    assert book.record([case]) == [case.case_id]
    assert book.get(case.case_id) == case


def test_recording_again_changes_nothing(book):
    case = a_case()
    book.record([case])
    book.advance(case.case_id, CaseState.RETRIEVED)

    again = book.record([attrs.evolve(case, night=date(2026, 3, 2)), a_case(2)])

    assert again == [a_case(2).case_id]
    assert book.get(case.case_id) == attrs.evolve(case, state=CaseState.RETRIEVED, reached=CaseState.RETRIEVED)
    assert states(book, case) == [CaseState.FOUND, CaseState.RETRIEVED]


def test_a_study_refused_before_a_series_was_chosen_is_recorded_as_refused(book):
    case = a_case(series_uid="", study_at=None, state=CaseState.REFUSED, refusal=REFUSAL)

    book.record([case])

    assert book.get(case.case_id) == case
    assert states(book, case) == [CaseState.FOUND, CaseState.REFUSED]


def test_a_case_with_a_history_is_recorded_with_it(book):
    case = a_case(state=CaseState.FAILED, reached=CaseState.STAGED, failure=FAILURE)

    book.record([case])

    assert book.get(case.case_id) == case
    assert states(book, case) == [CaseState.FOUND, CaseState.STAGED, CaseState.FAILED]


def test_there_is_no_case_that_nobody_recorded(book):
    for ask in (book.get, lambda c: book.select([c]), lambda c: book.advance(c, CaseState.RETRIEVED)):
        with pytest.raises(KeyError):
            ask(str(uuid4()))
    for ask in (
        lambda c: book.refuse(c, Step.VALIDATE, REFUSAL),
        lambda c: book.fail(c, FAILURE),
        lambda c: book.expect(c, ["1.2"]),
        lambda c: book.save_staging(c, a_staging()),
        lambda c: book.save_objects(c, []),
    ):
        with pytest.raises(KeyError):
            ask(str(uuid4()))
    assert book.staging(str(uuid4())) is None
    assert book.events(str(uuid4())) == []


def test_cases_of_a_night_come_in_the_order_of_their_studies(book):
    cases = [a_case(3), a_case(1), a_case(2, study_at=None), a_case(4, night=date(2026, 3, 2))]

    book.record(cases)

    assert [c.study_uid for c in book.of_night(NIGHT)] == ["1.2.1", "1.2.3", "1.2.2"]


def test_selected_cases_come_in_the_order_asked_for(book):
    cases = [a_case(n) for n in (1, 2, 3)]
    book.record(cases)
    asked = [cases[2].case_id, cases[0].case_id]

    assert [c.case_id for c in book.select(asked)] == asked
    assert book.select([]) == []


def test_expected_instances_replace_those_before(book):
    case = a_case(expected_sop_uids=("1.2.3",))
    book.record([case])

    book.expect(case.case_id, ["1.2.4", "1.2.5"])

    assert book.get(case.case_id).expected_sop_uids == ("1.2.4", "1.2.5")


# States


def test_a_case_goes_forward_and_never_back(book):
    case = a_case()
    book.record([case])

    for to in (CaseState.RETRIEVED, CaseState.VALIDATED, CaseState.RETRIEVED, CaseState.VALIDATED):
        book.advance(case.case_id, to, {"slices": 87})

    assert book.get(case.case_id).state is CaseState.VALIDATED
    assert states(book, case) == [CaseState.FOUND, CaseState.RETRIEVED, CaseState.VALIDATED]


def test_a_case_cannot_be_advanced_to_a_state_beside_the_path(book):
    case = a_case()
    book.record([case])

    for beside in (CaseState.REFUSED, CaseState.FAILED):
        with pytest.raises(ValueError, match="path"):
            book.advance(case.case_id, beside)


def test_a_refused_case_stays_refused_for_its_first_reason(book):
    case = a_case()
    book.record([case])
    book.refuse(case.case_id, Step.VALIDATE, REFUSAL)

    book.refuse(case.case_id, Step.STAGE, Refusal(RefusalCode.NON_FINITE_OUTPUT, "not finite"))
    book.advance(case.case_id, CaseState.STAGED)
    book.fail(case.case_id, FAILURE)

    after = book.get(case.case_id)
    assert (after.state, after.refusal, after.failure) == (CaseState.REFUSED, REFUSAL, None)
    assert states(book, case) == [CaseState.FOUND, CaseState.REFUSED]
    assert book.events(case.case_id)[-1]["step"] == Step.VALIDATE
    assert book.events(case.case_id)[-1]["detail"]["numbers"] == {"missing": 3, "spacing_mm": 2.5}


def test_a_failed_case_keeps_what_it_reached_and_goes_on_from_there(book):
    case = a_case()
    book.record([case])
    book.advance(case.case_id, CaseState.VALIDATED)
    book.fail(case.case_id, FAILURE)

    failed = book.get(case.case_id)
    book.advance(case.case_id, CaseState.VALIDATED)
    still = book.get(case.case_id)
    book.advance(case.case_id, CaseState.PREPROCESSED)
    after = book.get(case.case_id)

    assert (failed.state, failed.reached, failed.failure) == (CaseState.FAILED, CaseState.VALIDATED, FAILURE)
    assert still == failed
    assert (after.state, after.reached, after.failure) == (CaseState.PREPROCESSED, CaseState.PREPROCESSED, None)


def test_a_case_whose_files_are_gone_goes_back_to_the_step_that_makes_them(book):
    """Backward only so far, only by failing, with an event that says it; never forward, and never from an end."""
    case = a_case()
    book.record([case])
    book.advance(case.case_id, CaseState.SCORED)

    book.fail(case.case_id, Failure(Step.REPORT, "InputLost: heat.npz", True, CaseState.PREPROCESSED))
    back = book.get(case.case_id)
    event = book.events(case.case_id)[-1]
    book.fail(case.case_id, Failure(Step.STAGE, "InputLost: heat.npz", True, CaseState.REPORTED))
    not_forward = book.get(case.case_id)
    book.advance(case.case_id, CaseState.COMMITTED)
    book.fail(case.case_id, Failure(Step.DELIVER, "InputLost: x", True, CaseState.FOUND))

    assert (back.state, back.reached) == (CaseState.FAILED, CaseState.PREPROCESSED)
    assert back.ready_for(Step.STAGE) and not back.ready_for(Step.REPORT)
    assert event["detail"]["back_to"] == "preprocessed"
    assert not_forward.reached is CaseState.PREPROCESSED
    assert book.get(case.case_id).state is CaseState.COMMITTED


def test_every_failed_attempt_is_an_event(book):
    case = a_case()
    book.record([case])

    book.fail(case.case_id, FAILURE)
    book.fail(case.case_id, FAILURE)

    assert states(book, case) == [CaseState.FOUND, CaseState.FAILED, CaseState.FAILED]
    assert [e["step"] for e in book.events(case.case_id)[1:]] == [Step.RETRIEVE, Step.RETRIEVE]


def test_a_failed_case_can_be_refused(book):
    case = a_case()
    book.record([case])
    book.fail(case.case_id, FAILURE)

    book.refuse(case.case_id, Step.RETRIEVE, REFUSAL)

    after = book.get(case.case_id)
    assert (after.state, after.refusal, after.failure) == (CaseState.REFUSED, REFUSAL, None)


def test_a_committed_case_is_done(book):
    case = a_case()
    book.record([case])
    book.advance(case.case_id, CaseState.COMMITTED)
    done = book.get(case.case_id)

    book.fail(case.case_id, FAILURE)
    book.refuse(case.case_id, Step.INTAKE, REFUSAL)

    assert book.get(case.case_id) == done


def test_events_tell_when_where_and_what(book):
    case = a_case()
    book.record([case])
    book.advance(case.case_id, CaseState.RETRIEVED, {"slices": 87})

    found, retrieved = book.events(case.case_id)

    assert (retrieved["step"], retrieved["state"], retrieved["detail"]) == (
        Step.RETRIEVE,
        CaseState.RETRIEVED,
        {"slices": 87},
    )
    assert found["at"] <= retrieved["at"]
    assert found["at"].tzinfo is not None


# Results


def test_staging_comes_back_as_it_was_saved(book):
    case = a_case()
    book.record([case])
    assert book.staging(case.case_id) is None

    book.save_staging(case.case_id, a_staging())
    book.save_staging(case.case_id, a_staging(flags=(Flag.AUTOMATIC_KEY_SLICE, Flag.MISSING_COVARIATES)))

    assert book.staging(case.case_id) == a_staging(flags=(Flag.AUTOMATIC_KEY_SLICE, Flag.MISSING_COVARIATES))
    book.save_staging(case.case_id, a_staging(stage_set=StageSet(TStage.T2, TStage.T3, 0.9)))
    assert book.staging(case.case_id).stage_set == StageSet(TStage.T2, TStage.T3, 0.9)


def test_a_case_without_a_stage_comes_back_with_its_reason_and_hides_a_score_of_before(book):
    case = a_case()
    book.record([case])
    book.save_staging(case.case_id, a_staging())
    book.save_score(case.case_id, a_score(), Covariates(6.2, Differentiation.POOR, Lauren.DIFFUSE))

    book.save_staging(case.case_id, not_staged(a_staging()))  # the same model, at another level

    assert book.staging(case.case_id) == not_staged(a_staging())
    assert book.score(case.case_id) is None
    book.save_staging(case.case_id, a_staging())
    assert book.staging(case.case_id) == a_staging()


def test_a_case_carries_the_staging_that_was_saved_last(book):
    case = a_case()
    book.record([case])

    for version in ("v1", "v2", "v1"):
        book.save_staging(case.case_id, a_staging(version))

    assert book.staging(case.case_id).model_version == "v1"


def test_a_score_belongs_to_the_staging_that_it_was_computed_from(book):
    case = a_case()
    book.record([case])
    book.save_staging(case.case_id, a_staging("v1"))
    book.save_score(case.case_id, a_score(), Covariates(6.2, Differentiation.POOR, Lauren.DIFFUSE))

    before = book.score(case.case_id)
    book.save_score(case.case_id, attrs.evolve(a_score(), is_primary=True), Covariates())
    assert book.score(case.case_id).is_primary
    book.save_staging(case.case_id, a_staging("v2"))

    assert before == a_score()
    assert book.score(case.case_id) is None


def test_saving_a_score_again_replaces_it(book):
    case = a_case()
    book.record([case])
    book.save_staging(case.case_id, a_staging())

    book.save_score(case.case_id, a_score(1.0), Covariates())
    book.save_score(case.case_id, a_score(2.0), Covariates())

    assert book.score(case.case_id).points["total"] == 2.0


def test_cannot_score_what_is_not_staged(book):
    case = a_case()
    book.record([case])

    with pytest.raises(ValueError, match="no staging"):
        book.save_score(case.case_id, a_score(), Covariates())


def test_a_series_was_staged_before_when_this_model_got_it_that_far(book):
    staged, other_model, saved_only, refused = (a_case(n) for n in (1, 2, 3, 4))
    book.record([staged, other_model, saved_only, refused])
    for case, version in ((staged, "v1"), (other_model, "v0"), (saved_only, "v1"), (refused, "v1")):
        book.save_staging(case.case_id, a_staging(version))
    for case in (staged, other_model, refused):
        book.advance(case.case_id, CaseState.STAGED)
    book.refuse(refused.case_id, Step.STAGE, REFUSAL)
    book.fail(staged.case_id, FAILURE)
    series = [c.series_uid for c in (staged, other_model, saved_only, refused)]

    assert book.staged_before(series, "v1") == {staged.series_uid}
    assert book.staged_before(series, "v0") == {other_model.series_uid}
    assert book.staged_before([], "v1") == frozenset()


# Delivery


def test_the_newest_object_of_each_kind_counts(book):
    case = a_case()
    book.record([case])
    first = [an_object(ObjectKind.KEY_OBJECTS, "2.25.1"), an_object(ObjectKind.STRUCTURED_REPORT, "2.25.2")]
    changed = an_object(ObjectKind.STRUCTURED_REPORT, "2.25.3")

    book.save_objects(case.case_id, first)
    book.save_objects(case.case_id, [changed])
    newest = book.objects(case.case_id)
    book.save_objects(case.case_id, first)

    assert newest == [changed, first[0]]
    assert book.objects(case.case_id) == [first[1], first[0]]


def test_what_the_pacs_took_once_stays_taken(book):
    case = a_case()
    book.record([case])

    book.save_receipts(case.case_id, [StoreReceipt("2.25.1", 0x0000), StoreReceipt("2.25.2", 0xA700)])
    book.save_receipts(case.case_id, [StoreReceipt("2.25.1", 0xA700), StoreReceipt("2.25.3", 0xB007, "elements lost")])
    book.save_receipts(case.case_id, [StoreReceipt("2.25.4", 0xC000)])

    assert book.stored(case.case_id) == {"2.25.1", "2.25.3"}


def test_a_commitment_can_be_noted_again(book):
    case = a_case()
    book.record([case])

    book.save_commitment(case.case_id, Commitment(True, frozenset(), (("2.25.1", 0x0112),), "2.25.7"), frozenset())
    book.save_commitment(case.case_id, Commitment(True, frozenset({"2.25.1"}), (), "2.25.7"), frozenset())
    book.save_commitment(case.case_id, Commitment(False), frozenset({"2.25.1"}))

    assert book.deliveries.commitments(case.case_id) == [
        (Commitment(True, frozenset({"2.25.1"}), (), "2.25.7"), frozenset()),
        (Commitment(False), frozenset({"2.25.1"})),
    ]


# The night


def test_a_night_can_begin_again_and_keeps_its_summary_until_it_is_closed_again(book):
    assert book.last_night() is None
    assert book.night_summary(NIGHT) is None

    book.open_night(NIGHT, "v1")
    book.open_night(date(2026, 2, 1), "v1")
    book.close_night(NIGHT, {"cases": 3})
    book.open_night(NIGHT, "v2")
    kept = book.night_summary(NIGHT)
    book.close_night(NIGHT, {"cases": 4, "states": {"committed": 4}})

    assert book.last_night() == NIGHT
    assert kept == {"cases": 3}
    assert book.night_summary(NIGHT) == {"cases": 4, "states": {"committed": 4}}


# Any order of calls

calls = st.lists(
    st.one_of(
        st.sampled_from(PATH).map(lambda to: ("advance", to)),
        st.sampled_from([RefusalCode.SLICE_GAP, RefusalCode.NO_KEY_SLICE]).map(lambda code: ("refuse", code)),
        st.booleans().map(lambda retryable: ("fail", retryable)),
    ),
    max_size=12,
)


def play(book, case: Case, call: tuple) -> None:
    what, value = call
    {
        "advance": lambda: book.advance(case.case_id, value),
        "refuse": lambda: book.refuse(case.case_id, Step.VALIDATE, Refusal(value, "because")),
        "fail": lambda: book.fail(case.case_id, Failure(Step.STAGE, "GpuOutOfMemory: …", value)),
    }[what]()


def replay(events) -> tuple:
    """State, reached, refusal code and failure as the events alone tell them."""
    state = reached = CaseState.FOUND
    refusal = failure = None
    for event in events:
        state = event["state"]
        reached = state if state in PATH else reached
        refusal = event["detail"]["code"] if state is CaseState.REFUSED else None
        failure = event["detail"]["error"] if state is CaseState.FAILED else None
    return state, reached, refusal, failure


def valid(case: Case, events) -> None:
    seen = [e["state"] for e in events]
    on_path = [PATH.index(s) for s in seen if s in PATH]
    assert on_path == sorted(set(on_path)), "never backward, no state twice"
    ends = [i for i, s in enumerate(seen) if s in (CaseState.REFUSED, CaseState.COMMITTED)]
    assert ends in ([], [len(seen) - 1]), "nothing follows an end"
    told = (case.state, case.reached, case.refusal and str(case.refusal.code), case.failure and case.failure.error)
    assert replay(events) == told


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=calls)
def test_any_order_of_calls_leaves_a_lawful_case_whose_events_replay_to_it(book, calls):
    case = a_case()
    case = attrs.evolve(case, case_id=str(uuid4()))
    book.record([case])

    for call in calls:
        before, events = book.get(case.case_id), book.events(case.case_id)
        play(book, case, call)
        changed = book.get(case.case_id) != before
        assert not changed or len(book.events(case.case_id)) == len(events) + 1

    valid(book.get(case.case_id), book.events(case.case_id))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(left=calls, right=calls)
def test_two_sessions_at_once_leave_a_lawful_case(dsn, left, right):
    case = attrs.evolve(a_case(), case_id=str(uuid4()))
    databases = [Database(DatabaseConfig(dsn=dsn)) for _ in range(2)]
    books = [Moves.on(d) for d in databases]
    books[0].record([case])
    start = threading.Barrier(2)
    errors = []

    def run(book, calls) -> None:
        try:
            start.wait(timeout=30)
            for call in calls:
                play(book, case, call)
        except Exception as err:  # noqa: BLE001 - a thread's error must reach the test
            errors.append(err)
        finally:
            book.cases._database.close()

    threads = [threading.Thread(target=run, args=pair) for pair in zip(books, (left, right), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after, events = books[0].get(case.case_id), books[0].events(case.case_id)
    databases[0].close()

    assert errors == []
    valid(after, events)


def test_two_sessions_that_advance_one_case_leave_one_event(dsn):
    case = a_case()
    books = [Moves.on(Database(DatabaseConfig(dsn=dsn))) for _ in range(4)]
    books[0].record([case])
    start = threading.Barrier(len(books))

    def run(book) -> None:
        start.wait(timeout=30)
        book.advance(case.case_id, CaseState.RETRIEVED)

    threads = [threading.Thread(target=run, args=(book,)) for book in books]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert states(books[0], case) == [CaseState.FOUND, CaseState.RETRIEVED]


def test_two_sessions_that_record_the_same_cases_do_not_deadlock(dsn):
    cases = [a_case(n) for n in range(1, 40)]
    books = [Moves.on(Database(DatabaseConfig(dsn=dsn))) for _ in range(2)]
    start = threading.Barrier(2)
    new: list[list[str]] = []

    def run(book, mine) -> None:
        start.wait(timeout=30)
        new.append(book.record(mine))

    threads = [
        threading.Thread(target=run, args=(books[0], cases)),
        threading.Thread(target=run, args=(books[1], cases[::-1])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(new[0] + new[1]) == sorted(c.case_id for c in cases)


# What DICOM and numpy bring along


def test_odd_characters_and_numbers_do_not_stop_a_case(database):
    book = Moves.on(database)
    case = a_case(patient_id="P\x00", accession_number="A\udcff")
    book.record([case])

    detail = {
        "mean": np.float32(1.5),
        "nan": math.nan,
        "n": np.int64(3),
        "a": np.arange(2),
        "s": {"b", "a"},
        "t": "\x00",
    }
    book.advance(case.case_id, CaseState.RETRIEVED, detail)
    book.fail(case.case_id, Failure(Step.VALIDATE, "broken \x00 header", False))

    stored = book.events(case.case_id)[1]["detail"]
    assert stored == {"mean": 1.5, "nan": "nan", "n": 3, "a": [0, 1], "s": ["a", "b"], "t": "\ufffd"}
    assert book.get(case.case_id).patient_id == "P\ufffd"


def test_numpy_numbers_are_saved_as_they_are(database):
    book = Moves.on(database)
    case = a_case()
    book.record([case])
    book.save_staging(case.case_id, a_staging())
    score = attrs.evolve(a_score(), rad_score=np.float64(0.25), linear_predictor=np.float32(1.5))

    book.save_score(case.case_id, score, Covariates(np.float64(6.2)))

    assert book.score(case.case_id) == a_score()


def test_what_a_session_was_doing_when_it_was_killed_leaves_no_trace(dsn, database):
    book = Moves.on(database)
    case = a_case()
    book.record([case])
    cut = Database(DatabaseConfig(dsn=dsn))

    with pytest.raises(DatabaseBusy), cut.transaction("cut") as tx:
        tx.script("update staging_case set state = 'retrieved', reached = 'retrieved'")
        cut._local.connection.close()  # as when its process dies: the server rolls back

    assert book.get(case.case_id).state is CaseState.FOUND
    book.advance(case.case_id, CaseState.RETRIEVED)
    assert states(book, case) == [CaseState.FOUND, CaseState.RETRIEVED]


def test_keeps_the_facts_of_a_series_and_replaces_them(book):
    case = a_case()
    book.record([case])

    book.save_facts(case.case_id, {"kvp": 120.0, "kernel": "FC08"})
    book.save_facts(case.case_id, {"kvp": 100.0, "kernel": "FC08"})

    assert book.facts(case.case_id) == {"kvp": 100.0, "kernel": "FC08"}


def test_keeps_the_features_and_logits_of_each_model_version(book):
    case = a_case()
    book.record([case])
    staged = a_staging()
    book.save_staging(case.case_id, staged)
    features, logits = np.arange(8, dtype=np.float32) / 7, np.arange(12, dtype=np.float32).reshape(3, 4) / 11

    book.save_features(case.case_id, staged.model_version, features, logits)

    found = book.features(case.case_id, staged.model_version)
    np.testing.assert_array_equal(found[0], features)
    np.testing.assert_array_equal(found[1], logits)
    assert book.features(case.case_id, "another") is None


# One record a step


def test_a_step_writes_results_state_and_event_together(book):
    case = a_case()
    book.record([case])
    features, logits = np.arange(8, dtype=np.float32), np.zeros((3, 4), np.float32)

    with book.step(case.case_id, Step.STAGE) as record:
        record.stages(a_staging(), features, logits)
        record.advance(CaseState.STAGED, {"t_stage": "T3"})
        assert book.staging(case.case_id) is None
        assert book.get(case.case_id).state is CaseState.FOUND

    assert book.staging(case.case_id) == a_staging()
    np.testing.assert_array_equal(book.features(case.case_id, "v1")[0], features)
    assert book.get(case.case_id).state is CaseState.STAGED
    assert book.events(case.case_id)[-1]["detail"] == {"t_stage": "T3"}


def test_a_step_that_raises_writes_nothing(book):
    case = a_case()
    book.record([case])

    with pytest.raises(RuntimeError, match="in the middle"), book.step(case.case_id, Step.STAGE) as record:
        record.stages(a_staging())
        record.measured({"kvp": 120.0})
        record.advance(CaseState.STAGED)
        raise RuntimeError("in the middle")

    assert book.staging(case.case_id) is None
    assert book.facts(case.case_id) is None
    assert states(book, case) == [CaseState.FOUND]


def test_a_record_of_which_one_part_cannot_be_written_is_not_written_at_all(book):
    case = a_case()
    book.record([case])

    with pytest.raises(ValueError, match="no staging"), book.step(case.case_id, Step.NOMOGRAM) as record:
        record.measured({"kvp": 120.0})
        record.scores(a_score(), Covariates())
        record.advance(CaseState.SCORED)

    assert book.facts(case.case_id) is None
    assert states(book, case) == [CaseState.FOUND]


def test_flags_of_every_step_stand_in_one_place_each_once(book):
    case = a_case()
    book.record([case])
    book.save_staging(case.case_id, a_staging(flags=(Flag.TIE,)))

    for flags in ((Flag.MISSING_COVARIATES,), (Flag.NO_STORAGE_COMMITMENT, Flag.TIE), (Flag.NO_STORAGE_COMMITMENT,)):
        with book.step(case.case_id, Step.DELIVER) as record:
            record.flag(*flags)

    expected = (Flag.TIE, Flag.MISSING_COVARIATES, Flag.NO_STORAGE_COMMITMENT)
    assert book.staging(case.case_id).flags == expected


def test_a_case_is_recorded_with_how_its_series_was_selected(book):
    case, other = a_case(), a_case(2)
    selected = Selected(("contrast_tags_absent",), False, {"sentence": "Chosen as portal venous."})

    book.record([case, other], {case.case_id: selected})

    assert book.selection(case.case_id) == selected
    assert book.selection(other.case_id) is None


def test_a_case_without_a_selection_gets_it_and_keeps_the_first(book):
    case = a_case()
    book.record([case])

    assert book.record([case], {case.case_id: Selected(("a",))}) == []
    book.record([case], {case.case_id: Selected(("b",))})

    assert book.selection(case.case_id) == Selected(("a",))


def test_a_result_that_was_replaced_is_an_event_where_the_case_stands(book):
    case = a_case()
    book.record([case])
    book.advance(case.case_id, CaseState.COMMITTED)

    with book.step(case.case_id, Step.DELIVER) as record:
        record.stages(a_staging("v2"))
        record.replace({"restaged": "abc"})
        record.advance(CaseState.STORED)

    assert states(book, case) == [CaseState.FOUND, CaseState.COMMITTED, CaseState.COMMITTED]
    assert book.events(case.case_id)[-1]["detail"] == {"restaged": "abc"}
    assert book.staging(case.case_id).model_version == "v2"


def test_what_the_pacs_took_and_has_not_committed_is_found_whatever_its_night(book):
    taken, committed, refused, today = (a_case(n) for n in (1, 2, 3, 4))
    book.record([taken, committed, refused, attrs.evolve(today, night=date(2026, 3, 9))])
    for case in (taken, committed, refused, today):
        book.advance(case.case_id, CaseState.STORED)
    book.advance(committed.case_id, CaseState.COMMITTED)
    book.refuse(refused.case_id, Step.DELIVER, REFUSAL)

    assert [c.case_id for c in book.uncommitted(date(2026, 3, 9))] == [taken.case_id]


def test_cases_are_found_by_their_patients(book):
    first, second, other = a_case(1), a_case(2, patient_id="P1"), a_case(3)
    book.record([second, first, other])

    assert [c.case_id for c in book.of_patients(["P1", "P9"])] == [first.case_id, second.case_id]
    assert book.of_patients([]) == []


MISMATCH = Refusal(RefusalCode.IDENTITY_MISMATCH, "the PACS lists the study under another PatientID")
NEW = PatientIdentity("P99", "hospital")


def rekey(book, case: Case) -> Case:
    with book.cases.step(case.case_id, Step.INTAKE) as record:
        record.rekey(NEW, {"by": "Ada", "why": "a merge"})
    return book.get(case.case_id)


@pytest.mark.parametrize("reached", [CaseState.FOUND, CaseState.REPORTED])
def test_a_case_that_was_refused_for_another_patients_images_begins_anew_when_it_is_rekeyed(book, reached):
    case = a_case(issuer_of_patient_id="before")
    book.record([case])
    book.advance(case.case_id, reached)
    book.refuse(case.case_id, Step.DELIVER, MISMATCH)

    after = rekey(book, case)

    assert after.patient == NEW
    assert (after.state, after.reached, after.refusal) == (CaseState.FOUND, CaseState.FOUND, None)
    last = book.events(case.case_id)[-1]
    assert (last["state"], last["detail"]) == (CaseState.FOUND, {"rekeyed": True, "by": "Ada", "why": "a merge"})


@pytest.mark.parametrize("reached", [CaseState.STORED, CaseState.COMMITTED])
def test_a_rekeyed_case_that_the_pacs_has_keeps_its_state(book, reached):
    case = a_case()
    book.record([case])
    book.advance(case.case_id, reached)

    after = rekey(book, case)

    assert (after.patient, after.state, after.reached) == (NEW, reached, reached)
    assert book.events(case.case_id)[-1]["state"] is reached


def test_a_rekeyed_case_that_was_refused_for_its_images_stays_refused(book):
    case = a_case()
    book.record([case])
    book.refuse(case.case_id, Step.VALIDATE, REFUSAL)

    after = rekey(book, case)

    assert (after.patient, after.state, after.refusal) == (NEW, CaseState.REFUSED, REFUSAL)


def test_a_case_may_be_rekeyed_and_refused_in_one_transaction(book):
    case = a_case()
    book.record([case])
    book.refuse(case.case_id, Step.RETRIEVE, MISMATCH)

    with book.cases.step(case.case_id, Step.INTAKE) as record:
        record.rekey(NEW, {"by": "Ada", "why": "a merge"})
        record.refuse(Refusal(RefusalCode.PRIOR_CHEMOTHERAPY, "Chemotherapy before the CT."))

    after = book.get(case.case_id)
    assert (after.patient, after.state) == (NEW, CaseState.REFUSED)
    assert after.refusal.code is RefusalCode.PRIOR_CHEMOTHERAPY
    assert states(book, case) == ["found", "refused", "found", "refused"]


def test_the_issuer_of_the_patient_id_is_kept_with_the_case(book):
    case = a_case(issuer_of_patient_id="hospital")

    book.record([case])

    assert book.get(case.case_id).patient == PatientIdentity("P1", "hospital")


# Reopening


def reopen(book, case: Case, **reopening) -> None:
    with book.step(case.case_id, Step.INTAKE) as record:
        record.reopen(Reopening(**reopening))


@pytest.mark.parametrize("end", ["refused", "committed", "failed"])
def test_a_case_that_is_reopened_begins_anew_wherever_it_was(book, end):
    case = a_case()
    book.record([case])
    for state in (CaseState.RETRIEVED, CaseState.STAGED):
        book.advance(case.case_id, state)
    if end == "committed":
        book.advance(case.case_id, CaseState.COMMITTED)
    elif end == "refused":
        book.refuse(case.case_id, Step.REPORT, REFUSAL)
    else:
        book.fail(case.case_id, FAILURE)

    reopen(book, case, why="the series has grown")

    assert book.get(case.case_id) == case
    last = book.events(case.case_id)[-1]
    assert (last["state"], last["step"]) == (CaseState.FOUND, Step.INTAKE)
    assert last["detail"]["was"] == end
    assert last["detail"]["reopened"] == "the series has grown"


def test_a_case_that_is_reopened_in_another_night_belongs_to_it(book):
    case, later = a_case(), date(2026, 3, 3)
    book.record([case])

    reopen(book, case, why="asked again", night=later)

    assert book.of_night(NIGHT) == []
    assert [c.case_id for c in book.of_night(later)] == [case.case_id]


def test_unfinished_is_what_is_neither_committed_nor_refused(book):
    found, failed, committed, refused, tonight = (a_case(n) for n in range(1, 6))
    book.record([found, failed, committed, refused, attrs.evolve(tonight, night=date(2026, 3, 9))])
    book.fail(failed.case_id, FAILURE)
    book.advance(committed.case_id, CaseState.COMMITTED)
    book.refuse(refused.case_id, Step.VALIDATE, REFUSAL)

    assert {c.case_id for c in book.unfinished(date(2026, 3, 9))} == {found.case_id, failed.case_id}
