"""The command line: what it prints, and with which code it ends."""

from __future__ import annotations

import json
from importlib.metadata import version
from types import SimpleNamespace
from uuid import uuid4

import psycopg2
import pytest
from psycopg2.extensions import make_dsn, parse_dsn
from typer.testing import CliRunner

from gtr_batch.cli import app
from gtr_batch.cli.doctor import CONSTRAINTS, _rights, _unlike
from gtr_batch.config import Config, DatabaseConfig
from tests.nights.conftest import NIGHT

TABLE_3 = ["nomogram", "--coefficients", "paper-table-3", "--rad-score", "0"]


@pytest.fixture
def gtr(monkeypatch):
    """A function that runs `gtr` with settings and returns its result."""

    def run(*arguments, **settings):
        monkeypatch.delenv("GTR_CONFIG", raising=False)
        monkeypatch.delenv("AIRFLOW_HOME", raising=False)
        for name, value in settings.items():
            monkeypatch.setenv(f"GTR_{name}", str(value))
        return CliRunner().invoke(app, list(arguments))

    return run


@pytest.fixture
def settings(config):
    """The small hospital's settings as environment variables."""
    return {
        "PACS__PORT": config.pacs.port,
        "PACS__CALLED_AE_TITLE": config.pacs.called_ae_title,
        "PACS__CONNECT_TIMEOUT_S": 2,
        "PACS__COMMITMENT_TIMEOUT_S": 2,
        "DATABASE__DSN": config.database.dsn,
        "DATABASE__GOVERNOR_DSN": config.database.governor_dsn,
        "FILES__ROOT": config.files.root,
        "FILES__MIN_FREE_GB": 0.001,
        "STAGE__ARTEFACT": config.stage.artefact,
        "INTAKE__PROBES": 2,
        "NIGHT__SETTLE_MINUTES": 0,
    }


def test_nomogram_prints_points_in_the_convention_of_rms(gtr):
    """The example of the paper's Table 3: 6 cm, poor, diffuse, rad-score 0."""
    result = gtr(*TABLE_3, "--size-cm", "6", "--differentiation", "poor", "--lauren", "diffuse", "--json")

    answer = json.loads(result.stdout)
    assert answer["linear_predictor"] == pytest.approx(0.69 + 1.15 + 1.06)
    assert answer["points"]["rad_score"] == pytest.approx(50)
    assert answer["points"]["total"] == pytest.approx(
        50 + 100 * (0.69 + 1.15 + 1.06 + 0.08) / (6 * 0.87)
    )  # the Lauren axis begins at mixed, -0.08
    assert list(answer["probabilities"]) == ["T1", "T2", "T3", "T4"]
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--size-cm", "-1"], "tumour size -1"),
        (["--size-cm", "nan"], "tumour size"),
        (["--lauren", "spotted"], "spotted"),
        (["--differentiation", "superb"], "superb"),
    ],
)
def test_nomogram_refuses_nonsense_by_name(gtr, arguments, named):
    result = gtr(*TABLE_3, *arguments)

    assert result.exit_code == 2
    assert named in result.stderr


def test_a_wrong_setting_ends_with_3_and_its_name(gtr):
    result = gtr("pacs", "echo", PACS__PROT=1)

    assert result.exit_code == 3
    assert "pacs.prot" in result.stderr


def test_migrate_without_an_owner_says_what_to_set(gtr):
    result = gtr("migrate")

    assert result.exit_code == 3
    assert "owner_dsn" in result.stderr


def test_a_dead_pacs_ends_with_4(gtr, settings, pacs):
    pacs.stop()

    result = gtr("pacs", "echo", **settings)

    assert result.exit_code == 4
    assert "PacsUnreachable" in result.stderr


def test_doctor_finds_what_is_ill_and_says_how_to_mend_it(gtr, settings, pacs):
    well = gtr("doctor", "--json", **settings)
    pacs.stop()
    ill = gtr("doctor", "--json", **settings | {"STAGE__ARTEFACT": "/nowhere"})

    states = {f["check"]: f["state"] for f in json.loads(well.stdout)}
    assert well.exit_code == 0
    assert "red" not in states.values()
    assert states["PACS, storage commitment"] == "warn"
    red = {f["check"]: f for f in json.loads(ill.stdout) if f["state"] == "red"}
    assert ill.exit_code == 1
    assert {"PACS, C-ECHO", "PACS, C-FIND", "PACS, services", "PACS, storage commitment", "model"} == set(red)
    assert all(f["mend"] for f in red.values())


