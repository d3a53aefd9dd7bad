"""What readers say of results: kept as rows, taken back by rows, in one transaction with what the RIS is told."""

from __future__ import annotations

import re
import threading
from datetime import UTC
from pathlib import Path

import attrs
import psycopg2
import pytest
from typer.testing import CliRunner

from gtr_batch.cli.main import app
from gtr_batch.config import Config, DatabaseConfig
from gtr_batch.db import Database, PostgresCases, PostgresDeliveries, PostgresNights
from gtr_batch.db.messages import PostgresResultMessages
from gtr_batch.db.registry import PostgresRegistry
from gtr_batch.db.words import PostgresReaderWords
from gtr_batch.domain.case import Case, CaseState
from gtr_batch.domain.clinical import Covariates
from gtr_batch.domain.lifecycle import Change
from gtr_batch.domain.reader_word import NewWord, Reader, WordKind
from gtr_batch.domain.result_message import Channel, MessageKind
from gtr_batch.domain.staging import TStage
from gtr_batch.errors import DatabaseRefused, InputRefused
from tests.adapters.db.test_cases import a_case, a_score, a_staging
from tests.builders import a_manifest
from tests.case_moves import Moves
from tests.fixtures_db import as_role, logins
from tests.settings import as_environment

VERSION = "a" * 64
RAHEL, OTTO = Reader("rahel", "radiologist"), Reader("otto", "radiologist")


@pytest.fixture
def book(database: Database) -> Moves:
    return Moves(PostgresNights(database), PostgresCases(database, [Channel.HL7]), PostgresDeliveries(database))


@pytest.fixture
def case(book: Moves) -> Case:
    """A case with a result, T3, that the PACS has and the RIS is told."""
    case = a_case()
    book.record([case])
    book.save_staging(case.case_id, a_staging(VERSION, flags=()))
    book.save_score(case.case_id, a_score(), Covariates())
    book.advance(case.case_id, CaseState.COMMITTED)
    return case


@pytest.fixture
def console(dsn: str):
    """The words as the console's login writes them."""
    database = Database(DatabaseConfig(dsn=as_role(dsn, "gtr_console")))
    yield PostgresReaderWords(database, [Channel.HL7])
    database.close()


def overruled(words: PostgresReaderWords, case: Case, by: Reader = RAHEL, stage: TStage = TStage.T2) -> int:
    return words.say(NewWord(words.result(case.case_id), by, WordKind.OVERRULE, "the serosa is smooth", stage))


def agreed(words: PostgresReaderWords, case: Case, by: Reader = RAHEL) -> int:
    return words.say(NewWord(words.result(case.case_id), by, WordKind.AGREE))


def standing(words: PostgresReaderWords, case: Case) -> list[tuple[str, str, str | None]]:
    return [(w.reader, str(w.kind), w.t_stage) for w in words.of_case(case.case_id) if w.stands]


def execute(dsn: str, statement: str) -> list[tuple]:
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def told(database: Database) -> list[tuple]:
    """What the RIS is told, in the order in which it is sent."""
    messages, found = PostgresResultMessages(database), []
    while (message := messages.claim(Channel.HL7, 60)) is not None:
        reader = message.reader
        found.append((message.version, message.kind, reader and (reader.agrees, reader.t_stage)))
        messages.end(message, Channel.HL7, "sent", "AA")
    return found


def test_the_newest_word_of_a_reader_holds_until_it_is_taken_back(console, case):
    first = agreed(console, case)
    second = overruled(console, case)

    assert standing(console, case) == [("rahel", "overrule", "T2")]
    console.withdraw(case.case_id, second, RAHEL, "wrong case")
    assert standing(console, case) == [("rahel", "agree", None)]
    console.withdraw(case.case_id, first, RAHEL, "")
    assert standing(console, case) == []
    assert [str(w.kind) for w in console.of_case(case.case_id)] == ["agree", "overrule", "withdrawn", "withdrawn"]
    assert not console.result(case.case_id).is_read


