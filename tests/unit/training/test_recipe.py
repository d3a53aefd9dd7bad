"""Recipes and what a training begins with."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import get_model_weights, resnet18

from gtr_batch.config import TrainingConfig
from gtr_batch.errors import ConfigError, ModelArtefactError
from gtr_batch.simulation.demos.demo import ARTEFACT
from gtr_batch.training.recipe import lessons_of, start_network
from tests.model_folders import FolderModelStore


def test_the_papers_recipe_is_the_default():
    (lesson,) = lessons_of(TrainingConfig(), outlined=False)

    assert (lesson.batch, lesson.learning_rate, lesson.patience, lesson.window) == (32, 1e-4, 10, None)
    assert TrainingConfig().backbone == "resnet152"


def test_lessons_end_on_whole_slices():
    lessons = lessons_of(TrainingConfig(recipe="lessons", epochs=20), outlined=True)

    assert [lesson.window for lesson in lessons] == [(64, 64), (96, 96), (144, 144), None]


def test_cannot_look_at_windows_about_lesions_that_nobody_outlined():
    with pytest.raises(ConfigError, match="no outlined lesion"):
        lessons_of(TrainingConfig(recipe="lessons"), outlined=False)


def test_begins_with_imagenets_weights_from_a_file(tmp_path):
    theirs = resnet18()
    torch.save(theirs.state_dict(), tmp_path / "r18.pth")

    network = start_network(
        TrainingConfig(backbone="resnet18", imagenet=tmp_path / "r18.pth"), FolderModelStore(ARTEFACT)
    )

    assert torch.equal(network.layer4[0].conv1.weight, theirs.layer4[0].conv1.weight)


def test_a_foreign_weight_file_is_refused(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "x.pth")

    with pytest.raises(ModelArtefactError, match="do not fit resnet18"):
        start_network(TrainingConfig(backbone="resnet18", imagenet=tmp_path / "x.pth"), FolderModelStore(ARTEFACT))


def test_loads_the_very_bytes_that_it_hashed(tmp_path, monkeypatch):
    """Whoever exchanges the file once it was read exchanges nothing."""
    theirs, path, load = resnet18().state_dict(), tmp_path / "r18.pth", torch.load
    torch.save(theirs, path)

    def exchange(file, **options):
        torch.save({k: torch.zeros_like(v) for k, v in theirs.items()}, path)
        return load(file, **options)

    monkeypatch.setattr(torch, "load", exchange)
    network = start_network(TrainingConfig(backbone="resnet18", imagenet=path), FolderModelStore(ARTEFACT))

    assert torch.equal(network.conv1.weight, theirs["conv1.weight"])


def test_a_file_in_torchvisions_cache_that_is_not_what_its_name_says_is_refused(tmp_path, monkeypatch):
    """torchvision compares the digest when it fetches a file, not when one lies there already."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = get_model_weights("resnet18").IMAGENET1K_V1.url.rsplit("/", 1)[-1]
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(resnet18().state_dict(), tmp_path / "hub" / "checkpoints" / name)

    with pytest.raises(ModelArtefactError, match=f"{name}: SHA-256 is .*, not {name[-12:-4]}"):
        start_network(TrainingConfig(backbone="resnet18"), FolderModelStore(ARTEFACT))


def test_says_that_torchvision_has_no_weights_of_a_depth():
    with pytest.raises(ConfigError, match="no ImageNet weights of resnet10"):
        start_network(TrainingConfig(backbone="resnet10"), FolderModelStore(ARTEFACT))


def test_begins_with_the_champion_and_lets_it_learn():
    network = start_network(TrainingConfig(backbone="resnet10-stride8", start="champion"), FolderModelStore(ARTEFACT))

    assert all(p.requires_grad for p in network.parameters())


def test_cannot_begin_with_a_champion_of_another_depth():
    with pytest.raises(ConfigError, match="must be the same"):
        start_network(TrainingConfig(start="champion"), FolderModelStore(ARTEFACT))


@pytest.mark.parametrize("given", [{"start": "zeros"}, {"recipe": "mine"}, {"holdout_share": 0.9}])
def test_settings_that_cannot_be_are_refused(given):
    with pytest.raises(ConfigError, match="training"):
        TrainingConfig(**given)
