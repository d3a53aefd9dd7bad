"""ADT^A40 at the port: what is taken, what is not, what a stranger can do; and what becomes of the cases."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import psycopg2
import pytest
from hl7.client import MLLPClient

from gtr_batch.config import DatabaseConfig, RisConfig
from gtr_batch.db import Database, PostgresCases, PostgresClinicalSource, PostgresDeliveries, PostgresNights
from gtr_batch.db.merges import PostgresPatientMerges
from gtr_batch.db.messages import PostgresResultMessages
from gtr_batch.domain.case import CaseState
from gtr_batch.domain.identity import PatientIdentity
from gtr_batch.domain.patient_merge import PatientMerge
from gtr_batch.domain.result_message import Channel
from gtr_batch.domain.series import StudyRecord
from gtr_batch.errors import ConfigError, InputRefused
from gtr_batch.governance.merges import apply_merges
from gtr_batch.loopback import free_port
from gtr_batch.ris import MergeListener, result_message
from gtr_batch.ris import listener as listening
from tests.adapters.db.test_cases import NIGHT, a_case, a_staging
from tests.case_moves import Moves
from tests.certificates import Authority
from tests.nights.small_site import small_site


def a40(*pairs: tuple[str, str], control_id: str = "M1", event: str = "ADT^A40^ADT_A39", charset: str = "") -> str:
    """A message: each pair an old PatientID and the one that holds from now on."""
    msh = f"MSH|^~\\&|ADT|HOSPITAL|GTRBATCH|RADIOLOGY|20260301||{event}|{control_id}|P|2.5.1||||||{charset}"
    body = "".join(f"PID|1||{new}||Doe^Jane\rMRG|{old}\r" for old, new in pairs)
    return f"{msh}\rEVN|A40|20260301\r{body}"


@contextlib.contextmanager
def listener(config: RisConfig, merges: object, applied: Callable[[], object] | None = None) -> Iterator[None]:
    """A listener that runs meanwhile, in a thread of its own."""
    ready, running = threading.Event(), {}

    async def run() -> None:
        running["listener"] = MergeListener(config, merges, applied)
        running["loop"] = asyncio.get_running_loop()
        await running["listener"].run(ready.set)

    thread = threading.Thread(target=asyncio.run, args=[run()])
    thread.start()
    assert ready.wait(60)
    try:
        yield
    finally:
        running["loop"].call_soon_threadsafe(running["listener"].stop)
        thread.join()


def settings(**changes: object) -> RisConfig:
    given = {"listen_port": free_port(), "listen_peers": ("127.0.0.0/8",), **changes}
    return RisConfig(**given)


@pytest.fixture(scope="module")
def merges(module_dsn: str) -> Iterator[PostgresPatientMerges]:
    database = Database(DatabaseConfig(dsn=module_dsn))
    yield PostgresPatientMerges(database)
    database.close()


@pytest.fixture(scope="module")
def port(merges: PostgresPatientMerges) -> Iterator[int]:
    """A listener for all tests of what is said over the port; each test has patients of its own."""
    config = settings()
    with listener(config, merges):
        yield config.listen_port


def sent(port: int, *messages: str | bytes) -> list[tuple[str, str, str]]:
    """Code, control id and error code of each acknowledgement, by a client that is not ours."""
    found = []
    with MLLPClient("127.0.0.1", port, encoding="utf-8") as client:
        for message in messages:
            text = client.send_message(message).decode()
            segments = {s.split("|", maxsplit=1)[0]: s.split("|") for s in text.strip("\x0b\x1c\r").split("\r")}
            error = segments["ERR"][3].split("^")[0] if "ERR" in segments else ""
            found.append((segments["MSA"][1], segments["MSA"][2], error))
    return found


def known(merges: PostgresPatientMerges, *patients: str) -> list[tuple[str, str]]:
    return [(m.old.patient_id, m.new.patient_id) for m in merges.merges(patients)]


def test_a_merge_is_kept_and_then_acknowledged(port, merges):
    assert sent(port, a40(("K1^^^H^PI", "K2^^^H^PI"), control_id="K")) == [("AA", "K", "")]
    assert known(merges, "K1") == [("K1", "K2")]


def test_a_message_that_comes_again_is_acknowledged_again_and_kept_once(port, merges):
    message = a40(("R1", "R2"), control_id="R")

    assert sent(port, message, message) == [("AA", "R", "")] * 2
    assert sent(port, a40(("R1", "R3"), control_id="R")) == [("AE", "R", "205")]
    assert known(merges, "R1") == [("R1", "R2")]


def test_several_pairs_are_kept_together_or_not_at_all(port, merges):
    both = a40(("S1", "S2"), ("S3", "S4"), control_id="S")
    bad = a40(("S5", "S6"), ("S1", "S9"), control_id="S-bad")  # S1 is S2 already

    assert sent(port, both, bad) == [("AA", "S", ""), ("AE", "S-bad", "205")]
    assert known(merges, "S1", "S3", "S5") == [("S1", "S2"), ("S3", "S4")]


def test_chains_and_cycles_are_taken_as_they_come(port, merges):
    said = [("C1", "C2"), ("C2", "C3"), ("C3", "C1")]

    answers = sent(port, *(a40(pair, control_id=f"C{n}") for n, pair in enumerate(said)))

    assert [code for code, _, _ in answers] == ["AA"] * 3
    assert known(merges, "C1") == said


def test_a_patient_whom_nobody_knows_is_acknowledged_and_kept(port, merges):
    assert sent(port, a40(("nobody-1", "nobody-2"), control_id="U")) == [("AA", "U", "")]
    assert known(merges, "nobody-1") == [("nobody-1", "nobody-2")]


def test_delimiters_and_accents_in_a_number_are_what_they_mean(port, merges):
    latin = a40((r"E\T\1", "É2"), control_id="E2", charset="8859/1").encode("latin-1")

    assert sent(port, a40((r"E\S\1", "É1"), control_id="E1", charset="UNICODE UTF-8"), latin)[0][0] == "AA"
    assert known(merges, "E^1", "E&1") == [("E^1", "É1"), ("E&1", "É2")]


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        (a40(("X1", "X2"), event="ADT^A08^ADT_A01"), ("AR", "M1", "201")),
        (a40(("X1", "X2"), event="ORU^R01^ORU_R01"), ("AR", "M1", "200")),
        (a40(), ("AE", "M1", "101")),
        (a40(("X1", "X2")).replace("MRG|", "ZMR|"), ("AE", "M1", "101")),
        (a40(("X1", "X2"), ("X3", "X4")).replace("\rMRG|X1", ""), ("AE", "M1", "101")),
        (a40(("", "X2")), ("AE", "M1", "101")),
        (a40(("X1", "")), ("AE", "M1", "101")),
        (a40(("X1", "X1")), ("AE", "M1", "205")),
        (a40(("X1", "X2~X3")), ("AE", "M1", "205")),
        (a40(("X1", "x" * 65)), ("AE", "M1", "102")),
        (a40(("X1", r"X\X0A\2")), ("AE", "M1", "102")),
        (a40(("X1", "X2"), control_id=""), ("AE", "", "101")),
        (a40(("X1", "X2")).replace("^~\\&", "^~\\#"), ("AR", "M1", "102")),
        ("nothing of HL7", ("AR", "", "102")),
        (a40(("X1", "é")).encode("latin-1"), ("AE", "M1", "102")),
    ],
)
def test_what_is_not_taken_is_answered_with_the_reason_and_keeps_nothing(port, merges, message, answer):
    assert sent(port, message) == [answer]
    assert known(merges, "X1", "X3", "") == []


def test_only_numbers_of_our_authority_are_ours(merges):
    config = settings(assigning_authority="H")
    with listener(config, merges):
        answers = sent(
            config.listen_port,
            a40(("A1^^^H^PI~77^^^OTHER", "A2^^^H~78^^^OTHER"), control_id="A"),
            a40(("B1^^^OTHER", "B2^^^OTHER"), control_id="B"),
        )

    assert answers == [("AA", "A", ""), ("AE", "B", "204")]
    assert known(merges, "A1", "77", "B1") == [("A1", "A2")]


def test_without_a_database_the_sender_is_told_to_try_again():
    nowhere = PostgresPatientMerges(Database(DatabaseConfig(dsn=f"host=127.0.0.1 port={free_port()} user=x dbname=x")))
    config = settings()

    with listener(config, nowhere):
        assert sent(config.listen_port, a40(("D1", "D2"))) == [("AR", "M1", "207")]


def test_what_was_kept_and_not_acknowledged_is_acknowledged_when_it_comes_again(port, merges):
    """Killed between commit and acknowledgement: the sender repeats."""
    merge = PatientMerge(PatientIdentity("L1"), PatientIdentity("L2"))
    merges.receive("ADT|HOSPITAL", "L", [merge], peer="127.0.0.1")

    assert sent(port, a40(("L1", "L2"), control_id="L")) == [("AA", "L", "")]
    assert known(merges, "L1") == [("L1", "L2")]


# Strangers


def ends(connection: socket.socket) -> bool:
    """Whether the other side ends the connection, having said nothing."""
    connection.settimeout(60)
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_an_address_that_is_not_allowed_is_not_heard(merges):
    config = settings(listen_peers=("10.0.0.0/8",))

    with listener(config, merges), socket.create_connection(("127.0.0.1", config.listen_port)) as stranger:
        assert ends(stranger)


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x0b" + b"x" * (listening.LONGEST + 70_000)])
def test_what_is_no_frame_or_too_long_ends_the_connection(port, said):
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        with contextlib.suppress(ConnectionError):
            stranger.sendall(said)
        assert ends(stranger)


def test_a_sender_that_does_not_end_its_message_is_cut_off(merges):
    config = settings(listen_timeout_s=0.3)

    with listener(config, merges), socket.create_connection(("127.0.0.1", config.listen_port)) as slow:
        slow.sendall(b"\x0bMSH|")
        assert ends(slow)


def test_silent_connections_cannot_keep_the_place_of_all(port, monkeypatch):
    monkeypatch.setattr(listening, "MOST", 2)
    with contextlib.ExitStack() as open_ones:
        first = [open_ones.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(2)]
        for one in first:
            one.sendall(b"\x0b" + a40(("Q", "Q")).encode() + b"\x1c\r")
            assert one.recv(1) == b"\x0b"
        assert ends(open_ones.enter_context(socket.create_connection(("127.0.0.1", port))))


def test_with_tls_only_a_certificate_of_our_authority_is_heard(merges, tmp_path):
    ours, other = Authority(tmp_path / "ours", "ours"), Authority(tmp_path / "other", "other")
    certificate, key = ours.issue("gtr")
    config = settings(tls_ca=ours.ca, tls_cert=certificate, tls_key=key)
    frame = b"\x0b" + a40(("T1", "T2"), control_id="T").encode() + b"\x1c\r"

    def said(authority: Authority) -> bytes:
        context = ssl.create_default_context(cafile=ours.ca)
        context.load_cert_chain(*authority.issue("ris"))
        plain = socket.create_connection(("127.0.0.1", config.listen_port))
        try:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
                secure.settimeout(60)
                secure.sendall(frame)
                return secure.recv(4096)
        except OSError:
            return b""

    with listener(config, merges):
        assert said(other) == b""
        assert b"MSA|AA|T" in said(ours)


def test_who_listens_says_who_may_connect():
    with pytest.raises(ConfigError, match=r"ris\.listen_peers"):
        RisConfig(listen_port=2576)
    with pytest.raises(ConfigError, match="an address or a network"):
        RisConfig(listen_port=2576, listen_peers=("ris.hospital.example",))


def test_no_number_is_in_any_log(port, capsys):
    sent(port, a40(("SECRET-1", "SECRET-2"), control_id="Z1"), a40(("SECRET-1", "SECRET-3"), control_id="Z2"))

    logged = "".join(capsys.readouterr())
    assert "merge.kept" in logged
    assert "merge.refused" in logged
    assert "SECRET" not in logged and "Doe" not in logged


# What becomes of the cases


class Merged:
    """The PACS as far as a rekeying asks it: under which PatientID it lists each study."""

    def __init__(self) -> None:
        self.lists: dict[str, str] = {}

    def find_study(self, study_uid: str) -> list[StudyRecord]:
        patient = self.lists.get(study_uid)
        return [StudyRecord(study_uid, patient, "", None, "", ("CT",))] if patient else []


@pytest.fixture
def clinic(database: Database, dsn: str, tmp_path) -> SimpleNamespace:
    """Cases and merges in Postgres, a PACS that merges when a test says so, and an EHR that knows who a test says."""
    book = Moves(PostgresNights(database), PostgresCases(database, [Channel.HL7]), PostgresDeliveries(database))
    site = small_site(tmp_path)
    site.cases, site.archive, site.clinical = book.cases, Merged(), PostgresClinicalSource(database)
    merges = PostgresPatientMerges(database)

    def enter(*patients: str) -> None:
        connection = psycopg2.connect(dsn)
        with connection, connection.cursor() as cursor:
            for patient in patients:
                cursor.execute("insert into ehr_patient values (%s, 'female', '1960-01-01')", [patient])
                cursor.execute(
                    "insert into ehr_biopsy (patient_id, biopsy_date, site, adenocarcinoma)"
                    " values (%s, '2026-02-01', 'stomach', true)",
                    [patient],
                )
        connection.close()

    def merge(*pairs: str) -> None:
        for old, new in pairs:
            said = [PatientMerge(PatientIdentity(f"P{old}"), PatientIdentity(f"P{new}"))]
            number = len(merges.merges([f"P{n}" for n in range(1, 10)]))
            merges.receive("ADT|H", f"M{number}", said, peer="127.0.0.1")

    def find(number: int, reached: CaseState = CaseState.FOUND):
        case = a_case(number)
        book.record([case])
        if reached is CaseState.COMMITTED:
            book.save_staging(case.case_id, a_staging())
        book.advance(case.case_id, reached)
        site.archive.lists[case.study_uid] = case.patient_id
        return case

    return SimpleNamespace(book=book, site=site, merges=merges, database=database, enter=enter, merge=merge, find=find)


def patient_of(clinic, case) -> str:
    return clinic.book.get(case.case_id).patient_id


@pytest.mark.parametrize("reached", [CaseState.FOUND, CaseState.REPORTED, CaseState.COMMITTED])
def test_a_case_is_rekeyed_once_the_pacs_has_merged_too(clinic, reached):
    clinic.enter("P1", "P2")
    case = clinic.find(1, reached)
    clinic.merge("12")

    early = apply_merges(clinic.site, clinic.merges)
    clinic.site.archive.lists[case.study_uid] = "P2"
    done, again = (apply_merges(clinic.site, clinic.merges) for _ in range(2))

    assert list(early.waiting) == [case.case_id]
    assert (done.rekeyed, again.rekeyed, again.waiting) == ((case.case_id,), (), {})
    after = clinic.book.get(case.case_id)
    assert after.patient_id == "P2"
    assert after.state is (CaseState.COMMITTED if reached is CaseState.COMMITTED else CaseState.FOUND)
    [event] = [e for e in clinic.book.events(case.case_id) if e["detail"].get("rekeyed")]
    assert (event["detail"]["by"], event["detail"]["why"]) == ("RIS", "patients were merged (ADT^A40)")


def test_a_chain_is_followed_as_far_as_the_pacs_has_come(clinic):
    clinic.enter("P2", "P3")
    case = clinic.find(1)
    clinic.merge("12", "23")

    clinic.site.archive.lists[case.study_uid] = "P2"
    apply_merges(clinic.site, clinic.merges)
    half = patient_of(clinic, case)
    clinic.site.archive.lists[case.study_uid] = "P3"
    apply_merges(clinic.site, clinic.merges)

    assert (half, patient_of(clinic, case)) == ("P2", "P3")


def test_a_cycle_ends_with_the_number_of_before(clinic):
    clinic.enter("P1", "P2")
    case = clinic.find(1)
    for pair, listed in (("12", "P2"), ("21", "P1")):
        clinic.merge(pair)
        clinic.site.archive.lists[case.study_uid] = listed
        assert apply_merges(clinic.site, clinic.merges).rekeyed == (case.case_id,)

    assert patient_of(clinic, case) == "P1"
    assert apply_merges(clinic.site, clinic.merges) == apply_merges(clinic.site, clinic.merges)


def test_a_case_that_is_found_later_under_the_old_number_is_known_by_it(clinic):
    """The EHR has the patient under the new number alone, and the PACS merges later."""
    clinic.enter("P2")
    clinic.merge("12")
    assert clinic.site.clinical.known(["P1", "P3"]) == {"P1"}
    assert clinic.site.clinical.facts("P1", "1.2.1", NIGHT).gastric_adenocarcinoma is True

    case = clinic.find(1)
    waits = apply_merges(clinic.site, clinic.merges)
    clinic.site.archive.lists[case.study_uid] = "P2"
    apply_merges(clinic.site, clinic.merges)

    assert list(waits.waiting) == [case.case_id]
    assert patient_of(clinic, case) == "P2"


def test_a_patient_whom_the_ehr_does_not_know_yet_waits_and_says_so(clinic):
    clinic.enter("P1")
    case = clinic.find(1)
    clinic.merge("12")
    clinic.site.archive.lists[case.study_uid] = "P2"

    applied = apply_merges(clinic.site, clinic.merges)

    assert "EHR" in applied.waiting[case.case_id]
    assert patient_of(clinic, case) == "P1"


def test_a_result_goes_to_the_ris_under_the_number_that_the_ris_has(clinic):
    """The PACS, and so the case, may have the old one still."""
    clinic.enter("P1", "P2")
    case = clinic.find(1, CaseState.COMMITTED)
    clinic.merge("12")

    message = PostgresResultMessages(clinic.database).claim(Channel.HL7, 60.0)

    assert "PID|1||P2^^^^PI|" in result_message(message, RisConfig(), "UTC")
    assert patient_of(clinic, case) == "P1"


def test_contradictions_are_refused_and_change_nothing(clinic):
    clinic.merge("12")
    said = [PatientMerge(PatientIdentity("P1"), PatientIdentity("P3"))]

    with pytest.raises(InputRefused, match="a person must look"):
        clinic.merges.receive("ADT|H", "other", said, peer="127.0.0.1")
    with pytest.raises(InputRefused, match="said something else"):
        clinic.merges.receive("ADT|H", "M0", said, peer="127.0.0.1")

    assert known(clinic.merges, "P1") == [("P1", "P2")]


def test_what_is_kept_is_applied_at_once_where_it_can_be(merges):
    config, done = settings(), threading.Event()

    with listener(config, merges, done.set):
        sent(config.listen_port, a40(("W1", "W2"), control_id="W"))
        assert done.wait(60)
