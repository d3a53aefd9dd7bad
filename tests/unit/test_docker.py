"""The container files, as text: no engine builds or starts them here."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

from gtr_batch.config import load

DOCKER = Path(__file__).resolve().parents[2] / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
OURS = {name for name, one in SERVICES.items() if one["image"].startswith("gtr-batch")}
named = pytest.mark.parametrize("name", sorted(SERVICES))


@named
def test_a_service_has_no_rights_that_it_does_not_need(name):
    one = SERVICES[name]

    assert one["cap_drop"] == ["ALL"]
    assert "cap_add" not in one
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one["read_only"] is True
    assert str(one["user"]).split(":")[0] not in ("0", "root", "")
    assert not one.get("privileged", False)
    assert not {"network_mode", "pid", "ipc", "devices"} & set(one)


@named
def test_a_service_sees_neither_the_engines_socket_nor_the_hosts_folders(name):
    hosts = [str(v).split(":")[0] for v in SERVICES[name].get("volumes", [])]

    assert not any("docker.sock" in one or one.startswith(("/", "~", "..")) for one in hosts)
    assert all(one in COMPOSE["volumes"] or (DOCKER / one).is_file() for one in hosts)


@named
def test_a_service_that_goes_on_says_whether_it_is_well(name):
    one = SERVICES[name]

    assert ("healthcheck" in one) == (one["restart"] != "no")


@named
def test_a_service_gets_its_passwords_from_files_that_exist_by_name(name):
    one = SERVICES[name]
    environment = one.get("environment", {})

    assert set(one.get("secrets", [])) <= set(COMPOSE["secrets"])
    for variable, value in environment.items():
        if re.search(r"PASS|SECRET|DSN|_CONN|_KEY|BROKER|RESULT", variable):
            assert "/run/secrets/" in str(value), variable
    told = re.findall(r"/run/secrets/(\w+)", json.dumps(one))
    assert set(told) <= set(one.get("secrets", [])), "a secret that the service is not given"


def test_data_stores_are_in_a_network_that_leads_nowhere_and_publish_nothing():
    inside = {name for name, network in COMPOSE["networks"].items() if (network or {}).get("internal")}

    for name in ("postgres", "redis"):
        assert set(SERVICES[name]["networks"]) <= inside
    published = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    assert published == {"api-server": ["127.0.0.1:8080:8080"]}


def test_a_network_is_used_and_every_named_one_exists():
    used = {network for one in SERVICES.values() for network in one["networks"]}

    assert used == set(COMPOSE["networks"])


def test_workers_take_every_queue_that_a_task_of_ours_is_in():
    in_dags = set(re.findall(r'queue="(\w+)"', "".join(p.read_text() for p in (DOCKER.parent / "dags").glob("*.py"))))
    default = SERVICES["worker-cpu"]["environment"]["AIRFLOW__OPERATORS__DEFAULT_QUEUE"]
    [taken] = re.findall(r":-([\w,]+)}", SERVICES["worker-cpu"]["command"][4])

    assert in_dags == {"gpu"}
    assert in_dags | {default} == set(taken.split(","))
    assert SERVICES["worker-gpu"]["command"][4] in in_dags


def test_celerys_queue_hands_no_task_out_a_second_time_while_it_may_still_run():
    """Redis hands a message out again after this time: a training of two days would be ended by its own copy."""
    dags = "".join(path.read_text() for path in (DOCKER.parent / "dags").glob("*.py"))
    longest_s = 3600 * max(int(hours) for hours in re.findall(r"execution_timeout=timedelta\(hours=(\d+)\)", dags))
    template = ConfigParser(interpolation=None)
    template.read(DOCKER.parent / "airflow.cfg.template")

    assert longest_s >= 48 * 3600
    assert template.getint("celery_broker_transport_options", "visibility_timeout") > longest_s
    assert "COPY airflow.cfg.template airflow.cfg" in DOCKERFILE


def test_our_settings_load_and_name_no_password(monkeypatch):
    settings = load(DOCKER / "gtr.toml", environ={})

    for dsn in (settings.database.dsn, settings.database.governor_dsn, settings.database.console_dsn):
        assert "sslmode=verify-full" in dsn
        assert "password=" not in dsn
    assert tomllib.loads((DOCKER / "gtr.toml").read_text())["database"].keys() == {"dsn", "governor_dsn", "console_dsn"}


def test_airflow_listens_beyond_loopback_only_with_a_certificate():
    for name in OURS:
        environment = SERVICES[name]["environment"]
        if environment.get("AIRFLOW__API__HOST"):
            assert {"AIRFLOW__API__SSL_CERT", "AIRFLOW__API__SSL_KEY"} <= set(environment), name
        assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"].startswith("https://")


def test_the_image_runs_as_nobodys_root_installs_by_hash_and_copies_no_secret():
    stages = re.split(r"(?m)^FROM ", DOCKERFILE)[1:]

    assert re.search(r"(?m)^USER 10001:10001$", stages[-1])
    assert all(re.match(r"python:3\.11-slim-bookworm\b", stage) for stage in stages)
    installs = re.findall(r"pip install[^\\&\n]*", DOCKERFILE)
    assert all("--require-hashes" in one or "--no-deps" in one for one in installs)
    assert "secrets" not in DOCKERFILE
    copied = {word for line in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", DOCKERFILE) for word in line.split()}
    assert all((DOCKER.parent / one).exists() for one in copied if "$" not in one)
    ignored = (DOCKER.parent / ".dockerignore").read_text()
    assert "\n*\n" in ignored
    assert "secrets" not in ignored


@pytest.mark.slow
def test_prepare_makes_secrets_for_their_owner_alone_and_keeps_what_is_there(tmp_path, need_program):
    need_program("openssl", "openssl")
    secrets = tmp_path / "secrets"
    make = ["bash", str(DOCKER / "prepare.sh"), str(secrets)]
    subprocess.run(make, check=True, capture_output=True)
    before = {path.name: path.read_bytes() for path in secrets.iterdir()}
    again = subprocess.run(make, check=True, capture_output=True, text=True)

    assert {path.name: path.read_bytes() for path in secrets.iterdir()} == before
    assert {Path(one["file"]).name for one in COMPOSE["secrets"].values()} <= set(before)
    assert all(path.stat().st_mode & 0o077 == 0 for path in secrets.iterdir())
    passwords = {content for name, content in before.items() if name.endswith("_password")}
    assert len(passwords) == sum(name.endswith("_password") for name in before) - 1  # the superuser's is there twice
    assert not any(word.decode() in again.stdout + again.stderr for word in passwords)
    for name in ("postgres", "airflow"):
        checked = ["openssl", "verify", "-CAfile", str(secrets / "ca.crt"), str(secrets / f"{name}.crt")]
        assert subprocess.run(checked, check=True, capture_output=True, text=True).stdout.endswith("OK\n")
    names = subprocess.run(
        ["openssl", "x509", "-in", str(secrets / "airflow.crt"), "-noout", "-ext", "subjectAltName"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "DNS:api-server" in names.stdout
