"""Into the registry: only what is whole, only once, and never forgotten."""

from __future__ import annotations

import json
import shutil

import psycopg2
import pytest

from gtr_batch.errors import DatabaseRefused, GovernanceRefused, InputRefused, ModelArtefactError
from gtr_batch.governance.registry import adopt, check_registered, find, register_artefact


def spoil(folder, **changes):
    manifest = json.loads((folder / "manifest.json").read_text())
    for field, value in changes.items():
        section, _, name = field.rpartition("__")
        (manifest[section] if section else manifest)[name] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"class_order": ["T4", "T3", "T2", "T1"]}, "class_order"),
        ({"architecture": "transformer"}, "architecture"),
        ({"backbone": "resnet18"}, "missing"),
        ({"contract__window_width_hu": "wide"}, "contract.window_width_hu"),
        ({"contract__colour": "red"}, "colour"),
        ({"weights_sha256": "0" * 64}, "weights_sha256"),
        ({"feature_count": 2048}, "feature_count"),
    ],
)
def test_an_artefact_that_does_not_match_is_refused_by_the_name_of_the_field(
    registry, models, artefacts, tmp_path, changes, field
):
    folder = shutil.copytree(artefacts["new"], tmp_path / "spoilt")
    spoil(folder, **changes)

    with pytest.raises(ModelArtefactError, match=field):
        register_artefact(registry, models, folder, by="Ada", why="a test")

    assert registry.all() == []
    assert not models.exists()


def test_registering_copies_the_files_under_their_version_and_says_by_whom(registry, models, artefacts):
    version = register_artefact(registry, models, artefacts["new"], by="Ada", why="fewer errors", training={"auc": 0.9})
    again = register_artefact(registry, models, artefacts["new"], by="Bob", why="once more")

    assert again == version
    kept = sorted(p.name for p in (models / version).iterdir())
    assert kept == ["canary.zip", "manifest.json", "weights.safetensors"]
    assert registry.model(version).folder == models / version
    assert registry.model(version).training == {"auc": 0.9}
    (event,) = registry.history(version)
    assert (event.action, event.to_state, event.by_whom) == ("register", "candidate", "Ada")


def test_nobody_registers_a_model_without_a_name_and_a_reason(registry, models, artefacts):
    with pytest.raises(InputRefused, match="by is empty"):
        register_artefact(registry, models, artefacts["new"], by=" ", why="a test")
    with pytest.raises(InputRefused, match="why is empty"):
        register_artefact(registry, models, artefacts["new"], by="Ada", why="")


def test_a_registered_model_whose_files_were_changed_is_found_out(registry, models, versions):
    spoil(models / versions["new"], name="newer")

    with pytest.raises(ModelArtefactError, match="changed after registration"):
        check_registered(registry, versions["new"])


def test_the_model_of_the_settings_becomes_the_first_champion_and_no_later_one(registry, models, artefacts):
    version = adopt(registry, models, artefacts["old"], by="Ada", why="it stages since May")

    assert registry.champion() == version
    assert adopt(registry, models, artefacts["old"], by="Ada", why="again") == version
    with pytest.raises(GovernanceRefused, match="promote"):
        adopt(registry, models, artefacts["new"], by="Ada", why="by the back door")
    assert [e.action for e in registry.history(version)] == ["register", "adopt"]


def test_a_version_is_found_by_its_first_digits_if_they_are_enough(registry, versions):
    assert find(registry, versions["new"][:10].upper()) == versions["new"]
    with pytest.raises(InputRefused, match="0 registered versions"):
        find(registry, "nothing")
    with pytest.raises(InputRefused, match="0 registered versions"):
        find(registry, "")


@pytest.mark.parametrize(
    "statement",
    [
        "update model_event set why = 'because'",
        "delete from model_event",
        "truncate model_event cascade",
        "delete from model_document",
    ],
)
def test_history_cannot_be_rewritten_not_even_by_the_owner(dsn, registry, versions, statement):
    registry.attach(versions["new"], "gate", {"verdict": "pass"}, by="Ada")
    connection = psycopg2.connect(dsn)

    with pytest.raises(psycopg2.Error, match="append-only"), connection, connection.cursor() as cursor:
        cursor.execute(statement)

    connection.close()
    assert [e.why for e in registry.history(versions["new"])] == ["a test"]


@pytest.mark.parametrize(
    "statement",
    [
        "update model_version set state = 'champion'",
        "update model_version set manifest = '{}'",
        "delete from model_version",
        "insert into model_version (version, name, manifest, folder, state) values (repeat('a', 64), 'x', '{}', 'x', "
        "'champion')",
    ],
)
def test_no_state_without_its_history_and_no_manifest_twice(dsn, registry, versions, statement):
    connection = psycopg2.connect(dsn)

    with pytest.raises(psycopg2.errors.InsufficientPrivilege), connection, connection.cursor() as cursor:
        cursor.execute("set role gtr_app")
        cursor.execute(statement)

    connection.close()
    assert {m.state for m in registry.all()} == {"candidate"}


def test_the_database_refuses_a_life_that_no_model_leads(registry, versions):
    from gtr_batch.domain.lifecycle import Change

    with pytest.raises(DatabaseRefused, match="GT011"):
        registry.change([Change(versions["new"], "retire", "candidate", "candidate")], champion=None, by="A", why="b")

    assert registry.state(versions["new"]) == "candidate"