def test_two_readers_at_once_lose_nothing(dsn, database, case):
    def speak(by: Reader) -> None:
        own = Database(DatabaseConfig(dsn=as_role(dsn, "gtr_console")))
        words = PostgresReaderWords(own, [Channel.HL7])
        ready.wait()
        for _ in range(5):
            overruled(words, case, by)
            agreed(words, case, by)
        own.close()

    ready = threading.Barrier(2)
    threads = [threading.Thread(target=speak, args=(by,)) for by in (RAHEL, OTTO)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    words = PostgresReaderWords(database)
    assert len(words.of_case(case.case_id)) == 20
    assert sorted(standing(words, case)) == [("otto", "agree", None), ("rahel", "agree", None)]
    assert [version for version, _, _ in told(database)] == list(range(1, 22))


@pytest.mark.parametrize("login", ["gtr_console", "gtr_governor", "gtr_app", "gtr_owner"])
def test_no_login_changes_or_deletes_a_word(dsn, console, case, login):
    agreed(console, case)

    for statement in ("update reader_word set kind = 'overrule', t_stage = 'T4'", "delete from reader_word"):
        with pytest.raises(psycopg2.Error):
            execute(as_role(dsn, login), statement)
    assert standing(console, case) == [("rahel", "agree", None)]


def test_the_consoles_login_writes_words_and_nothing_else(dsn, console, case):
    number = agreed(console, case)
    for statement in (
        "insert into result_message (case_id, version, kind, model_version, content) "
        "select case_id, 99, 'result', model_version, '{}' from reader_word",
        "insert into key_slice_confirmation (case_id, was, slices, by_whom, why) "
        "select case_id, 'x', '{a,b,c}', 'x', 'x' from reader_word",
        "update result_sending set state = 'sent'",
        "insert into reader_word (case_id, model_version, result, reader, role, kind, ai_shown_at) "
        "select case_id, model_version, result, reader, role, kind, now() from reader_word",
        "select patient_id from staging_case",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            execute(as_role(dsn, "gtr_console"), statement)

    # The function that writes messages writes none about a word of another transaction, or a second one.
    assert execute(as_role(dsn, "gtr_console"), f"select tell_reader_word({number}, '{{hl7}}')") == [(None,)]


def test_nobody_takes_back_what_another_said_nor_twice_nor_a_taking_back(console, case):
    number = agreed(console, case)

    with pytest.raises(InputRefused, match="none of otto's"):
        console.withdraw(case.case_id, number, OTTO, "")
    taken_back = console.withdraw(case.case_id, number, RAHEL, "")
    for again in (number, taken_back):
        with pytest.raises(InputRefused):
            console.withdraw(case.case_id, again, RAHEL, "")


def test_a_word_is_about_the_result_that_was_seen(book, console, case):
    seen = console.result(case.case_id)
    agreed(console, case)
    book.save_staging(case.case_id, attrs.evolve(a_staging(VERSION, flags=()), t_stage=TStage.T4))

    with pytest.raises(DatabaseRefused):
        console.say(NewWord(seen, RAHEL, WordKind.AGREE))
    now = console.result(case.case_id)
    assert now.digest != seen.digest
    assert not now.is_read
    with pytest.raises(InputRefused, match="that is to agree"):
        NewWord(now, RAHEL, WordKind.OVERRULE, "why", TStage.T4)


def test_a_withdrawn_models_result_takes_no_word(database, console, case):
    seen = console.result(case.case_id)
    registry = PostgresRegistry(database)
    registry.register(VERSION, a_manifest().to_json(), Path("x"), by="Ada", why="first")
    registry.change([Change(VERSION, "withdraw", "candidate", "withdrawn")], champion=None, by="Ada", why="wrong")

    with pytest.raises(InputRefused, match="no result that may be shown"):
        console.result(case.case_id)
    with pytest.raises(DatabaseRefused):
        console.say(NewWord(seen, RAHEL, WordKind.AGREE))


def test_what_was_seen_before_is_kept_with_the_word(console, case):
    about = console.result(case.case_id)
    console.give_own_stage(about, "rahel", TStage.T2)
    console.give_own_stage(about, "rahel", TStage.T4)
    console.note_shown({case.case_id: about.digest}, "rahel")
    agreed(console, case)
    agreed(console, case, OTTO)

    [mine, other] = console.of_case(case.case_id)
    assert (mine.own_stage, other.own_stage, other.ai_shown_at) == (TStage.T2, None, None)
    assert mine.own_stage_at < mine.ai_shown_at < mine.at


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"kind": WordKind.OVERRULE, "t_stage": TStage.T2}, "says why"),
        ({"kind": WordKind.OVERRULE, "why": "x"}, "gives a stage"),
        ({"kind": WordKind.AGREE, "t_stage": TStage.T2}, "nobody else"),
        ({"kind": WordKind.AGREE, "why": "x" * 2001}, "2001 characters"),
        ({"kind": WordKind.SLICE_MOVED}, "names it"),
    ],
)
def test_a_word_that_is_not_complete_is_refused(console, case, given, why):
    with pytest.raises(InputRefused, match=why):
        NewWord(console.result(case.case_id), RAHEL, **given)


