"""What the audit sees of the case book and the EHR, and the book of audits and alarms, on a real PostgreSQL."""

from __future__ import annotations

import threading
from datetime import date, datetime

import attrs
import numpy as np
import psycopg2
import pytest

from gtr_batch.config import DatabaseConfig
from gtr_batch.db import Database
from gtr_batch.db.audit import PostgresAuditBook, PostgresAuditSource
from gtr_batch.db.registry import PostgresRegistry
from gtr_batch.db.words import PostgresReaderWords
from gtr_batch.domain.audit import Classification, Surgery
from gtr_batch.domain.audit_run import Alarm, AlarmLevel, AuditKind, AuditRecord, Crossing
from gtr_batch.domain.audit_settings import AuditSettings
from gtr_batch.domain.case import PATH, CaseState, Failure, Step
from gtr_batch.domain.clinical import Covariates, Markers
from gtr_batch.domain.lifecycle import Change
from gtr_batch.domain.reader_word import NewWord, Reader, WordKind
from gtr_batch.domain.refusal import Refusal, RefusalCode
from gtr_batch.domain.staging import TStage
from gtr_batch.errors import DatabaseRefused, InputRefused
from tests.adapters.db.test_cases import NIGHT, REFUSAL, P, a_case, a_score, a_staging
from tests.case_moves import Moves
from tests.fixtures_db import as_role, logins

VERSION = "a" * 64
RUN = AuditRecord(
    run_id="c" * 64,
    kind=AuditKind.MONTH,
    period="2026-03",
    as_of=date(2026, 3, 31),
    model_version=VERSION,
    code_version="0.1.0+abc",
    settings=AuditSettings(draws=77),
    answer="look",
    headline={"accuracy": 0.8, "kappa": None},
    files={"report.html": "d" * 64},
    asked_by="Ada",
)
LATER = date(2026, 12, 31)


@pytest.fixture
def book(database):
    return Moves.on(database)


@pytest.fixture
def source(database):
    return PostgresAuditSource(database)


@pytest.fixture
def words(dsn):
    """Readers' words, as the console's login writes them."""
    console = Database(DatabaseConfig(dsn=as_role(dsn, "gtr_console")))
    yield PostgresReaderWords(console)
    console.close()


@pytest.fixture
def audits(database):
    made = PostgresAuditBook(database)
    made.save_run(RUN)
    return made


@pytest.fixture
def second_session(dsn):
    """The same book through a connection of its own."""
    other = Database(logins(dsn))
    yield PostgresAuditBook(other)
    other.close()


def an_alarm(monitor: str = "headers", level: AlarmLevel = AlarmLevel.LOOK, **changes) -> Alarm:
    values = {"on": date(2026, 3, 20), "watching_since": date(2026, 1, 5), "model_version": VERSION}
    return Alarm(
        monitor,
        level,
        sentence="A scanner is new.",
        detail=Crossing("Scanners and protocols", 6.5, 5.0),
        **{**values, **changes},
    )


def run_sql(dsn: str, *statements: str) -> None:
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def bring(book, case, to: CaseState = CaseState.COMMITTED, version: str = VERSION) -> None:
    """Record a case and take it through the path, with a result, features and a score."""
    book.record([case])
    for state in PATH[1 : PATH.index(CaseState.STAGED) + 1]:
        book.advance(case.case_id, state)
    book.save_staging(case.case_id, a_staging(version))
    book.save_features(case.case_id, version, np.linspace(0, 1, 8, dtype=np.float32), np.zeros((3, 4)))
    book.save_facts(case.case_id, {"manufacturer": "Philips", "kvp": 100})
    book.save_score(case.case_id, a_score(), Covariates())
    for state in PATH[PATH.index(CaseState.STAGED) + 1 : PATH.index(to) + 1]:
        book.advance(case.case_id, state)


def delivered(dsn: str, at: str) -> None:
    """As if everything that was stored or committed had been so at this time."""
    run_sql(  # as a superuser, who alone can get round the triggers
        dsn,
        "set session_replication_role = replica",
        f"update case_event set at = '{at}' where state in ('stored', 'committed')",
    )


# What the audit sees


