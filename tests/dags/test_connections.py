"""Airflow's connections: offered in the form, tested by its button, and read as our settings."""

from __future__ import annotations

import json

import attrs
import pytest
from airflow.sdk import Connection

from gtr_airflow import connections
from gtr_airflow.provider import get_provider_info
from gtr_batch.config import PacsConfig, load
from gtr_batch.errors import ConfigError


@pytest.fixture
def no_connections(monkeypatch):
    monkeypatch.setattr(connections, "connection_or_none", lambda conn_id: None)


def _dicom(**extra) -> Connection:
    return Connection(conn_id="gtr_pacs", conn_type="dicom", host="127.0.0.1", port=104, extra=json.dumps(extra))


def _types() -> dict[str, dict]:
    return {one["connection-type"]: one for one in get_provider_info()["connection-types"]}


def test_the_connection_form_offers_a_pacs_and_the_alerts():
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    offered = {meta.connection_type: meta for meta in HookMetaService.hook_meta_data()}

    pacs = offered["dicom"]
    assert pacs.hook_name == "DICOM PACS"
    assert list(pacs.extra_fields) == list(connections.DICOM_FIELDS)
    assert pacs.extra_fields["retrieve_mode"]["schema"]["enum"] == ["get", "move", None]
    assert pacs.standard_fields.password.hidden
    assert offered["gtr_alerts"].standard_fields.host.title == "Webhook URL"


def test_airflow_accepts_what_the_provider_says_of_itself():
    from airflow.providers_manager import _create_provider_info_schema_validator

    _create_provider_info_schema_validator().validate(get_provider_info())


def test_every_field_of_the_form_is_a_setting_of_ours():
    settings = {a.name for a in attrs.fields(PacsConfig)}

    assert set(_types()["dicom"]["conn-fields"]) == set(connections.DICOM_FIELDS) <= settings


def test_the_hooks_that_the_provider_names_exist_and_agree_with_it():
    from airflow.sdk.module_loading import import_string

    for conn_type, one in _types().items():
        hook = import_string(one["hook-class-name"])
        assert (hook.conn_type, hook.hook_name) == (conn_type, one["hook-name"])
        assert hook.default_conn_name and hook.conn_name_attr


def test_a_pacs_connection_overrides_the_settings():
    given = _dicom(called_ae_title="ORTHANC", retrieve_mode="move", move_port=11113, commitment_timeout_s=30)

    pacs = load(environ=connections.pacs_settings(given)).pacs

    assert (pacs.host, pacs.port, pacs.called_ae_title) == ("127.0.0.1", 104, "ORTHANC")
    assert (pacs.retrieve_mode, pacs.move_port, pacs.commitment_timeout_s) == ("move", 11113, 30.0)


def test_an_empty_field_overrides_nothing():
    given = Connection(conn_id="gtr_pacs", conn_type="dicom", host="", extra=json.dumps({"calling_ae_title": ""}))

    assert connections.pacs_settings(given) == {}


def test_an_impossible_field_is_refused_as_a_setting():
    with pytest.raises(ConfigError, match="retrieve_mode"):
        load(environ=connections.pacs_settings(_dicom(retrieve_mode="push")))


def test_a_postgres_connection_becomes_a_dsn_whatever_its_password():
    from psycopg2.extensions import parse_dsn

    given = Connection(
        conn_id="gtr_postgres",
        conn_type="postgres",
        host="db",
        port=5433,
        login="gtr_app",
        password="it's a \\ pass@word/%",
        schema="gtr",
        extra=json.dumps({"sslmode": "verify-full", "cursor": "dictcursor"}),
    )

    dsn = parse_dsn(connections.database_settings(given)["GTR_DATABASE__DSN"])

    assert dsn == {
        "host": "db",
        "port": "5433",
        "user": "gtr_app",
        "password": "it's a \\ pass@word/%",
        "dbname": "gtr",
        "sslmode": "verify-full",
    }


def test_a_connection_wins_over_the_environment_and_an_absent_one_changes_nothing(monkeypatch):
    monkeypatch.setenv("GTR_PACS__HOST", "from-the-environment")
    monkeypatch.setenv("GTR_EHR__FOLDER", "/from/the/environment")
    known = {"gtr_pacs": _dicom()}
    monkeypatch.setattr(connections, "connection_or_none", known.get)

    settings = connections.settings()

    assert settings.pacs.host == "127.0.0.1"
    assert str(settings.ehr.folder) == "/from/the/environment"


