"""The template of Airflow's settings: only options that this Airflow has, safe by default, no secrets."""

from __future__ import annotations

import re
from configparser import ConfigParser

import pytest

from tests.dags.conftest import REPOSITORY

TEMPLATE = REPOSITORY / "airflow.cfg.template"
OPTION = re.compile(r"^(?:; )?([a-z_]+) =")
SECTION = re.compile(r"^\[(\w+)\]$")


def _named() -> list[tuple[str, str]]:
    """Every option of the template, also those that are off."""
    found, section = [], ""
    for line in TEMPLATE.read_text().splitlines():
        if new := SECTION.match(line):
            section = new[1]
        elif option := OPTION.match(line):
            found.append((section, option[1]))
    return found


@pytest.fixture(scope="module")
def values() -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.read_string(TEMPLATE.read_text())
    return parser


@pytest.fixture(scope="module")
def known() -> dict:
    from airflow.configuration import conf

    return conf.configuration_description


@pytest.mark.parametrize(("section", "option"), sorted(set(_named())), ids="/".join)
def test_every_option_of_the_template_is_one_of_this_airflow(known, section, option):
    assert section in known
    assert option in known[section]["options"]


@pytest.mark.parametrize(
    ("section", "option", "safe"),
    [
        ("api", "host", "127.0.0.1"),
        ("api", "expose_config", "False"),
        ("api", "expose_stacktrace", "False"),
        ("api", "access_control_allow_origins", ""),
        ("core", "load_examples", "False"),
        ("core", "simple_auth_manager_all_admins", "False"),
        ("core", "test_connection", "Disabled"),
        ("core", "dags_are_paused_at_creation", "True"),
        ("core", "hide_sensitive_var_conn_fields", "True"),
        ("scheduler", "catchup_by_default", "False"),
        ("scheduler", "scheduler_health_check_server_host", "127.0.0.1"),
        ("database", "sql_alchemy_connect_args", "gtr_airflow.database.CONNECT_ARGS"),
        ("logging", "file_task_handler_new_file_permissions", "0o600"),
        ("metrics", "statsd_on", "False"),
        ("metrics", "otel_on", "False"),
        ("sentry", "sentry_on", "False"),
    ],
)
def test_a_setting_that_keeps_the_hospital_safe_is_given(values, section, option, safe):
    assert values[section][option] == safe


@pytest.mark.parametrize(
    ("section", "option"),
    [("core", "fernet_key"), ("api", "secret_key"), ("api_auth", "jwt_secret"), ("database", "sql_alchemy_conn")],
)
def test_a_secret_comes_from_the_environment_and_the_template_says_so(values, section, option):
    assert option not in values[section]
    assert f"AIRFLOW__{section.upper()}__{option.upper()}" in TEMPLATE.read_text()


def test_nothing_listens_on_all_interfaces(values):
    assert "0.0.0.0" not in [value for section in values.sections() for value in values[section].values()]


def test_tasks_find_the_api_server_where_it_listens(values):
    api = values["api"]

    assert values["core"]["execution_api_server_url"] == f"http://{api['host']}:{api['port']}/execution/"
    assert api["base_url"] == f"http://{api['host']}:{api['port']}"
