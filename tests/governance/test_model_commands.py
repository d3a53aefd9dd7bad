"""`gtr model`, `gtr settings` and `gtr restage` over a real database: what a person types, sees and is refused."""

from __future__ import annotations

import csv
import json

import pytest
from typer.testing import CliRunner

from gtr_batch.cli.main import app
from gtr_batch.operating_system import operating_system_user
from tests.fixtures_db import as_role
from tests.governance.test_registry import spoil

ADA = ("--by", "Ada", "--why", "a test")


@pytest.fixture
def gtr(dsn, tmp_path, models, artefacts, monkeypatch):
    """A function that runs `gtr`; gives exit code, standard output, and what was said beside it."""
    monkeypatch.delenv("GTR_CONFIG", raising=False)
    for name, value in {
        "DATABASE__DSN": as_role(dsn, "gtr_app"),
        "DATABASE__GOVERNOR_DSN": as_role(dsn, "gtr_governor"),
        "TRAINING__MODELS": models,
        "TRAINING__FOLDER": tmp_path / "training",
        "FILES__ROOT": tmp_path / "store",
        "STAGE__ARTEFACT": artefacts["old"],
    }.items():
        monkeypatch.setenv(f"GTR_{name}", str(value))

    def call(*arguments: str):
        done = CliRunner().invoke(app, list(map(str, arguments)))
        return done.exit_code, done.stdout, done.stderr

    return call


@pytest.fixture
def champion(gtr, artefacts):
    """`old` adopted, `new` registered by its folder; their versions."""
    assert gtr("model", "adopt", *ADA)[0] == 0
    _, said, _ = gtr("model", "import", artefacts["new"], *ADA, "--json")
    new = json.loads(said)["version"]
    rows = json.loads(gtr("model", "list", "--json")[1])["models"]
    return next(row["version"] for row in rows if row["state"] == "champion"), new


def test_before_anything_was_registered_the_list_says_what_stages(gtr):
    code, said, _ = gtr("model", "list")

    assert (code, "No model was ever champion" in said) == (0, True)


def test_a_whole_life_from_the_shell(gtr, champion):
    old, new = champion

    steps = [
        gtr("model", "shadow", new[:10], *ADA),
        gtr("model", "promote", new[:10], "--replaces", old[:10], "--without-gate", *ADA),
        gtr("model", "rollback", "--replaces", new[:10], *ADA),
        gtr("model", "withdraw", new[:10], "--replaces", old[:10], *ADA),
    ]

    assert [code for code, _, _ in steps] == [0, 0, 0, 0], steps
    assert "it made 0 reports, 0 stand in the PACS" in steps[3][1]
    shown = json.loads(gtr("model", "show", new[:10], "--json")[1])
    assert [e["action"] for e in shown["history"]] == ["register", "shadow", "promote", "rollback", "withdraw"]
    assert {e["by_whom"] for e in shown["history"]} == {"Ada"}


def test_the_card_follows_every_decision(gtr, models, champion):
    old, new = champion
    card = models / "cards" / new / "card.json"

    gtr("model", "promote", new, "--replaces", old, "--without-gate", *ADA)
    promoted = json.loads(card.read_text())["state"]
    gtr("model", "withdraw", new, "--replaces", new, "--successor", old, *ADA)

    assert (promoted, json.loads(card.read_text())["state"]) == ("champion", "withdrawn")
    assert json.loads((models / "cards" / old / "card.json").read_text())["state"] == "champion"


def test_the_checklist_of_claim_is_printed_as_a_table_json_and_csv_and_writes_nothing(gtr, models, champion):
    _, new = champion

    code, table, _ = gtr("model", "claim", new[:10])
    found = json.loads(gtr("model", "claim", new[:10], "--json")[1])
    rows = list(csv.DictReader(gtr("model", "claim", new[:10], "--csv")[1].splitlines()))

    assert code == 0
    assert "not found: model card: table 1" in " ".join(table.split())
    assert table.splitlines()[-1] == "4 reported, 37 not reported, 3 not applicable"
    assert [row["answer"] for row in rows] == [line["answer"] for line in found["lines"]]
    assert len(rows) == 44
    assert not (models / "cards" / new).exists()
    assert gtr("model", "claim", new[:10], "--json", "--csv")[0] == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"class_order": ["T4", "T3", "T2", "T1"]}, "class_order"),
        ({"architecture": "transformer"}, "architecture"),
        ({"contract__window_width_hu": "wide"}, "contract.window_width_hu"),
        ({"weights_sha256": "0" * 64}, "weights_sha256"),
    ],
)
def test_a_folder_that_is_not_what_it_says_is_refused_by_the_field(gtr, artefacts, tmp_path, changes, field):
    import shutil

    folder = shutil.copytree(artefacts["new"], tmp_path / "spoilt")
    spoil(folder, **changes)

    code, _, said = gtr("model", "import", folder, *ADA)

    assert (code, field in said) == (3, True)
    assert json.loads(gtr("model", "list", "--json")[1])["models"] == []


