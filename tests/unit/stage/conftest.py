from pathlib import Path

import pytest
import torch

from gtr_batch.stage.artefact import load_artefact, write_artefact
from gtr_batch.stage.network import GTRNet
from tests.unit.stage.small import small_locator, small_manifest


@pytest.fixture(scope="session")
def small_network() -> GTRNet:
    torch.manual_seed(0)
    return GTRNet("resnet10").eval().requires_grad_(False)


@pytest.fixture(scope="session")
def artefact_folder(tmp_path_factory, small_network) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    write_artefact(folder, small_network, small_manifest(key_slice_locator=small_locator()))
    return folder


@pytest.fixture(scope="session")
def artefact(artefact_folder):
    return load_artefact(artefact_folder)