def test_a_staged_case_comes_with_result_scan_patient_and_pathology(book, source, dsn):
    bring(book, a_case())
    delivered(dsn, "2026-03-02 03:00Z")
    run_sql(
        dsn,
        "insert into ehr_patient values ('P1', 'female', '1960-03-02')",
        "insert into ehr_biopsy values ('P1', '2026-01-10', 'stomach', true, 'diffuse', 'poor')",
        "insert into ehr_tumour values ('P1', '2026-01-15', 6.5, 'lower'), ('P1', '2026-03-15', 9.5, 'upper')",
        "insert into ehr_marker values ('P1', '2026-01-11', null, null, null, null, 3)",
        "insert into ehr_marker values ('P1', '2026-03-09', 1, 1, 1, 1, 1)",
        "insert into ehr_surgery values ('P1', '2025-02-20', '2025-03-01', 'pT', 'T1a')",
        "insert into ehr_surgery values ('P1', '2026-03-20', '2026-04-02', 'pT', 'T4a')",
        "insert into ehr_read values ('1.2.1', 'P1', '2026-03-02', 'T4b', 'Tis')",
    )

    [case] = source.cases(NIGHT, NIGHT, LATER)

    assert (case.case_id, case.night, case.study_on) == (a_case().case_id, NIGHT, NIGHT)
    assert (case.model_version, case.t_stage, case.probabilities) == (VERSION, TStage.T3, P)
    assert case.slice_stages == (TStage.T3,) * 3
    assert (case.flags, case.key_slice_source, case.nomogram) == (("three_way_tie",), "ehr_reference", P)
    assert np.allclose(case.features, np.linspace(0, 1, 8), atol=1e-7)
    assert case.facts == {"manufacturer": "Philips", "kvp": 100}
    assert (case.sex, case.age_years) == ("female", 65)  # the day before the birthday
    assert (case.tumour_size_cm, case.location, case.differentiation, case.lauren) == (6.5, "lower", "poor", "diffuse")
    assert case.markers == Markers(afp_ng_ml=3)
    # The first operation on or after the study; sub-letters are one class.
    assert case.surgery == Surgery(date(2026, 3, 20), date(2026, 4, 2), Classification.PT, "T4a", TStage.T4)
    assert (case.read.radiologist_ct, case.read.endosonographer_ut, case.read.with_ai) == (TStage.T4, None, True)
    assert case.delivered_on == date(2026, 3, 2)
    assert (case.refusal, case.failed) == ("", False)


def test_nothing_names_a_patient_and_a_patient_is_always_the_same_digest(book, source):
    for number, patient in ((1, "SECRET"), (2, "SECRET"), (3, "OTHER")):
        bring(book, a_case(number, patient_id=patient))

    one, again, other = sorted(source.cases(NIGHT, NIGHT, LATER), key=lambda c: [1, 2, 3].index(_number(c)))

    assert one.subject == again.subject != other.subject
    assert "SECRET" not in repr([one, again, other])
    assert len(one.subject) == 32


def _number(case) -> int:
    return next(k for k in (1, 2, 3) if a_case(k).case_id == case.case_id)


def test_two_studies_without_a_patient_id_are_not_one_patient(book, source):
    for number in (1, 2):
        bring(book, a_case(number, patient_id=""))

    one, other = source.cases(NIGHT, NIGHT, LATER)

    assert one.subject != other.subject


@pytest.mark.parametrize(("category", "stage"), [("T0", None), ("Tis", None), ("T1b", TStage.T1)])
def test_a_tumour_that_is_gone_has_a_category_and_no_stage(book, source, dsn, category, stage):
    bring(book, a_case())
    run_sql(
        dsn,
        "insert into ehr_patient values ('P1', 'male', '1960-01-01')",
        f"insert into ehr_surgery values ('P1', '2026-03-20', '2026-04-02', 'ypT', '{category}')",
    )

    [case] = source.cases(NIGHT, NIGHT, LATER)

    assert (case.surgery.t_category, case.surgery.t_stage, case.surgery.classification) == (category, stage, "ypT")


@pytest.mark.parametrize(
    ("as_of", "operated", "reported"),
    [
        (date(2026, 3, 19), None, None),
        (date(2026, 3, 20), date(2026, 3, 20), None),
        (date(2026, 4, 1), date(2026, 3, 20), None),
        (date(2026, 4, 2), date(2026, 3, 20), date(2026, 4, 2)),
    ],
)
def test_only_what_was_known_by_the_day_is_seen(book, source, dsn, as_of, operated, reported):
    bring(book, a_case())
    run_sql(
        dsn,
        "insert into ehr_patient values ('P1', 'male', '1960-01-01')",
        "insert into ehr_surgery values ('P1', '2026-03-20', '2026-04-02', 'pT', 'T2')",
    )

    [case] = source.cases(NIGHT, NIGHT, as_of)

    assert getattr(case.surgery, "operated_on", None) == operated
    assert getattr(case.surgery, "reported_on", None) == reported
    assert case.delivered_on is None  # it was delivered just now, long after that day


