"""Results to the RIS: each version once, whatever the RIS answers and wherever we are killed."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import psycopg2
import pytest

from gtr_batch import wiring
from gtr_batch.config import Config, RisConfig
from gtr_batch.db import Database, PostgresCases, PostgresDeliveries, PostgresNights
from gtr_batch.db.messages import PostgresResultMessages
from gtr_batch.db.queries import Query
from gtr_batch.db.registry import PostgresRegistry
from gtr_batch.db.switch import PostgresSwitch
from gtr_batch.domain.case import Case, CaseState, Step
from gtr_batch.domain.clinical import Covariates
from gtr_batch.domain.lifecycle import Change
from gtr_batch.domain.result_message import Channel, MessageKind, SendingState, wait_s
from gtr_batch.domain.staging import Flag
from gtr_batch.domain.switch import SwitchAction
from gtr_batch.domain.transitions import Reopening
from gtr_batch.errors import ConfigError, InputRefused, ReceiverUnreachable, ServiceStopped
from gtr_batch.loopback import free_port
from tests import ris_receivers as over_there
from tests.adapters.db.test_cases import a_case, a_score, a_staging
from tests.case_moves import Moves
from tests.certificates import Authority
from tests.fixtures_db import logins
from tests.ris_child import POINTS
from tests.ris_receivers import ScriptedReceiver, asyncio_receiver, control_id, says, threaded_receiver
from tests.settings import as_environment

VERSION = "a" * 64
ALL = list(SendingState)
WAITS = Query("waits", frozenset(), "select pid from pg_locks where not granted and locktype = 'advisory'")


@pytest.fixture
def book(database: Database) -> Moves:
    """Cases whose results the RIS is told."""
    return Moves(PostgresNights(database), PostgresCases(database, [Channel.HL7]), PostgresDeliveries(database))


@pytest.fixture
def messages(database: Database) -> PostgresResultMessages:
    return PostgresResultMessages(database)


def commit(book: Moves, number: int = 1, version: str = VERSION, flags: tuple[Flag, ...] = ()) -> Case:
    """A case with a result that the PACS has committed."""
    case = a_case(number, patient_id=f"PATIENT-{number}")
    book.record([case])
    book.save_staging(case.case_id, a_staging(version, flags))
    book.save_score(case.case_id, a_score(), Covariates())
    book.advance(case.case_id, CaseState.COMMITTED)
    return case


def settings(dsn: str, port: int, **changes: object) -> Config:
    given = {"answer_timeout_s": 20.0, "first_wait_s": 3600.0, "longest_wait_s": 7200.0, **changes}
    return Config(database=logins(dsn), ris=RisConfig(host="127.0.0.1", port=port, **given))


def make_due(dsn: str) -> None:
    """Let the time pass that messages wait."""
    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute("update result_sending set next_try_at = clock_timestamp() where state = 'waiting'")
    connection.close()


def states(messages: PostgresResultMessages) -> list[SendingState]:
    return [one.state for one in reversed(messages.listed(ALL, 100))]


@pytest.mark.parametrize("receiver", [asyncio_receiver, threaded_receiver])
def test_two_servers_that_are_not_ours_get_each_result_once(dsn, book, messages, receiver):
    cases, received = [commit(book, n) for n in (1, 2, 3)], []

    with receiver(received) as port:
        first = wiring.send_result_messages(settings(dsn, port))
        again = wiring.send_result_messages(settings(dsn, port))

    assert (first.taken, first.waiting, first.dead) == (3, 0, 0)
    assert again.taken == 0
    assert [m.split("OBR|1||")[1].split("|")[0] for m in received] == [c.case_id for c in cases]
    assert states(messages) == [SendingState.SENT] * 3


@pytest.mark.parametrize("receiver", [asyncio_receiver, threaded_receiver])
def test_over_tls_both_ends_show_a_certificate(dsn, book, messages, receiver, tmp_path):
    commit(book)
    authority, received = Authority(tmp_path, "ca"), []
    theirs, ours = authority.issue("ris"), authority.issue("gtr")
    stranger = Authority(tmp_path / "other", "other")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.ca)
    context.load_cert_chain(*theirs)
    context.verify_mode = ssl.CERT_REQUIRED

    with receiver(received, context) as port:
        with pytest.raises(ReceiverUnreachable):
            wiring.send_result_messages(settings(dsn, port, tls_ca=stranger.ca, tls_cert=ours[0], tls_key=ours[1]))
        assert messages.waiting(Channel.HL7).due == 1  # nothing was sent: it counts as no try
        sent = wiring.send_result_messages(settings(dsn, port, tls_ca=authority.ca, tls_cert=ours[0], tls_key=ours[1]))

    assert (sent.taken, len(received)) == (1, 1)


def test_a_certificate_that_is_not_there_is_a_setting_to_mend(dsn, book, tmp_path):
    with pytest.raises(ConfigError, match=r"ris\.tls_ca"):
        wiring.send_result_messages(settings(dsn, 1, tls_ca=str(tmp_path / "none.pem")))


@pytest.fixture(scope="module")
def child():
    """A function that lets a process of ours send and be killed at a point; returns how it ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ris_child"],
        cwd=Path(__file__).resolve().parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def killed_at(point: str, config: Config) -> int:
        process.stdin.write(json.dumps([point, as_environment(config)]) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    yield killed_at
    process.communicate()


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_a_result_goes_out_under_one_control_id_and_is_taken(dsn, book, messages, child, point):
    commit(book)

    with ScriptedReceiver() as ris:
        ended = child(point, settings(dsn, ris.port))
        make_due(dsn)
        wiring.send_result_messages(settings(dsn, ris.port))
        wiring.send_result_messages(settings(dsn, ris.port))

    sent_before = point in ("after it is sent", "after it is answered", "before the answer is noted")
    assert ended == -9
    assert len(ris.received) == (2 if sent_before else 1)
    assert len({control_id(m) for m in ris.received}) == 1
    assert states(messages) == [SendingState.SENT]


def test_a_message_whose_try_was_cut_off_is_not_taken_in_hand_by_another_at_once(dsn, book, messages):
    commit(book)

    assert messages.claim(Channel.HL7, 600.0) is not None
    assert messages.claim(Channel.HL7, 600.0) is None


@pytest.mark.parametrize(
    ("behaviour", "answer"),
    [
        (says("AR"), "AR"),
        (says("CR", "207"), "CR 207"),
        (over_there.silent, "no answer in time"),
        (over_there.hangs_up, "connection ended without an answer"),
        (over_there.half_closes, "connection ended without an answer"),
        (over_there.half_an_answer, "connection ended inside the answer"),
        (over_there.of_another, "the answer is about another message"),
        (over_there.no_frame, "the answer is no frame of MLLP"),
        (over_there.endless, "the answer is too long"),
    ],
)
def test_what_is_not_answered_waits_and_is_sent_again(dsn, book, messages, behaviour, answer):
    commit(book)
    timeout = 0.5 if behaviour is over_there.silent else 20.0

    with ScriptedReceiver(behaviour) as ris:
        first = wiring.send_result_messages(settings(dsn, ris.port, answer_timeout_s=timeout))
        (kept,) = messages.listed(ALL, 10)
        assert wiring.send_result_messages(settings(dsn, ris.port)).taken == 0  # its time has not come
        make_due(dsn)
        then = wiring.send_result_messages(settings(dsn, ris.port))

    assert (first.waiting, kept.state, kept.answer, kept.tries) == (1, SendingState.WAITING, answer, 1)
    assert kept.next_try_at - kept.tried_at > timedelta(minutes=59)
    assert (then.taken, len({control_id(m) for m in ris.received})) == (1, 1)


@pytest.mark.parametrize("code", ["AE", "CE"])
def test_what_the_ris_refuses_for_its_content_is_a_dead_letter_until_a_person_has_it_sent_again(
    dsn, book, messages, code
):
    commit(book)

    with ScriptedReceiver(says(code, "207")) as ris:
        config = settings(dsn, ris.port)
        assert wiring.send_result_messages(config).dead == 1
        (dead,) = messages.listed([SendingState.DEAD], 10)
        assert wiring.send_result_messages(config).taken == 0
        messages.resend(dead.message_id, Channel.HL7, by="Ada", why="the RIS was mended")
        assert wiring.send_result_messages(config).taken == 1

    assert dead.answer == f"{code} 207"  # and nothing of the text, which names somebody
    assert len({control_id(m) for m in ris.received}) == 1


def test_what_is_never_answered_becomes_a_dead_letter(dsn, book, messages):
    commit(book)

    with ScriptedReceiver(says("AR"), says("AR")) as ris:
        config = settings(dsn, ris.port, max_tries=2)
        wiring.send_result_messages(config)
        make_due(dsn)
        assert wiring.send_result_messages(config).dead == 1

    assert states(messages) == [SendingState.DEAD]


def test_a_ris_that_takes_no_connection_costs_no_message_a_try(dsn, book, messages):
    commit(book)

    with pytest.raises(ReceiverUnreachable):
        wiring.send_result_messages(settings(dsn, free_port()))

    (kept,) = messages.listed(ALL, 10)
    assert (kept.state, kept.tries) == (SendingState.WAITING, 0)


def test_after_three_messages_without_an_answer_the_others_wait(dsn, book, messages):
    for number in range(1, 6):
        commit(book, number)

    with ScriptedReceiver(*[says("AR")] * 5) as ris, pytest.raises(ReceiverUnreachable, match="3 messages in a row"):
        wiring.send_result_messages(settings(dsn, ris.port))

    assert len(ris.received) == 3
    assert messages.waiting(Channel.HL7).due == 2


def test_waiting_doubles_up_to_its_longest():
    assert [wait_s(n, 60, 3600) for n in (1, 2, 3, 7, 8, 500)] == [60, 120, 240, 3600, 3600, 3600]


# What is written, and when


def test_a_result_is_written_with_the_state_committed_or_not_at_all(database, book, messages, monkeypatch):
    case = a_case()
    book.record([case])
    book.save_staging(case.case_id, a_staging(VERSION, ()))
    book.advance(case.case_id, CaseState.STORED)
    assert messages.listed(ALL, 10) == []

    def fails(*_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as cut:
        cut.setattr("gtr_batch.db.messages.write_result", fails)
        with pytest.raises(RuntimeError):
            book.advance(case.case_id, CaseState.COMMITTED)
    assert book.get(case.case_id).state is CaseState.STORED

    book.advance(case.case_id, CaseState.COMMITTED)
    (one,) = messages.listed(ALL, 10)
    assert (one.kind, one.version, one.state) == (MessageKind.RESULT, 1, SendingState.WAITING)


def test_without_a_ris_nothing_is_written(database, messages):
    commit(Moves.on(database))

    assert messages.listed(ALL, 10) == []


def test_the_same_result_again_is_no_message_and_another_one_is_the_next_version(book, messages):
    case = commit(book)
    for flags in ((), (Flag.TIE,)):
        with book.cases.step(case.case_id, Step.INTAKE) as record:
            record.reopen(Reopening("the series has grown"))
        book.save_staging(case.case_id, a_staging(VERSION, flags))
        book.save_score(case.case_id, a_score(), Covariates())
        book.advance(case.case_id, CaseState.COMMITTED)

    found = messages.listed(ALL, 10)
    assert [(m.version, m.kind) for m in found] == [(2, MessageKind.CHANGED), (1, MessageKind.RESULT)]


def test_a_later_version_waits_for_the_earlier_one(dsn, book, messages):
    case = commit(book)
    book.save_staging(case.case_id, a_staging(VERSION, (Flag.TIE,)))
    book.advance(case.case_id, CaseState.COMMITTED)

    with ScriptedReceiver(says("AR")) as ris:
        wiring.send_result_messages(settings(dsn, ris.port))
        make_due(dsn)
        wiring.send_result_messages(settings(dsn, ris.port))

    versions = [m.split("result_version^")[1].split("||")[1].split("|")[0] for m in ris.received]
    assert versions == ["1", "1", "2"]
    with pytest.raises(InputRefused, match="would take the newer one's place"):
        messages.resend(messages.listed(ALL, 10)[-1].message_id, Channel.HL7, by="Ada", why="lost")


# A model that is withdrawn


@pytest.fixture
def withdraw(database: Database):
    """A function that withdraws the model."""
    registry = PostgresRegistry(database)
    registry.register(VERSION, {"name": "m"}, Path("m"), by="training", why="a test")
    change = Change(VERSION, "withdraw", "candidate", "withdrawn")
    return lambda: registry.change([change], champion=None, by="Ada", why="wrong")


def test_a_withdrawn_model_takes_back_what_went_out_and_lets_nothing_else_go(dsn, book, messages, withdraw):
    went_out = commit(book, 1)

    with ScriptedReceiver() as ris:
        config = settings(dsn, ris.port)
        wiring.send_result_messages(config)
        commit(book, 2)
        withdraw()
        commit(book, 3)  # a step that was at work meanwhile
        wiring.send_result_messages(config)

    first, last = ris.received
    assert went_out.case_id in last
    assert "OBX|1||21905-5^Primary tumor.clinical [Class] Cancer^LN||||||||X|" in last
    assert "ai_withdrawn" in last
    assert control_id(first) != control_id(last)
    assert states(messages) == [
        SendingState.SENT, SendingState.SUPERSEDED, SendingState.SENT, SendingState.SUPERSEDED,
    ]  # fmt: skip


def test_a_result_that_may_have_gone_out_is_taken_back_too(dsn, book, messages, withdraw):
    commit(book)

    with ScriptedReceiver(over_there.hangs_up) as ris:
        config = settings(dsn, ris.port)
        wiring.send_result_messages(config)
        withdraw()
        make_due(dsn)
        wiring.send_result_messages(config)

    assert [("|X|" in m) for m in ris.received] == [False, True]
    assert states(messages) == [SendingState.SUPERSEDED, SendingState.SENT]


# Who may see and stop it


def test_the_stop_switch_lets_nothing_go(dsn, database, book, messages):
    commit(book)
    PostgresSwitch(database).decide(SwitchAction.STOP, by="Ada", why="a test")

    with ScriptedReceiver() as ris, pytest.raises(ServiceStopped):
        wiring.send_result_messages(settings(dsn, ris.port))

    assert (ris.received, messages.waiting(Channel.HL7).due) == ([], 1)


def test_that_a_result_went_out_is_in_the_audit_trail_and_no_patient_is_in_any_log(dsn, book, messages, capsys):
    case = commit(book)
    with ScriptedReceiver(says("AR"), says("AE", "207")) as ris:
        config = settings(dsn, ris.port)
        wiring.send_result_messages(config)
        make_due(dsn)
        wiring.send_result_messages(config)
        messages.resend(1, Channel.HL7, by="Ada", why="mended")
        wiring.send_result_messages(config)

    with wiring.open_site(config) as site:
        did = [(e.action, e.actor) for e in site.trail.about([case.case_id])]
    assert did[-2:] == [("report.resend", "Ada"), ("report.message", "gtr-batch")]
    logged = "".join(capsys.readouterr())
    assert case.case_id in logged and control_id(ris.received[0]) in logged
    assert not [word for word in (case.patient_id, case.accession_number, "nobody must see") if word in logged]


def test_a_withdrawal_waits_for_a_step_that_writes(dsn, database, book, messages, withdraw):
    """Versions are counted by one at a time, in the order in which they are committed."""
    commit(book, 1)
    with ScriptedReceiver(says("AR")) as ris:
        wiring.send_result_messages(settings(dsn, ris.port))  # tried: it may have gone out
    step = psycopg2.connect(dsn)
    with step.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock_shared(hashtext('gtr_batch.result_message'))")
    withdrawal = threading.Thread(target=withdraw)
    withdrawal.start()

    with database.transaction() as tx:
        while not tx.all(WAITS):
            assert withdrawal.is_alive()
    assert [m.kind for m in messages.listed(ALL, 10)] == [MessageKind.RESULT]
    step.rollback()
    step.close()
    withdrawal.join()

    assert [m.kind for m in messages.listed(ALL, 10)] == [MessageKind.WITHDRAWN, MessageKind.RESULT]
