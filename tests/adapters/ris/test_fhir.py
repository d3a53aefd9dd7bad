"""Results as FHIR R4: what the transaction holds, what a server's answers mean, and the file."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import attrs
import pytest
from typer.testing import CliRunner

from gtr_batch import wiring
from gtr_batch.cli.main import app
from gtr_batch.config import Config, FhirConfig, RisConfig
from gtr_batch.db import PostgresCases, PostgresDeliveries, PostgresNights
from gtr_batch.db.messages import PostgresResultMessages
from gtr_batch.db.registry import PostgresRegistry
from gtr_batch.domain.case import CaseState
from gtr_batch.domain.clinical import Covariates
from gtr_batch.domain.lifecycle import Change
from gtr_batch.domain.result_message import Channel, MessageKind, ResultMessage, SendingState
from gtr_batch.domain.staging import StageSet, TStage
from gtr_batch.errors import ConfigError, InputRefused, ReceiverUnreachable
from gtr_batch.fhir import bundle_of
from gtr_batch.loopback import free_port
from tests.adapters.db.test_cases import a_case, a_score, a_staging
from tests.builders import not_staged
from tests.case_moves import Moves
from tests.fixtures_db import logins
from tests.ris_receivers import ScriptedReceiver
from tests.settings import as_environment

VERSION = "b" * 64
AT = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
RESPONSE = json.dumps({"resourceType": "Bundle", "type": "transaction-response"}).encode()
CONFIG = FhirConfig(patient_system="urn:oid:1.2.276.0.76")


def a_message(**changes) -> ResultMessage:
    stage_set = StageSet(TStage.T2, TStage.T3, 0.9)
    made = ResultMessage(
        1, a_case(), 1, MessageKind.RESULT, VERSION, AT, a_staging(VERSION, stage_set=stage_set), a_score()
    )
    return attrs.evolve(made, **changes)


def resources(message: ResultMessage, config: FhirConfig = CONFIG) -> dict[str, dict]:
    """The resources of the transaction, by what they are."""
    entries = json.loads(bundle_of(message, config, "Europe/Paris"))["entry"]
    return dict(zip(("study", "stage", "nomogram", "report"), (e["resource"] for e in entries), strict=True))


def code_of(concept: dict) -> str:
    return concept["coding"][-1]["code"]


def components(resource: dict) -> dict[str, object]:
    found = {}
    for one in resource.get("component", ()):
        value = next(v for k, v in one.items() if k.startswith("value"))
        found[code_of(one["code"])] = value if isinstance(value, int) else value.get("value") or code_of(value)
    return found


def test_a_result_is_a_preliminary_report_of_two_observations_on_the_study():
    made = resources(a_message())

    report, stage = made["report"], made["stage"]
    assert {made[name]["status"] for name in ("report", "stage", "nomogram")} == {"preliminary"}
    assert stage["code"]["coding"][0] | {"display": ""} == {
        "system": "http://loinc.org", "code": "21905-5", "display": "",
    }  # fmt: skip
    assert code_of(stage["valueCodeableConcept"]) == "1228938002"  # SNOMED CT, cT3
    assert components(stage) == {
        "status": "ai_not_verified", "result_version": 1, "answer_by": "by_network", "prob_t1": 0.1, "prob_t2": 0.2,
        "prob_t3": 0.6, "prob_t4": 0.1, "set_lowest": "1228929004", "set_highest": "1228938002", "set_coverage": 0.9,
        "key_slice_source": "ks_ehr", "flag": "three_way_tie",
    }  # fmt: skip
    assert made["nomogram"]["valueQuantity"]["value"] == 120.5
    assert components(made["nomogram"]) == {"points_rad": 54.2, "missing": "cov_lauren"}
    assert report["conclusion"] == "AI result - not verified"
    assert report["effectiveDateTime"] == "2026-03-01T20:01:00+01:00"
    assert {r["subject"]["identifier"]["value"] for r in made.values()} == {"P1"}


def test_every_reference_leads_to_a_resource_of_the_transaction():
    bundle = json.loads(bundle_of(a_message(), CONFIG, "UTC"))

    urls = {entry["fullUrl"] for entry in bundle["entry"]}
    report = bundle["entry"][-1]["resource"]
    named = {one["reference"] for one in [*report["result"], *report["imagingStudy"]]}
    assert named < urls
    assert len(urls) == 4


def test_each_version_of_a_case_writes_the_same_resources():
    first, second = (
        [e["request"] for e in json.loads(bundle_of(a_message(version=v), CONFIG, "UTC"))["entry"]] for v in (1, 2)
    )

    assert first == second
    assert [one["method"] for one in first] == ["POST", "PUT", "PUT", "PUT"]
    assert first[0]["ifNoneExist"] == "identifier=urn:dicom:uid|urn:oid:1.2.1"


def test_a_case_without_a_stage_has_the_reason_instead():
    made = resources(a_message(staging=not_staged(a_staging(VERSION)), score=None))

    assert "valueCodeableConcept" not in made["stage"]
    assert code_of(made["stage"]["dataAbsentReason"]) == "unlike_reference"
    assert "prob_t1" not in components(made["stage"])
    assert code_of(made["nomogram"]["dataAbsentReason"]) == "not-performed"


def test_a_withdrawn_result_is_entered_in_error():
    made = resources(a_message(kind=MessageKind.WITHDRAWN, staging=None, score=None))

    assert {made[name]["status"] for name in ("report", "stage", "nomogram")} == {"entered-in-error"}
    assert code_of(made["stage"]["dataAbsentReason"]) == "ai_withdrawn"


def test_what_fhir_does_not_allow_is_refused_without_a_value():
    case = a_case(patient_id="", study_uid="1.2.1")
    with pytest.raises(InputRefused, match="PatientID is empty"):
        bundle_of(a_message(case=case), CONFIG, "UTC")


# Over HTTP


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, self.headers["Authorization"], json.loads(body)))
        status, answer = self.server.script.pop(0) if self.server.script else (200, RESPONSE)
        self.send_response(status)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@contextmanager
def server(*script: tuple[int, bytes]) -> Iterator[ThreadingHTTPServer]:
    """A small FHIR server, which keeps what it is sent."""
    made = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    made.daemon_threads, made.script, made.received = True, list(script), []
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


def settings(dsn: str, port: int, **changes: object) -> Config:
    fhir = FhirConfig(url=f"http://127.0.0.1:{port}/fhir", token="secret-token")
    return attrs.evolve(Config(database=logins(dsn), fhir=fhir, ris=RisConfig(first_wait_s=3600.0)), **changes)


@pytest.fixture
def messages(database) -> PostgresResultMessages:
    return PostgresResultMessages(database)


def commit(database, channels=(Channel.FHIR,)):
    book = Moves(PostgresNights(database), PostgresCases(database, channels), PostgresDeliveries(database))
    case = a_case()
    book.record([case])
    book.save_staging(case.case_id, a_staging(VERSION))
    book.save_score(case.case_id, a_score(), Covariates())
    book.advance(case.case_id, CaseState.COMMITTED)
    return case


def test_a_result_is_posted_once(dsn, database, messages):
    commit(database)

    with server() as there:
        first, again = (wiring.send_result_messages(settings(dsn, there.server_port)) for _ in range(2))

    [(path, token, bundle)] = there.received
    assert (first.taken, again.taken) == (1, 0)
    assert (path, token, bundle["type"]) == ("/fhir", "Bearer secret-token", "transaction")


@pytest.mark.parametrize(
    ("status", "body", "state", "answer"),
    [
        (422, b"{}", SendingState.DEAD, "HTTP 422"),
        (412, b"{}", SendingState.DEAD, "HTTP 412"),
        (401, b"{}", SendingState.WAITING, "HTTP 401"),
        (429, b"{}", SendingState.WAITING, "HTTP 429"),
        (503, b"{}", SendingState.WAITING, "HTTP 503"),
        (302, b"", SendingState.WAITING, "HTTP 302"),
        (200, b"<html>log in</html>", SendingState.WAITING, "HTTP 200, no answer of a FHIR server to a transaction"),
        (200, b'{"resourceType": "Bundle", "type": "batch-response"}', SendingState.WAITING,
         "HTTP 200, no answer of a FHIR server to a transaction"),
        (200, b"x" * (2 << 20), SendingState.WAITING, "HTTP 200, the answer is too long"),
    ],
)  # fmt: skip
def test_what_an_answer_means(dsn, database, messages, status, body, state, answer):
    commit(database)

    with server((status, body)) as there:
        wiring.send_result_messages(settings(dsn, there.server_port))

    (kept,) = messages.listed(list(SendingState), 10)
    assert (kept.channel, kept.state, kept.answer) == (Channel.FHIR, state, answer)


def test_a_system_that_is_down_keeps_nothing_from_the_other(dsn, database, messages):
    commit(database, [Channel.HL7, Channel.FHIR])

    with server() as there, pytest.raises(ReceiverUnreachable):
        wiring.send_result_messages(settings(dsn, there.server_port, ris=RisConfig(host="127.0.0.1", port=free_port())))
    with ScriptedReceiver() as ris:  # nothing is due over FHIR, so nobody asks that it is down
        wiring.send_result_messages(settings(dsn, free_port(), ris=RisConfig(host="127.0.0.1", port=ris.port)))

    assert (len(there.received), len(ris.received)) == (1, 1)
    assert {one.state for one in messages.listed(list(SendingState), 10)} == {SendingState.SENT}


def test_a_server_elsewhere_needs_https():
    with pytest.raises(ConfigError, match="https"):
        FhirConfig(url="http://fhir.hospital.example/r4")


# As a file


def test_a_case_is_written_into_a_file_for_a_named_person(dsn, database, monkeypatch, tmp_path: Path):
    case = commit(database, [])
    for name, value in as_environment(Config(database=logins(dsn))).items():
        monkeypatch.setenv(name, value)
    target = tmp_path / "case.json"

    nobody = CliRunner().invoke(app, ["case", "fhir", case.case_id, "--out", str(target), "--by", " ", "--why", "x"])
    done = CliRunner().invoke(
        app, ["case", "fhir", case.case_id, "--out", str(target), "--by", "Ada", "--why", "a study"]
    )

    assert nobody.exit_code != 0
    assert done.exit_code == 0, done.output
    assert json.loads(target.read_text())["entry"][1]["resource"]["status"] == "preliminary"
    assert target.stat().st_mode & 0o777 == 0o600
    assert case.patient_id not in done.output
    with wiring.open_site() as site:
        assert ("patient.look", "Ada") in [(e.action, e.actor) for e in site.trail.about([case.case_id])]


def test_the_file_of_a_withdrawn_models_result_says_so(dsn, database):
    case = commit(database, [])
    registry = PostgresRegistry(database)
    registry.register(VERSION, {"name": "m"}, Path("m"), by="training", why="a test")
    change = Change(VERSION, "withdraw", "candidate", "withdrawn")
    registry.change([change], champion=None, by="Ada", why="wrong")

    made = json.loads(wiring.fhir_of_case(case.case_id, by="Ada", why="a test", config=Config(database=logins(dsn))))

    assert made["entry"][-1]["resource"]["status"] == "entered-in-error"
    with pytest.raises(InputRefused, match="no case"):
        wiring.fhir_of_case("nothing", by="Ada", why="a test", config=Config(database=logins(dsn)))