def test_refused_studies_and_broken_cases_are_cases(book, source):
    intake = a_case(1, series_uid="", state=CaseState.REFUSED, refusal=REFUSAL)
    late, broken, unsent, lost = (a_case(k) for k in (2, 3, 4, 5))
    book.record([intake, broken, lost])
    bring(book, late, CaseState.STAGED)
    book.refuse(late.case_id, Step.STAGE, Refusal(RefusalCode.NON_FINITE_OUTPUT, "not finite"))
    book.fail(broken.case_id, Failure(Step.RETRIEVE, "PacsUnreachable", True))
    bring(book, unsent, CaseState.REPORTED)
    book.fail(unsent.case_id, Failure(Step.DELIVER, "DeliveryRefused", False))

    found = {c.case_id: (c.refusal, c.failed, c.t_stage) for c in source.cases(NIGHT, NIGHT, LATER)}

    assert found == {
        intake.case_id: ("slice_gap", False, None),
        late.case_id: ("non_finite_output", False, None),
        broken.case_id: ("", True, None),
        unsent.case_id: ("", False, TStage.T3),
        lost.case_id: ("", True, None),  # stopped somewhere
    }


def test_nights_are_from_first_to_last_and_come_in_their_order(book, source):
    nights = [date(2026, 3, day) for day in (4, 1, 3, 2)]
    for number, night in enumerate(nights, 1):
        bring(book, a_case(number, night=night))

    found = source.cases(date(2026, 3, 2), date(2026, 3, 3), LATER)

    assert [c.night.day for c in found] == [2, 3]


def test_a_withdrawn_models_result_stays_a_case_although_the_worklist_hides_it(book, source, database):
    registry = PostgresRegistry(database)
    registry.register(VERSION, {"name": "m"}, "m", by="Ada", why="a test")
    registry.change([Change(VERSION, "withdraw", "candidate", "withdrawn")], champion=None, by="Ada", why="a test")
    bring(book, a_case())

    [case] = source.cases(NIGHT, NIGHT, LATER)

    assert (case.model_version, case.t_stage) == (VERSION, TStage.T3)


def test_a_read_is_with_ai_from_the_day_of_delivery_on_by_the_hospitals_calendar(book, database, dsn):
    bring(book, a_case())
    delivered(dsn, "2026-03-02 23:30Z")
    run_sql(
        dsn,
        "insert into ehr_patient values ('P1', 'male', '1960-01-01')",
        "insert into ehr_read values ('1.2.1', 'P1', '2026-03-02', 'T2', null)",
    )

    seen = [
        source.cases(NIGHT, NIGHT, LATER)[0].read.with_ai
        for source in (PostgresAuditSource(database), PostgresAuditSource(database, "Europe/Paris"))
    ]

    assert seen == [True, False]


def test_cannot_tell_whether_a_read_was_with_ai_where_the_pacs_has_the_result_and_never_said_so(book, source, dsn):
    bring(book, a_case(), CaseState.STORED)
    delivered(dsn, "2026-03-02 03:00Z")
    run_sql(
        dsn,
        "insert into ehr_patient values ('P1', 'male', '1960-01-01')",
        "insert into ehr_read values ('1.2.1', 'P1', '2026-03-05', 'T2', null)",
    )

    [case] = source.cases(NIGHT, NIGHT, LATER)

    assert (case.read.with_ai, case.delivered_on) == (None, None)


