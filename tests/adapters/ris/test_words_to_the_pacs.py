"""Readers' words to a real PACS: each once and in its order, wherever we are killed."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import attrs
import psycopg2
import pydicom
import pytest

from gtr_batch import wiring
from gtr_batch.cli import doctor_site
from gtr_batch.config import Config, DatabaseConfig, FilesConfig, PacsConfig, ReportConfig
from gtr_batch.db import Database
from gtr_batch.db.switch import PostgresSwitch
from gtr_batch.db.word_reports import PostgresWordReports
from gtr_batch.db.words import PostgresReaderWords
from gtr_batch.domain.case import CaseState, Step
from gtr_batch.domain.delivery import ObjectKind
from gtr_batch.domain.reader_word import NewWord, Reader, WordKind
from gtr_batch.domain.staging import TStage
from gtr_batch.domain.switch import SwitchAction
from gtr_batch.errors import ConfigError, GtrError, ServiceStopped
from gtr_batch.files import LocalFileStore
from gtr_batch.night.word_reports import send_words
from gtr_batch.pacs import Pacs
from gtr_batch.report.identity import series_uid
from tests.adapters.pacs.peers import a_free_port, orthanc
from tests.builders import a_case, a_geometry, a_series, a_staging, a_written_report
from tests.case_moves import Moves
from tests.fixtures_db import as_role, logins

RAHEL, OTTO = Reader("rahel", "radiologist"), Reader("otto", "radiologist")
SAID = {"accepted", "modified", "taken_back"}
_numbers = itertools.count(1)


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture(scope="module")
def pacs_config(need_program, tmp_path_factory) -> Iterator[PacsConfig]:
    """Settings for a running Orthanc, which commits."""
    port, ours = a_free_port(), a_free_port()
    folder = tmp_path_factory.mktemp("orthanc")
    with orthanc(need_program("Orthanc", "orthanc"), folder, port, our_port=ours):
        yield PacsConfig(port=port, called_ae_title="ORTHANC", commitment_port=ours, commitment_timeout_s=60.0)


@pytest.fixture
def config(dsn, tmp_path, pacs_config) -> Config:
    files, report = FilesConfig(root=tmp_path / "store"), ReportConfig(reader_word_sr=True)
    return Config(database=logins(dsn), files=files, pacs=pacs_config, report=report)


@pytest.fixture
def case(config, database, tmp_path):
    """A case of its own study whose report, T3, the PACS has committed."""
    series = a_series(tmp_path / "series", size=16, name=f"word-{next(_numbers)}")
    case, book = a_case(series), Moves.on(database)
    folder = LocalFileStore(config.files.root).folder(case.night, case.case_id, Step.REPORT)
    objects = a_written_report(folder, series, 16)
    book.record([case])
    book.save_staging(case.case_id, a_staging(a_geometry(series)))
    book.save_objects(case.case_id, objects)
    pacs, [report] = Pacs(config.pacs), [o for o in objects if o.kind is ObjectKind.STRUCTURED_REPORT]
    pacs.store([*series, folder / report.file])
    book.advance(case.case_id, CaseState.COMMITTED)
    return book.get(case.case_id)


@pytest.fixture
def words(dsn):
    """What readers say, as the console's login writes it."""
    console = Database(DatabaseConfig(dsn=as_role(dsn, "gtr_console")))
    yield PostgresReaderWords(console)
    console.close()


def say(words, case, kind=WordKind.AGREE, by=RAHEL, **given) -> int:
    return words.say(NewWord(words.result(case.case_id), by, kind, **given))


def overrule(words, case, by=RAHEL) -> int:
    return say(words, case, WordKind.OVERRULE, by, why="smooth", t_stage=TStage.T2)