def test_the_connection_of_the_ris_gives_the_settings_of_its_section(monkeypatch):
    extra = {"receiving_application": "RIS", "accession_fields": ["3", "18"], "tls_ca": ""}
    given = {"conn_type": "generic", "host": "ris.example", "port": 2575, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_GTR_RIS", json.dumps(given))

    assert connections.ris_settings(connections.connection_or_none("gtr_ris")) == {
        "GTR_RIS__HOST": "ris.example",
        "GTR_RIS__PORT": "2575",
        "GTR_RIS__RECEIVING_APPLICATION": "RIS",
        "GTR_RIS__ACCESSION_FIELDS": "3,18",
    }


def test_a_connection_that_nobody_made_is_none(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_GTR_EHR", json.dumps({"conn_type": "fs", "extra": {"path": "/extracts"}}))

    assert connections.ehr_settings(connections.connection_or_none("gtr_ehr")) == {"GTR_EHR__FOLDER": "/extracts"}
    assert connections.connection_or_none("gtr_nobody") is None


def test_a_task_works_in_a_site_of_these_settings_that_is_closed_after(monkeypatch, no_connections):
    from contextlib import contextmanager

    from gtr_batch import wiring

    seen = []

    @contextmanager
    def open_site(config, alert):
        seen.append(config.pacs.port)
        alert("Images of another patient", "Case 1")
        yield "site"
        seen.append("closed")

    monkeypatch.setenv("GTR_PACS__PORT", "4242")
    monkeypatch.setattr(wiring, "open_site", open_site)
    monkeypatch.setattr("gtr_airflow.callbacks.notify", lambda subject, text: seen.append(f"{subject}: {text}"))

    with connections.task_site() as site:
        assert site == "site"

    assert seen == [4242, "Images of another patient: Case 1", "closed"]


def test_the_test_button_sends_an_echo(free_port):
    from pynetdicom import AE, evt
    from pynetdicom.sop_class import Verification

    ae = AE(ae_title="ORTHANC")
    ae.add_supported_context(Verification)
    scp = ae.start_server(("127.0.0.1", free_port), block=False, evt_handlers=[(evt.EVT_C_ECHO, lambda event: 0x0000)])
    connection = Connection(conn_id="gtr_pacs", conn_type="dicom", host="127.0.0.1", port=free_port)
    connection.extra = json.dumps({"called_ae_title": "ORTHANC"})

    answer = connection.test_connection()
    scp.shutdown()

    assert answer == (True, "C-ECHO answered with success")


def test_the_test_button_says_what_it_tried_where_nobody_listens(free_port):
    connection = Connection(conn_id="gtr_pacs", conn_type="dicom", host="127.0.0.1", port=free_port)

    passed, why = connection.test_connection()

    assert not passed
    assert str(free_port) in why


def test_only_a_task_that_decides_gets_the_governors_login(monkeypatch):
    governor = Connection(conn_id="gtr_governor", conn_type="postgres", host="127.0.0.1", login="decides")
    monkeypatch.setenv("GTR_DATABASE__DSN", "host=127.0.0.1 user=night")
    monkeypatch.setattr(connections, "connection_or_none", {"gtr_governor": governor}.get)

    assert "decides" in connections.settings(decides=True).database.governor_dsn
    assert connections.settings().database.governor_dsn == ""

    monkeypatch.setattr(connections, "connection_or_none", lambda conn_id: None)
    monkeypatch.setenv("GTR_DATABASE__GOVERNOR_DSN", "host=127.0.0.1 user=decides")

    assert connections.settings().database.governor_dsn == ""


def test_tasks_of_nights_and_audits_work_without_the_governors_login_and_those_of_decisions_with_it(
    monkeypatch, no_connections
):
    from contextlib import nullcontext

    from gtr_batch import wiring

    monkeypatch.setenv("GTR_DATABASE__GOVERNOR_DSN", "host=127.0.0.1 user=decides")
    for name in ("open_site", "open_audit", "open_governance", "open_training"):
        monkeypatch.setattr(wiring, name, lambda config, **_: nullcontext(bool(config.database.governor_dsn)))

    with connections.task_site() as night, connections.task_audit() as audit:
        assert (night, audit) == (False, False)
    with connections.task_governance() as governance, connections.task_training() as training:
        assert (governance, training) == (True, True)