def test_readings_are_told_apart_by_what_the_console_had_shown(book, source, words):
    """The first gave a stage before the AI's was shown, the second after it, the third none."""
    bring(book, a_case())
    case_id = a_case().case_id
    about = words.result(case_id)
    first, second, third = (Reader(name, "radiologist") for name in ("rahel", "otto", "ida"))
    words.give_own_stage(about, first.name, TStage.T2)
    for reader in (first, second):
        words.note_shown({case_id: about.digest}, reader.name)
    words.give_own_stage(about, second.name, TStage.T4)
    words.say(NewWord(about, first, WordKind.AGREE))
    words.say(NewWord(about, second, WordKind.AGREE))
    words.say(NewWord(about, second, WordKind.OVERRULE, "the serosa is smooth", TStage.T1))
    words.withdraw(case_id, words.say(NewWord(about, third, WordKind.AGREE)), third, "")

    [case] = source.cases(NIGHT, NIGHT, date(9999, 1, 1))

    said = {(one.ai_stage, one.own_stage, one.said) for one in case.readings}
    assert said == {(TStage.T3, TStage.T2, TStage.T3), (TStage.T3, None, TStage.T1)}
    assert "rahel" not in repr(case)
    assert source.cases(NIGHT, NIGHT, NIGHT)[0].readings == ()  # nothing was said by then


def test_a_word_on_an_earlier_result_is_no_reading_of_this_one(book, source, words):
    bring(book, a_case(), CaseState.STAGED)
    words.say(NewWord(words.result(a_case().case_id), Reader("rahel", "radiologist"), WordKind.AGREE))

    book.save_staging(a_case().case_id, attrs.evolve(a_staging(VERSION), t_stage=TStage.T4))

    [case] = source.cases(NIGHT, NIGHT, date(9999, 1, 1))
    assert case.readings == ()


def test_knows_the_first_night_of_a_model(book, source):
    for number, night in enumerate((date(2026, 3, 4), date(2026, 3, 2)), 1):
        bring(book, a_case(number, night=night))

    assert source.first_night(VERSION) == date(2026, 3, 2)
    assert source.first_night("b" * 64) is None


# Runs


def test_a_run_comes_back_by_the_digits_that_it_begins_with(audits):
    found = audits.run("cccc")

    assert attrs.evolve(found, made_at=None) == RUN
    assert found.made_at.tzinfo is not None
    assert audits.run("d") is None
    assert audits.run("") is None


def test_the_same_run_again_changes_nothing(audits):
    audits.save_run(attrs.evolve(RUN, asked_by="Grace", answer="yes"))

    [found] = audits.runs()
    assert (found.asked_by, found.answer) == ("Ada", "look")


def test_two_runs_that_begin_alike_are_not_told_apart(audits):
    audits.save_run(attrs.evolve(RUN, run_id="cc" + "0" * 62, kind=AuditKind.WEEK, period="2026-W10"))

    assert audits.run("cc") is None
    assert [r.kind for r in audits.runs(AuditKind.WEEK)] == ["week"]
    assert len(audits.runs()) == 2


@pytest.mark.parametrize(
    "statement",
    [
        "update audit_run set answer = 'yes'",
        "delete from drift_alarm",
        "truncate drift_alarm_acknowledgment",
        "update delivery_pause set noted_at = now()",
    ],
)
def test_nobody_rewrites_what_was_found(audits, dsn, statement):
    connection = psycopg2.connect(dsn)
    with pytest.raises(psycopg2.Error, match="append-only"):
        connection.cursor().execute(statement)
    connection.close()


# Alarms


def test_an_alarm_is_raised_once_for_a_model_and_a_watch(audits):
    first = audits.raise_alarms(RUN.run_id, [an_alarm(), an_alarm("stage_shift", AlarmLevel.STOP)])
    again = audits.raise_alarms(
        RUN.run_id,
        [
            an_alarm(on=date(2026, 3, 27)),
            an_alarm(watching_since=date(2026, 3, 1)),
            an_alarm(model_version="b" * 64),
        ],
    )

    assert [(a.monitor, a.level, a.night, a.kind) for a in first] == [
        ("headers", "look", date(2026, 3, 20), "month"),
        ("stage_shift", "stop", date(2026, 3, 20), "month"),
    ]
    assert [(a.watching_since, a.model_version[0]) for a in again] == [
        (date(2026, 3, 1), "a"),
        (date(2026, 1, 5), "b"),
    ]
    assert len(audits.alarms()) == 4