def in_the_pacs(config, case, tmp_path) -> list[pydicom.Dataset]:
    """The words that the PACS has of a case, in the order of their numbers."""
    series = series_uid(case.study_uid, "reader word", ObjectKind.READER_WORD)
    pacs = Pacs(config.pacs)
    uids = [one.sop_instance_uid for one in pacs.find_instances(case.study_uid, series)]
    if not uids:
        return []
    back = tmp_path / f"back-{next(_numbers)}"
    found = [pydicom.dcmread(path) for path in pacs.retrieve(case.study_uid, series, uids, back)]
    return sorted(found, key=lambda ds: int(ds.InstanceNumber))


def assessments(found: list[pydicom.Dataset]) -> list[tuple[str, str]]:
    """Who says what."""
    return [(values(ds, "PersonName")[0], (SAID & set(values(ds, "CodeValue"))).pop()) for ds in found]


def values(ds: pydicom.Dataset, keyword: str) -> list[str]:
    """Of every element of this keyword, sequences included."""
    return [str(element.value) for element in ds.iterall() if element.keyword == keyword]


def execute(dsn: str, statement: str) -> list[tuple]:
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def unsent(dsn: str) -> int:
    return execute(dsn, "select count(*) from reader_word_sending where sent_at is null")[0][0]


def test_every_word_goes_to_the_pacs_once_and_names_the_one_before(config, case, words, tmp_path, dsn):
    say(words, case)
    second = overrule(words, case)
    overrule(words, case, OTTO)
    words.withdraw(case.case_id, second, RAHEL, "")

    sent = [wiring.send_result_messages(config).taken for _ in range(2)]

    found = in_the_pacs(config, case, tmp_path)
    assert sent == [4, 0]
    assert assessments(found) == [
        ("rahel", "accepted"),
        ("rahel", "modified"),
        ("otto", "modified"),
        ("rahel", "accepted"),  # what was said before it holds again
    ]
    before = [
        [i.ReferencedSOPInstanceUID for s in p.ReferencedSeriesSequence for i in s.ReferencedSOPSequence]
        for ds in found
        for p in ds.get("PredecessorDocumentsSequence") or []
    ]
    assert before == [[found[0].SOPInstanceUID], [found[1].SOPInstanceUID]]
    committed = "select count(*) from storage_commitment where offered and cardinality(committed) = 1"
    assert execute(dsn, committed) == [(4,)]
    assert execute(dsn, "select count(*) from access_event where action = 'report.reader_word'") == [(4,)]


def test_a_word_taken_back_alone_is_taken_back_in_the_pacs_too(config, case, words, tmp_path):
    number = say(words, case)
    wiring.send_result_messages(config)
    words.withdraw(case.case_id, number, RAHEL, "")

    wiring.send_result_messages(config)

    assert [said for _, said in assessments(in_the_pacs(config, case, tmp_path))] == ["accepted", "taken_back"]


@pytest.mark.parametrize("point", ["before it is noted", "before it is sent", "before that is noted"])
def test_killed_at_any_point_it_loses_and_doubles_nothing(config, case, words, tmp_path, dsn, point):
    overrule(words, case)

    class Dying(PostgresWordReports):
        def write(self, word, written):
            if point == "before it is noted":
                raise Killed
            super().write(word, written)
            if point == "before it is sent":
                raise Killed

        def sent(self, word):
            raise Killed

    with wiring.open_site(config) as site, pytest.raises(Killed):
        send_words(site, Dying(Database(config.database)))

    assert wiring.send_result_messages(config).taken == 1
    assert [said for _, said in assessments(in_the_pacs(config, case, tmp_path))] == ["modified"]
    assert unsent(dsn) == 0


def test_a_pacs_that_does_not_answer_gets_it_later(config, case, words, tmp_path, dsn):
    say(words, case)
    overrule(words, case)
    gone = attrs.evolve(config, pacs=attrs.evolve(config.pacs, port=a_free_port()))

    sent = wiring.send_result_messages(gone)

    assert (sent.taken, sent.waiting) == (0, 1)  # the second waits for the first
    asked = SimpleNamespace(config=config)
    told = doctor_site.words_to_the_pacs(asked)
    assert (told.state, "1 wait, tried up to 1 times, the last time: PacsUnreachable" in told.found) == ("warn", True)
    assert wiring.send_result_messages(config).taken == 0  # its time has not come
    execute(dsn, "update reader_word_sending set next_try_at = now()")
    assert wiring.send_result_messages(config).taken == 2
    assert [said for _, said in assessments(in_the_pacs(config, case, tmp_path))] == ["accepted", "modified"]


