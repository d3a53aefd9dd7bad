"""A published checkpoint becomes an artefact that answers exactly as the plain network; anything else is refused."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from torchvision.models.resnet import BasicBlock, ResNet
from typer.testing import CliRunner

from gtr_batch.cli import app
from gtr_batch.errors import ModelArtefactError
from gtr_batch.preprocess import Volume, prepare_volume
from gtr_batch.stage import load_artefact
from gtr_batch.stage.artefact import IMAGENET_MEAN, IMAGENET_SD
from gtr_batch.stage.importing import import_published, published_contract

BACKBONE = "resnet18"


def plain_resnet() -> ResNet:
    torch.manual_seed(0)
    return ResNet(BasicBlock, [2, 2, 2, 2], num_classes=4).eval()


def saved(tmp_path, value, legacy=False):
    path = tmp_path / "models.pth"
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


def imported(path, out, md5=None):
    md5 = hashlib.md5(path.read_bytes()).hexdigest() if md5 is None else md5
    return import_published(path, out, md5=md5, backbone=BACKBONE)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_answers_as_the_plain_network_does_on_imagenet_normalised_rgb(tmp_path, legacy, prefix):
    theirs = plain_resnet()
    path = saved(tmp_path, {prefix + k: v for k, v in theirs.state_dict().items()}, legacy)
    grey = torch.rand(2, 1, 224, 224).expand(-1, 3, -1, -1)
    mean, sd = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_SD))

    version = imported(path, tmp_path / "artefact")
    artefact = load_artefact(tmp_path / "artefact")

    with torch.inference_mode():
        torch.testing.assert_close(artefact.network(grey), theirs((grey - mean) / sd), rtol=1e-4, atol=1e-4)
    assert artefact.version == version
    assert artefact.manifest.contract.normalisation == "imagenet"
    assert artefact.manifest.priors is None  # "not calibrated here"


def test_a_model_without_its_own_rad_score_has_no_nomogram(tmp_path):
    imported(saved(tmp_path, plain_resnet().state_dict()), tmp_path / "artefact")

    assert load_artefact(tmp_path / "artefact").manifest.nomogram is None


def test_its_contract_gives_eight_bit_grey_values_over_255():
    volume = Volume.from_hu(np.random.default_rng(0).normal(50, 90, (6, 64, 64)).astype(np.float32), (5.0, 2.0, 2.0))

    slices, _ = prepare_volume(volume, 3, published_contract())

    assert slices.min() >= 0
    assert slices.max() <= 1
    np.testing.assert_allclose(slices * 255, np.round(slices * 255), atol=1e-3)


def test_another_file_than_the_published_one_is_refused(tmp_path):
    path = saved(tmp_path, plain_resnet().state_dict())

    with pytest.raises(ModelArtefactError, match="not the published checkpoint"):
        import_published(path, tmp_path / "artefact", backbone=BACKBONE)

    assert not (tmp_path / "artefact").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("layer1.0.conv1.weight"), "layer1.0.conv1.weight is missing"),
        (lambda s: s.update(extra=torch.ones(1)), "extra is not of a resnet18"),
        (lambda s: s.update({"fc.weight": torch.ones(1000, 512)}), r"fc.weight has shape \(1000, 512\)"),
        (lambda s: s.update({"fc.bias": torch.full((4,), float("nan"))}), "fc.bias holds values that are not finite"),
        (lambda s: s.update(epoch=3), "something else than tensors"),
    ],
)
def test_says_what_does_not_fit(tmp_path, change, words):
    state = dict(plain_resnet().state_dict())
    change(state)

    with pytest.raises(ModelArtefactError, match=words):
        imported(saved(tmp_path, state), tmp_path / "artefact")

    assert not (tmp_path / "artefact").exists()


class Trap:
    """Runs code where it is unpickled."""

    def __reduce__(self):
        return (print, ("executed",))


def test_code_in_a_weight_file_is_not_run(tmp_path, capsys):
    with pytest.raises(ModelArtefactError, match="not a readable state dict"):
        imported(saved(tmp_path, {"conv1.weight": Trap()}), tmp_path / "artefact")

    assert "executed" not in capsys.readouterr().out


def test_a_truncated_file_is_refused(tmp_path):
    path = saved(tmp_path, plain_resnet().state_dict())
    path.write_bytes(path.read_bytes()[:-1000])

    with pytest.raises(ModelArtefactError, match="not a readable state dict"):
        imported(path, tmp_path / "artefact")


def test_the_command_writes_the_artefact(tmp_path):
    path = saved(tmp_path, plain_resnet().state_dict())
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    arguments = ["model", "import", str(path), "--out", str(tmp_path / "a"), "--md5", md5, "--backbone", BACKBONE]

    done = CliRunner().invoke(app, [*arguments, "--json"])

    assert done.exit_code == 0
    assert json.loads(done.stdout)["version"] == load_artefact(tmp_path / "a").version