def test_of_two_sessions_that_raise_the_same_alarm_one_has_raised_it(audits, second_session):
    new: list[int] = []
    start = threading.Barrier(2)

    def raise_it(book) -> None:
        start.wait()
        new.append(len(book.raise_alarms(RUN.run_id, [an_alarm(m) for m in ("headers", "output", "quality")])))

    threads = [threading.Thread(target=raise_it, args=(book,)) for book in (audits, second_session)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(new) == 3
    assert len(audits.alarms()) == 3


def test_of_two_people_who_acknowledge_at_once_one_is_told_that_the_other_did(audits, second_session):
    [alarm] = audits.raise_alarms(RUN.run_id, [an_alarm()])
    told: list[str] = []
    start = threading.Barrier(2)

    def acknowledge(book, by: str) -> None:
        start.wait()
        try:
            book.acknowledge(alarm.alarm_id, by=by, note="the new scanner", watch_from=None)
            told.append("done")
        except InputRefused as err:
            told.append(str(err))

    people = [(audits, "Ada"), (second_session, "Grace")]
    threads = [threading.Thread(target=acknowledge, args=person) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    [row] = audits.alarms()
    assert sorted(told, key=len)[0] == "done"
    assert f"was acknowledged by {row.acknowledged_by} already" in max(told, key=len)


def test_an_acknowledged_alarm_is_not_open_and_keeps_name_note_and_new_watch(audits):
    [alarm] = audits.raise_alarms(RUN.run_id, [an_alarm()])

    audits.acknowledge(alarm.alarm_id, by="Ada", note="the new scanner", watch_from=date(2026, 3, 21))

    assert audits.alarms(only_open=True) == []
    [row] = audits.alarms()
    assert (row.acknowledged_by, row.note, row.watch_from) == ("Ada", "the new scanner", date(2026, 3, 21))


@pytest.mark.parametrize(
    ("number", "watch_from", "said"), [(99, None, "no alarm 99"), (1, date(2026, 1, 5), "a later night")]
)
def test_cannot_acknowledge_what_is_not_there_or_watch_anew_from_before_the_watch_began(
    audits, number, watch_from, said
):
    audits.raise_alarms(RUN.run_id, [an_alarm()])

    with pytest.raises(InputRefused, match=said):
        audits.acknowledge(number, by="Ada", note="x", watch_from=watch_from)

    assert len(audits.alarms(only_open=True)) == 1


def test_the_reader_sees_alarms_and_no_table(audits, dsn):
    audits.raise_alarms(RUN.run_id, [an_alarm()])
    as_reader = psycopg2.connect(as_role(dsn, "gtr_reader"))

    with as_reader.cursor() as cursor:
        cursor.execute("select monitor from drift_alarm_status")
        assert cursor.fetchall() == [("headers",)]
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("select * from audit_run")
    as_reader.close()


# Pausing delivery


@pytest.fixture
def worklist(dsn):
    """A function that reads the worklist with the rights of gtr_reader."""

    def read() -> tuple:
        with psycopg2.connect(as_role(dsn, "gtr_reader")) as connection, connection.cursor() as cursor:
            cursor.execute("select ct, p_t1, supporting_p_t1, refusal_code, refusal_sentence from worklist_annotation")
            [row] = cursor.fetchall()
            return row

    return read


def test_a_result_that_is_held_back_is_not_on_the_worklist_until_somebody_has_looked(book, audits, worklist):
    bring(book, a_case(study_at=datetime(2026, 3, 1)), CaseState.REPORTED)
    [alarm] = audits.raise_alarms(RUN.run_id, [an_alarm("stage_shift", AlarmLevel.STOP)])

    audits.pause(alarm.alarm_id)
    audits.pause(alarm.alarm_id)
    held = worklist()
    audits.acknowledge(alarm.alarm_id, by="Ada", note="pathology's new protocol", watch_from=None)

    assert held[:4] == (None, None, None, "delivery_paused")
    assert "held back until a person has looked" in held[4]
    assert worklist() == ("cT3", 0.1, 0.1, None, None)


@pytest.mark.parametrize(
    ("state", "version"), [(CaseState.COMMITTED, VERSION), (CaseState.STORED, VERSION), (CaseState.REPORTED, "b" * 64)]
)
def test_what_the_pacs_has_and_what_another_model_said_stays_on_the_worklist(book, audits, worklist, state, version):
    bring(book, a_case(), state, version)
    [alarm] = audits.raise_alarms(RUN.run_id, [an_alarm("stage_shift", AlarmLevel.STOP)])

    audits.pause(alarm.alarm_id)

    assert worklist()[0] == "cT3"


def test_an_alarm_belongs_to_a_run(audits):
    with pytest.raises(DatabaseRefused):
        audits.raise_alarms("e" * 64, [an_alarm()])