# What the RIS is told


def test_each_word_is_a_message_and_a_word_taken_back_is_one_too(database, console, case):
    first = agreed(console, case)
    overruled(console, case, OTTO)
    console.withdraw(case.case_id, first, RAHEL, "")

    assert told(database) == [
        (1, MessageKind.RESULT, None),
        (2, MessageKind.READER, (True, None)),
        (3, MessageKind.READER, (False, TStage.T2)),
        (4, MessageKind.READER, (False, TStage.T2)),  # what Otto said holds
    ]


def test_a_word_that_cannot_be_told_is_not_kept(dsn, console, case, monkeypatch):
    monkeypatch.setattr(console, "_channels", ("no such system",))

    with pytest.raises(DatabaseRefused):
        agreed(console, case)
    assert console.of_case(case.case_id) == []


def test_the_same_result_again_does_not_take_the_readers_word_from_the_ris(database, book, console, case):
    agreed(console, case)
    book.save_staging(case.case_id, a_staging(VERSION, flags=()))
    book.advance(case.case_id, CaseState.COMMITTED)

    assert [kind for _, kind, _ in told(database)] == [MessageKind.RESULT, MessageKind.READER]


def test_without_a_ris_a_word_is_no_message(dsn, database, case):
    words = PostgresReaderWords(database)

    agreed(words, case)

    assert [kind for _, kind, _ in told(database)] == [MessageKind.RESULT]


# By the command line


@pytest.fixture
def gtr(dsn, tmp_path):
    """A function that runs a command with these settings; returns how it ended and what it wrote."""
    environment = as_environment(Config(database=logins(dsn)))

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, arguments, env={**environment, "COLUMNS": "200"})
        return done.exit_code, done.output

    return run


def test_a_site_without_the_console_keeps_words_by_name(gtr, database, case):
    assert gtr("case", "read", case.case_id, "--agree", "--by", "Dr Rahel")[0] == 0
    assert gtr("case", "read", case.case_id, "--overrule", "t2", "--why", "serosa", "--by", "Dr Rahel")[0] == 0

    code, listed = gtr("case", "words", case.case_id)

    assert code == 0
    assert "overrules T2" in listed
    words = PostgresReaderWords(database)
    assert standing(words, case) == [("Dr Rahel", "overrule", "T2")]
    assert words.of_case(case.case_id)[0].role == "named, not signed in"
    number = str(words.of_case(case.case_id)[1].number)
    assert gtr("case", "read", case.case_id, "--withdraw", number, "--by", "Dr Rahel")[0] == 0
    assert standing(words, case) == [("Dr Rahel", "agree", None)]


def test_the_list_of_words_says_what_was_seen_before_each(gtr, console, case):
    about = console.result(case.case_id)
    console.give_own_stage(about, "rahel", TStage.T2)
    console.note_shown({case.case_id: about.digest}, "rahel")
    agreed(console, case)

    [word] = console.of_case(case.case_id)
    listed = re.sub(r"\s+", " ", gtr("case", "words", case.case_id)[1])

    assert f"T2, {word.own_stage_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}" in listed
    assert f"{word.ai_shown_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}" in listed


def test_no_own_stage_is_kept_of_who_was_shown_the_result_before(console, case):
    about = console.result(case.case_id)
    console.note_shown({case.case_id: about.digest}, "rahel")

    console.give_own_stage(about, "rahel", TStage.T2)
    console.give_own_stage(about, "otto", TStage.T4)

    assert console.own_stage(about, "rahel") is None
    assert console.own_stage(about, "otto").t_stage is TStage.T4


def test_what_changed_since_it_was_read_is_not_noted_as_shown(console, dsn, case):
    console.note_shown({case.case_id: "0" * 64}, "rahel")

    assert execute(dsn, "select 1 from reader_shown") == []


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--agree", "--overrule", "T2"),
        ("--overrule", "T9", "--why", "x"),
        ("--overrule", "T2"),
        ("--withdraw", "77"),
    ],
)
def test_a_command_that_says_nothing_or_two_things_is_refused(gtr, database, case, arguments):
    code, _ = gtr("case", "read", case.case_id, *arguments, "--by", "Dr Rahel")

    assert code != 0
    assert PostgresReaderWords(database).of_case(case.case_id) == []
