"""Declares our connection types to Airflow, which reads them from providers only; no import of anything of ours."""

from __future__ import annotations

from collections.abc import Mapping

_STRING = {"type": ["string", "null"]}
_INTEGER = {"type": ["integer", "null"], "minimum": 0}
_PORT = {"type": ["integer", "null"], "minimum": 0, "maximum": 65535}
_AE = {"type": ["string", "null"], "maxLength": 16}  # PS3.5, 6.2: value representation AE


def _field(label: str, schema: Mapping[str, object], description: str) -> dict[str, object]:
    return {"label": label, "schema": schema, "description": description}


_DICOM = {
    "connection-type": "dicom",
    "hook-class-name": "gtr_airflow.hooks.DicomHook",
    "hook-name": "DICOM PACS",
    "ui-field-behaviour": {
        "hidden-fields": ["login", "password", "schema"],
        "relabeling": {"host": "PACS host", "port": "PACS port"},
        "placeholders": {"host": "pacs.hospital.example", "port": "11112"},
    },
    "conn-fields": {
        "called_ae_title": _field("Called AE title", _AE, "AE title of the PACS"),
        "store_ae_title": _field(
            "AE title for storing", _AE, "AE title by which the PACS receives and commits; empty: the called one"
        ),
        "calling_ae_title": _field("Calling AE title", _AE, "Our AE title, as the PACS knows it"),
        "retrieve_mode": _field(
            "Retrieve mode", {**_STRING, "enum": ["get", "move", None]}, "get: C-GET; move: C-MOVE to our Storage SCP"
        ),
        "move_host": _field("Storage SCP interface", _STRING, "C-MOVE only: the interface our Storage SCP binds to"),
        "move_port": _field("Storage SCP port", _PORT, "C-MOVE only: the port that the PACS sends to"),
        "move_ae_title": _field("Storage SCP AE title", _AE, "C-MOVE only: the move destination, as the PACS knows it"),
        "commitment": _field(
            "Storage commitment",
            {**_STRING, "enum": ["auto", "off", None]},
            "auto: ask, and read back by C-FIND where the PACS offers none; off: read back only",
        ),
        "commitment_port": _field(
            "Commitment port", _PORT, "Where the PACS sends N-EVENT-REPORT on another association; 0: nowhere"
        ),
        "commitment_timeout_s": _field("Commitment time-out (s)", _INTEGER, "Then the objects are read back"),
        "answer_cap": _field("C-FIND answer cap", _INTEGER, "Answers after which this PACS stops; 0: learnt"),
        "associations": _field("Associations at once", _INTEGER, "As many as the PACS grants us; see the pool pacs"),
        "accepted_ae_titles": _field(
            "Further AE titles of the PACS",
            _STRING,
            "By which it stores or reports to us, by commas; empty: the called one",
        ),
        "peer_addresses": _field(
            "Addresses of the PACS",
            _STRING,
            "Who may connect to our ports (addresses, networks, names, by commas); empty: the host",
        ),
        "tls_ca": _field("TLS: authorities", _STRING, "PEM file on the workers; empty: no TLS, in either direction"),
        "tls_cert": _field("TLS: our certificate", _STRING, "PEM file on the workers, with its chain"),
        "tls_key": _field("TLS: our key", _STRING, "PEM file on the workers, without a passphrase"),
        "tls_crl": _field("TLS: revocation list", _STRING, "PEM file on the workers; empty: none is kept"),
    },
}

_ALERTS = {
    "connection-type": "gtr_alerts",
    "hook-class-name": "gtr_airflow.hooks.AlertHook",
    "hook-name": "Night alerts",
    "ui-field-behaviour": {
        "hidden-fields": ["login", "port", "schema"],
        "relabeling": {"host": "Webhook URL", "password": "Bearer token"},
        "placeholders": {"host": "https://chat.hospital.example/hooks/..."},
    },
    "conn-fields": {
        "email_to": _field("Email recipients", _STRING, "Comma separated; sent through the connection smtp_default"),
    },
}


def get_provider_info() -> dict[str, object]:
    """What ``airflow providers`` and the connection form know of us."""
    return {
        "package-name": "gtr-batch",
        "name": "gtr-batch",
        "description": "Nightly T staging of gastric cancer: DICOM PACS connections and night alerts",
        "connection-types": [_DICOM, _ALERTS],
    }