def test_the_stop_switch_lets_no_word_go(config, case, words, database, tmp_path):
    say(words, case)
    PostgresSwitch(database).decide(SwitchAction.STOP, by="Ada", why="a test")

    with pytest.raises(ServiceStopped):
        wiring.send_result_messages(config)

    assert in_the_pacs(config, case, tmp_path) == []


def test_it_is_off_until_the_site_wants_it_and_a_result_on_its_way_goes_first(config, case, words, database, dsn):
    say(words, case)
    with pytest.raises(ConfigError):
        wiring.send_result_messages(attrs.evolve(config, report=ReportConfig()))
    execute(dsn, "set session_replication_role = replica; update staging_case set state = 'stored', reached = 'stored'")

    assert wiring.send_result_messages(config).taken == 0
    assert execute(dsn, "select count(*) from reader_word_sending") == [(0,)]


def test_a_word_on_a_result_that_was_replaced_meanwhile_is_not_sent(config, case, words, dsn):
    say(words, case)
    execute(dsn, "set session_replication_role = replica; update staging_result set t_stage = 'T4'")

    assert wiring.send_result_messages(config).taken == 0


def test_what_was_written_last_for_a_case_may_be_a_withdrawal_notice_and_is_no_report_to_refer_to(
    config, case, words, tmp_path, dsn
):
    """As where a case was staged anew by another model, and the notice about the earlier report was approved later."""
    say(words, case)
    execute(
        dsn,
        "set session_replication_role = replica;"
        "insert into report_object (sop_instance_uid, case_id, kind, sop_class_uid, series_uid, file, content_digest,"
        " model_version) select '1.2.3', case_id, kind, sop_class_uid, series_uid, 'x.dcm', 'x', model_version"
        " from report_object where kind = 'structured_report';"
        "insert into withdrawal_notice (withdrawn_uid, version, notice_uid) values ('1.2.4', 'x', '1.2.3')",
    )

    assert wiring.send_result_messages(config).taken == 1
    [ds] = in_the_pacs(config, case, tmp_path)
    assert "1.2.3" not in values(ds, "ReferencedSOPInstanceUID")


def test_two_tasks_at_once_send_the_same_words_as_the_same_instances(config, case, words, tmp_path, dsn):
    for kind in (WordKind.AGREE, WordKind.AGREE, WordKind.AGREE):
        say(words, case, kind)
    ready, troubles = threading.Barrier(2), []

    def send() -> None:
        ready.wait()
        try:
            wiring.send_result_messages(config)
        except GtrError as err:
            troubles.append(err)

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    execute(dsn, "update reader_word_sending set next_try_at = now()")
    wiring.send_result_messages(config)  # what one of the two had to leave
    assert troubles == []
    assert len(in_the_pacs(config, case, tmp_path)) == 3
    assert unsent(dsn) == 0


def test_where_the_pacs_has_the_study_under_another_patient_nothing_is_sent_and_operations_are_told(
    config, case, words, tmp_path, dsn
):
    say(words, case)
    execute(dsn, "set session_replication_role = replica; update staging_case set patient_id = 'PHANTOM-OTHER'")
    told = []

    sent = wiring.send_result_messages(config, alert=lambda subject, text: told.append((subject, text)))

    again = wiring.send_result_messages(config, alert=lambda subject, text: told.append((subject, text)))
    assert (sent.taken, sent.waiting) == (0, 1)
    assert (again.taken, again.waiting) == (0, 0)  # its time has not come, and nobody is told twice
    [(subject, text)] = told
    assert subject == "Images of another patient"
    assert "PHANTOM" not in text
    assert in_the_pacs(config, case, tmp_path) == []
