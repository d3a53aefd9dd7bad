"""Where the night finds its model: the registry decides, and nothing stages that is not what it says."""

from __future__ import annotations

import shutil

import pytest

from gtr_batch.domain.lifecycle import Approval
from gtr_batch.errors import ModelArtefactError
from gtr_batch.governance.model_store import RegistryModelStore
from gtr_batch.governance.promotion import promote, rollback, to_shadow
from gtr_batch.governance.registry import adopt
from gtr_batch.governance.withdrawal import withdraw

WHO = {"by": "Ada", "why": "a test"}


@pytest.fixture
def model_store(registry, artefacts) -> RegistryModelStore:
    """The settings name `old`."""
    return RegistryModelStore(registry, artefacts["old"])


@pytest.fixture
def champion(registry, models, artefacts, versions) -> str:
    return adopt(registry, models, artefacts["old"], **WHO)


def enthrone(registry, version):
    promote(registry, version, Approval(version, registry.champion(), "Eve", "a test"), without_gate=True)


def test_before_there_was_a_champion_the_settings_decide_and_never_after(
    model_store, registry, models, artefacts, versions
):
    before = model_store.champion()
    adopt(registry, models, artefacts["old"], **WHO)
    enthrone(registry, versions["new"])

    assert before == artefacts["old"]
    assert model_store.champion() == models / versions["new"]
    assert RegistryModelStore(registry, artefacts["third"]).champion() == models / versions["new"]


def test_a_rollback_is_what_the_next_night_finds(model_store, registry, models, versions, champion):
    enthrone(registry, versions["new"])
    rollback(registry, shown=versions["new"], **WHO)

    assert model_store.champion() == models / champion


def test_a_champion_whose_files_are_gone_stages_nothing_and_the_sentence_says_what_to_do(
    model_store, models, registry, champion
):
    shutil.rmtree(models / champion)

    with pytest.raises(ModelArtefactError, match=r"files of champion .* are gone: no folder .*gtr model rollback"):
        model_store.champion()

    assert registry.champion() == champion


def test_a_champion_in_whose_folder_another_model_lies_stages_nothing(model_store, models, versions, champion):
    shutil.rmtree(models / champion)
    shutil.copytree(models / versions["new"], models / champion)

    with pytest.raises(ModelArtefactError, match=f"holds model {versions['new'][:12]}, not champion {champion[:12]}"):
        model_store.champion()


def test_after_a_withdrawal_without_successor_nothing_stages(model_store, registry, champion):
    withdraw(registry, champion, shown=champion, no_successor=True, **WHO)

    with pytest.raises(ModelArtefactError, match="withdrawn by Ada without a successor"):
        model_store.champion()
    assert model_store.find(champion) is None


def test_a_model_is_found_while_its_files_are_its_own_and_it_is_not_withdrawn(
    model_store, registry, models, versions, champion
):
    withdraw(registry, versions["third"], shown=champion, **WHO)
    found = {name: model_store.find(version) for name, version in versions.items()}
    shutil.rmtree(models / versions["new"])

    assert found == {"old": models / champion, "new": models / versions["new"], "third": None}
    assert model_store.find(versions["new"]) is None
    assert model_store.all() == [models / champion]


def test_challengers_are_those_in_shadow_oldest_first(model_store, registry, versions, champion):
    for name in ("third", "new"):
        to_shadow(registry, versions[name], **WHO)

    assert model_store.challengers() == [versions["new"], versions["third"]]