@pytest.mark.parametrize(
    ("login", "state", "held"),
    [
        ("in role gtr_app", "ok", ""),
        ("in role gtr_app, gtr_governor", "warn", "it is in gtr_governor"),
        ("in role gtr_owner", "warn", "it is in gtr_owner"),
        ("createrole in role gtr_app", "warn", "it is a role that makes roles"),
        ("in role gtr_app, gtr_console", "warn", "it is in gtr_console"),
        ("superuser", "warn", "it is a superuser, in gtr_console, in gtr_governor, in gtr_owner"),
    ],
)
def test_doctor_warns_where_the_nights_login_may_decide(dsn, login, state, held):
    connection = psycopg2.connect(dsn)
    name = f"night_{uuid4().hex}"
    with connection, connection.cursor() as cursor:
        cursor.execute(f"create role {name} login password 'n' {login}")
    logged_in = make_dsn(**{**parse_dsn(dsn), "user": name, "password": "n"})
    site = SimpleNamespace(config=Config(database=DatabaseConfig(dsn=logged_in)))

    try:
        found = _rights(site)
    finally:
        with connection, connection.cursor() as cursor:
            cursor.execute(f"drop role {name}")
        connection.close()

    assert (found.state, bool(found.mend)) == (state, state == "warn")
    assert found.found.endswith(held)


def test_doctor_names_a_package_that_is_not_as_tested():
    assert _unlike("attrs==1.0\nno-such-package==2.0\n") == [f"attrs {version('attrs')}, pinned 1.0"]
    assert _unlike(CONSTRAINTS.read_text()) == []


def test_status_before_the_first_night_says_so(gtr, settings):
    result = gtr("status", **settings)

    assert result.exit_code == 1
    assert "no night" in result.stderr


@pytest.mark.slow
def test_a_night_from_the_shell_and_its_status(gtr, settings, admit, enter_in_ehr, fill):
    admit("good")
    admit("gap", skip=(9,))
    for name in ("good", "gap"):
        enter_in_ehr(name)
    fill()

    ran = gtr("night", "--night", str(NIGHT), "--json", **settings)
    told = gtr("status", "--json", **settings)
    shown = gtr("status", "--night", str(NIGHT), **settings)

    assert ran.exit_code == 0, ran.stderr
    cases = json.loads(told.stdout)["cases"]
    assert cases == json.loads(ran.stdout)["cases"]
    assert {c["state"] for c in cases} == {"committed", "refused"}
    assert "slice_gap: Slices are" in shown.stdout
    assert "PHANTOM" not in ran.stdout + told.stdout + shown.stdout


@pytest.mark.slow
def test_a_red_night_prints_its_json_as_well(gtr, settings, pacs, admit, enter_in_ehr, fill):
    """One instance is gone from the PACS's store, so the series cannot be retrieved whole."""
    admit("one")
    enter_in_ehr("one")
    fill()
    sorted((pacs.folder / "instances").iterdir())[5].unlink()

    ran = gtr("night", "--night", str(NIGHT), "--json", **settings)

    assert ran.exit_code == 1
    told = json.loads(ran.stdout)
    assert [case["state"] for case in told["cases"]] == ["failed"]
    assert list(told["failed"]) == [told["cases"][0]["case_id"]]
    assert "red:" in ran.stderr


@pytest.mark.slow
def test_a_refusal_is_reopened_by_name_from_the_shell(gtr, settings, admit, enter_in_ehr, fill):
    admit("gap", skip=(9,))
    enter_in_ehr("gap")
    fill()
    ran = gtr("night", "--night", str(NIGHT), "--json", **settings)
    [case] = json.loads(ran.stdout)["cases"]
    who = ["--by", "Dr Ada", "--why", "slice 10 has been sent again"]

    nameless = gtr("case", "reopen", case["case_id"], "--by", " ", "--why", "so", **settings)
    unknown = gtr("case", "reopen", "11111111-1111-4111-8111-111111111111", *who, **settings)
    reopened = gtr("case", "reopen", case["case_id"], *who, "--json", **settings)
    again = gtr("case", "reopen", case["case_id"], *who, **settings)

    assert case["state"] == "refused"
    assert (nameless.exit_code, unknown.exit_code, reopened.exit_code, again.exit_code) == (2, 2, 0, 2)
    assert "by is empty" in nameless.stderr
    assert json.loads(reopened.stdout) == {"case_id": case["case_id"], "night": str(NIGHT), "state": "found"}
    assert "nothing to reopen" in again.stderr


def test_model_show_checks_the_weights(gtr, settings, tmp_path, artefact):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(artefact, broken)
    weights = broken / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00\x01")

    assert json.loads(gtr("model", "show", str(artefact), "--json", **settings).stdout)["backbone"] == "resnet10"
    listed = json.loads(gtr("model", "list", "--json", **settings).stdout)
    assert listed["models"] == []
    assert listed["by_settings"]["folder"] == str(artefact)
    refused = gtr("model", "show", str(broken), **settings)
    assert refused.exit_code == 3
    assert "ModelArtefactError" in refused.stderr


def test_a_night_that_is_no_date_is_a_wrong_command_line(gtr):
    assert gtr("night", "--night", "yesterday").exit_code == 2