def test_what_is_refused_is_refused_in_a_sentence_and_changes_nothing(gtr, champion):
    old, new = champion

    refused = [
        gtr("model", "promote", new, "--replaces", new, *ADA),
        gtr("model", "promote", new, "--replaces", old, *ADA),
        gtr("model", "promote", old, "--replaces", old, *ADA),
        gtr("model", "rollback", "--replaces", old, *ADA),
        gtr("model", "withdraw", old, "--replaces", old, *ADA),
        gtr("model", "notices", old, "--approve", "0", "--by", "Ada"),
        gtr("restage", "--deliver", "f" * 12, *ADA),
    ]

    assert [code for code, _, _ in refused] == [3] * len(refused)
    for said, sentence in zip(
        (said for _, _, said in refused),
        (
            "by now it is",
            "no passed gate",
            "champion already",
            "nothing to go back to",
            "name the model that stages",
            "its reports stand",
            "not one comparison",
        ),
        strict=True,
    ):
        assert sentence in said.replace("\n", " ")
    assert [e["action"] for e in json.loads(gtr("model", "show", new, "--json")[1])["history"]] == ["register"]


def test_the_audit_trail_says_who_did_what_and_who_was_refused(gtr, champion):
    old, new = champion
    gtr("model", "promote", new, "--replaces", old, *ADA)
    gtr("model", "promote", new, "--replaces", old, "--without-gate", *ADA)
    gtr("model", "reports", old)
    gtr("settings", "set", "report.refusal_sr", "yes", *ADA)

    events = json.loads(gtr("audit-trail", "show", "--json")[1])[::-1]
    code, _, said = gtr("audit-trail", "send")

    done = [(e["action"], e["object_id"], e["outcome"]) for e in events]
    here = operating_system_user()
    assert done == [
        ("model.register", old, "success"),
        ("model.adopt", old, "success"),
        ("model.register", new, "success"),
        ("model.promote", new, "failure"),
        ("model.promote", old, "success"),
        ("model.promote", new, "success"),
        ("model.look", old, "success"),
        ("setting.change", "report.refusal_sr", "success"),
    ]
    assert [e["actor"] for e in events] == ["Ada"] * 6 + [here, "Ada"]
    assert {e["os_user"] for e in events} == {here}
    assert (code, "audit_trail.syslog is empty" in said) == (3, True)


def test_a_model_of_a_cohort_that_was_never_frozen_here_is_not_judged(gtr, champion):
    code, _, said = gtr("model", "judge", champion[1], *ADA)
    other, _, told = gtr("model", "judge", champion[1], "--cohort", "c" * 64, *ADA)

    assert (code, "belongs to no frozen cohort" in said.replace("\n", " ")) == (2, True)
    assert (other, "was not frozen here" in told.replace("\n", " ")) == (2, True)


def test_two_models_are_compared_field_by_field(gtr, champion):
    found = json.loads(gtr("model", "diff", *champion, "--json")[1])

    assert {"field": "name", "one": '"old"', "other": '"new"'} in found["differences"]


def test_files_that_were_changed_are_found_out(gtr, models, champion):
    (models / champion[1] / "weights.safetensors").write_bytes(b"nothing")

    code, said, _ = gtr("model", "verify", "--json")

    assert code == 3
    assert {row["version"]: row["intact"] for row in json.loads(said)} == {champion[0]: True, champion[1]: False}


def test_a_setting_is_changed_by_somebody_for_a_reason_and_given_back(gtr):
    first = gtr("settings", "set", "governance.accuracy_margin", "0.02", *ADA)
    then = json.loads(gtr("settings", "show", "--json")[1])
    gtr("settings", "set", "governance.accuracy_margin", "file", "--by", "Bob", "--why", "too strict")
    rows = json.loads(gtr("settings", "history", "--json")[1])

    assert first[0] == 0
    assert then["governance.accuracy_margin"] == 0.02
    assert json.loads(gtr("settings", "show", "--json")[1])["governance.accuracy_margin"] == 0.05
    assert [(r["value"], r["by_whom"]) for r in rows] == [(0.02, "Ada"), (None, "Bob")]
    assert gtr("settings", "show", "--case", "00000000-0000-0000-0000-000000000000")[0] == 2


def test_error_rates_of_the_gate_are_printed_with_their_intervals(gtr):
    code, said, _ = gtr("model", "error-rates", "--patients", "60", "--runs", "3", "--processes", "1", "--json")

    equal, worse = json.loads(said)
    assert code == 0
    assert (equal["difference"], worse["difference"]) == (0.0, -0.05)
    assert worse["accuracy_exact"] < 0.052
    assert gtr("model", "error-rates", "--champion", "0.99", "--runs", "1")[0] == 2
