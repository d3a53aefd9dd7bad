"""A model made worse on purpose: the same features, other stages, the same copy from the same seed."""

from __future__ import annotations

import pytest
import torch

from gtr_batch.simulation.demos.demo import ARTEFACT
from gtr_batch.simulation.hospital.blunt import blunted
from gtr_batch.stage import load_artefact


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blunt")
    how = {"one": (1.5, 0), "again": (1.5, 0), "other": (1.5, 1)}
    versions = {k: blunted(ARTEFACT, folder / k, amount=a, name="blunt", seed=s) for k, (a, s) in how.items()}
    return folder, versions


def test_the_same_seed_gives_the_same_model_and_another_seed_another(copies):
    _, versions = copies

    assert versions["one"] == versions["again"] != versions["other"]


def test_only_the_last_layer_is_disturbed(copies):
    folder, _ = copies

    good, blunt = (load_artefact(path).network.state_dict() for path in (ARTEFACT, folder / "one"))

    differ = [name for name in good if not torch.allclose(good[name], blunt[name], atol=1e-3)]
    assert differ == ["fc.weight"]


def test_it_says_still_that_it_is_not_for_patients(copies):
    folder, _ = copies

    manifest = load_artefact(folder / "one").manifest

    assert (manifest.name, manifest.demo) == ("blunt", True)
