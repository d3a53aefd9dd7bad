"""Alerts: to whom they go, and what must never be in them."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
from airflow.sdk import Connection

from gtr_airflow import callbacks, hooks
from gtr_batch.errors import NightFailed


@pytest.fixture
def webhook():
    """A real web server on loopback, and what it was sent."""
    received = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.append((body, self.headers.get("Authorization")))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", received
    server.shutdown()
    server.server_close()


@pytest.fixture
def told(monkeypatch):
    sent = []
    monkeypatch.setattr(callbacks, "notify", lambda subject, text: sent.append((subject, text)))
    return sent


def _alerts(monkeypatch, **connection) -> None:
    given = Connection(conn_id="gtr_alerts", conn_type="gtr_alerts", **connection)
    monkeypatch.setattr(callbacks, "connection_or_none", lambda conn_id: given)
    monkeypatch.setattr(hooks.AlertHook, "get_conn", lambda self: given)


def _task(error: BaseException) -> dict:
    return {
        "ti": SimpleNamespace(dag_id="nightly_staging", task_id="close_night"),
        "dag_run": SimpleNamespace(run_id="scheduled__2026-03-01"),
        "exception": error,
    }


def _deadline(run_type: str) -> dict:
    run = {"dag_id": "nightly_staging", "dag_run_id": "r1", "run_type": run_type, "state": "running"}
    return {"dag_run": run, "deadline": {"deadline_time": "2026-03-02T06:30:00+00:00"}}


def test_an_alert_goes_to_the_webhook_with_its_token(monkeypatch, webhook):
    url, received = webhook
    _alerts(monkeypatch, host=url, password="secret")

    callbacks.notify("late", "the worklist is not ready")

    assert received == [({"subject": "late", "text": "the worklist is not ready"}, "Bearer secret")]


def test_an_alert_that_cannot_be_sent_does_not_raise_and_tells_no_address(monkeypatch, free_port, capsys):
    _alerts(monkeypatch, host=f"http://127.0.0.1:{free_port}/a-secret-path")

    callbacks.notify("late", "text")
    trouble = hooks.AlertHook().send("late", "text")

    assert trouble == ["webhook: ConnectError"]
    assert "a-secret-path" not in capsys.readouterr().out


def test_an_alert_without_a_connection_is_in_the_log_only(monkeypatch):
    monkeypatch.setattr(callbacks, "connection_or_none", lambda conn_id: None)
    logged = []
    monkeypatch.setattr(callbacks.log, "error", lambda event, **fields: logged.append((event, fields)))

    callbacks.notify("late", "text")

    assert logged == [("operations.alert", {"subject": "late", "text": "text"})]


def test_our_own_errors_are_told_in_their_words(told):
    callbacks.NotifyOperations()(_task(NightFailed("night 2026-03-01: 1 of 4 cases failed: c1: PacsBusy")))

    assert told == [
        (
            "nightly_staging failed in close_night",
            "Run scheduled__2026-03-01: night 2026-03-01: 1 of 4 cases failed: c1: PacsBusy",
        )
    ]


def test_of_other_errors_only_the_class_is_told_since_they_may_quote_a_patient(told):
    callbacks.NotifyOperations()(_task(ValueError("invalid value 'DOE^JANE' for PatientName")))

    assert told == [("nightly_staging failed in close_night", "Run scheduled__2026-03-01: ValueError")]


def test_a_scheduled_night_that_is_late_is_told(told):
    asyncio.run(callbacks.deadline_missed(context=_deadline("scheduled")))

    assert told[0][0] == "nightly_staging: the worklist is not ready"
    assert "was due at 2026-03-02T06:30" in told[0][1]


@pytest.mark.parametrize("run_type", ["manual", "backfill"])
def test_a_night_that_is_run_again_is_not_told_to_be_late(told, run_type):
    asyncio.run(callbacks.deadline_missed(context=_deadline(run_type)))

    assert told == []


def test_a_run_that_airflow_ended_is_told_and_a_failed_task_is_not_told_twice(told):
    run = SimpleNamespace(dag_id="nightly_staging", run_id="r1")

    callbacks.run_failed({"reason": "task_failure", "dag_run": run})
    callbacks.run_failed({"reason": "timed_out", "dag_run": run})

    assert [subject for subject, _ in told] == ["nightly_staging timed out"]
