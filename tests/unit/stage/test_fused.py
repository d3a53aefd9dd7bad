"""The layers as a CPU runs them fastest answer what the network answers."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from gtr_batch.explain import GradCamForward
from gtr_batch.stage import fused, stage_shard
from gtr_batch.stage.artefact import load_artefact, write_artefact
from gtr_batch.stage.network import BACKBONES, GTRNet
from tests.unit.stage.small import small_manifest
from tests.unit.stage.test_stage_shard import geometry, noise

WITHIN = 1e-4  # of the largest

pytestmark = pytest.mark.skipif(not fused.is_possible(), reason="torch here cannot run fused layers")


def alive(backbone: str, seed: int = 0) -> GTRNet:
    """A network with random weights whose batch norms know what they see, and whose two streams both count.

    A block adds little to its shortcut, as in a trained network: where it adds as much, 150 layers make of a rounding
    of float32 a thousand of them.
    """
    torch.manual_seed(seed)
    network = GTRNet(backbone).train()
    nn.init.normal_(network.fuse.weight, std=0.1)
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = None  # the mean of what was seen, not a running one
        nn.init.normal_(norm.bias, std=0.1)
    for block in (m for m in network.modules() if isinstance(m, BasicBlock | Bottleneck)):
        nn.init.uniform_(block.bn3.weight if isinstance(block, Bottleneck) else block.bn2.weight, 0.1, 0.3)
    with torch.no_grad():
        network(torch.randn(6, 3, 64, 64))
    return network.eval().requires_grad_(False)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference, of the largest value."""
    return float(np.abs(one - other).max() / np.abs(other).max())


def answers(network: GTRNet, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, logits and heat map of the likeliest class."""
    return GradCamForward(network)(x, lambda logits: logits.argmax(axis=1).tolist())


@pytest.mark.parametrize("backbone", [*BACKBONES, "resnet10-stride8"])
def test_fused_layers_answer_what_the_network_answers(backbone: str):
    network, x = alive(backbone), torch.randn(7, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    plain = answers(network, x)

    fast = answers(network.ready_for_inference(), x)

    assert network._fused is not None
    for one, other in zip(fast, plain, strict=True):
        assert apart(one, other) < WITHIN
    np.testing.assert_array_equal(fast[1].argmax(axis=1), plain[1].argmax(axis=1))


def test_the_channels_mean_and_deviation_are_taken_out(artefact):
    network, x = alive("resnet10"), torch.rand(3, 3, 64, 64)
    network.normalise_channels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    plain = network(x)

    assert apart(network.ready_for_inference()(x).numpy(), plain.numpy()) < WITHIN


def test_a_loaded_artefact_runs_fused_and_a_case_gets_the_same_bits_in_any_batch(tmp_path):
    write_artefact(tmp_path / "a", alive("resnet18"), small_manifest(backbone="resnet18"))
    artefact = load_artefact(tmp_path / "a")
    inputs = {str(k): noise(k) for k in range(5)}
    where = {name: geometry(name) for name in inputs}

    def staged(cases):
        return stage_shard(artefact, {k: inputs[k] for k in cases}, where, forward=GradCamForward(artefact.network))

    together = staged(inputs)

    assert artefact.network._fused is not None
    for name in inputs:
        alone = staged([name])[name]
        for what in ("logits", "features", "heat"):
            np.testing.assert_allclose(getattr(alone, what), getattr(together[name], what), atol=1e-6)
        np.testing.assert_array_equal(
            artefact.network.last_layer(torch.from_numpy(inputs[name])[:, None].repeat(1, 3, 1, 1)),
            artefact.network.last_layer(
                torch.from_numpy(np.concatenate([*inputs.values(), inputs[name]]))[:, None].repeat(1, 3, 1, 1)
            )[-3:],
        )


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_slice_that_is_not_finite_is_not_hidden_by_a_fused_relu(artefact, broken: float):
    x = torch.randn(6, 3, 64, 64)
    x[4, :, 30, 30] = broken

    features = artefact.network.forward_features(x)

    assert features.isfinite().all(dim=1).tolist() == [True] * 4 + [False, True]


@pytest.mark.parametrize("layer", ["conv1", "layer1", "layer2", "layer3", "layer4"])
def test_an_overflow_in_a_layer_is_not_hidden_by_a_fused_relu(layer: str):
    network = alive("resnet10")
    module = getattr(network, layer)
    convolution = module if layer == "conv1" else module[0].conv2
    convolution.weight.mul_(1e38)

    features = network.ready_for_inference().forward_features(torch.randn(3, 3, 64, 64))

    assert network._fused is not None
    assert not features.isfinite().all()


def test_training_gradients_and_other_weights_end_the_fusion():
    network, other = alive("resnet10").ready_for_inference(), alive("resnet10", seed=1)
    x = torch.randn(3, 3, 64, 64)

    network.load_state_dict(other.state_dict())
    assert network._fused is None
    torch.testing.assert_close(network(x), other(x))

    assert network.ready_for_inference()._fused is not None
    assert network.requires_grad_(True)._fused is None
    assert network.ready_for_inference().train()._fused is None


def test_an_input_that_takes_gradients_gets_them():
    network = alive("resnet10").ready_for_inference()
    x = torch.randn(3, 3, 64, 64, requires_grad=True)

    network(x).sum().backward()

    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_without_these_operators_the_network_runs_as_it_is(monkeypatch):
    monkeypatch.setattr(fused, "_OPERATORS", ("_no_such_operator",))
    network, x = alive("resnet10"), torch.randn(3, 3, 64, 64)
    plain = network(x)

    assert network.ready_for_inference()._fused is None
    torch.testing.assert_close(network(x), plain, rtol=0, atol=0)
