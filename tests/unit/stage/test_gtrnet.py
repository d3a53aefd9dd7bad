from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18, resnet152

from gtr_batch.errors import ModelArtefactError
from gtr_batch.stage.network import BACKBONES, GTRNet


def settled(network):
    """Eval mode, with batch norms that are not the identity."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.3, 0.6)
    return network.eval()


def features_of(resnet, x):
    kept = []
    hook = resnet.fc.register_forward_pre_hook(lambda _module, inputs: kept.append(inputs[0]))
    resnet(x)
    hook.remove()
    return kept[0]


def test_a_fresh_gtrnet_is_exactly_the_resnet152_whose_weights_it_was_given():
    torch.manual_seed(0)
    theirs = settled(resnet152(num_classes=4))
    ours = GTRNet("resnet152").eval()
    ours.load_state_dict(theirs.state_dict(), strict=False)  # the fusion stays as it starts; the head is copied
    x = torch.randn(2, 3, 224, 224)

    with torch.inference_mode():
        torch.testing.assert_close(ours.forward_features(x), features_of(theirs, x), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-6, atol=1e-6)


def test_imagenet_weights_come_from_a_local_file_and_leave_the_head_new(tmp_path: Path):
    theirs = settled(resnet18())
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    x = torch.randn(1, 3, 64, 64)

    ours = GTRNet("resnet18", weights=tmp_path / "resnet18.pth").eval()

    with torch.inference_mode():
        torch.testing.assert_close(ours.forward_features(x), features_of(theirs, x), rtol=1e-6, atol=1e-6)
    assert ours(x).shape == (1, 4)


def test_weights_of_another_depth_are_refused_by_name(tmp_path: Path):
    torch.save(resnet18().state_dict(), tmp_path / "resnet18.pth")

    with pytest.raises(ModelArtefactError, match=r"do not fit resnet34.*layer1\.2\.bn1\.bias is missing"):
        GTRNet("resnet34", weights=tmp_path / "resnet18.pth")


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_code_in_a_weights_file_is_not_executed(tmp_path: Path):
    torch.save({"conv1.weight": Bomb(tmp_path / "exploded")}, tmp_path / "weights.pth")

    with pytest.raises(ModelArtefactError, match="not a readable state dict"):
        GTRNet("resnet10", weights=tmp_path / "weights.pth")

    assert not (tmp_path / "exploded").exists()


def test_the_crop_stream_is_the_central_56_by_56_of_the_stem():
    net = GTRNet("resnet10").eval()
    with torch.no_grad():
        net.fuse.weight.copy_(net.fuse.weight.roll(64, dims=1))  # identity on the crop, zero on the pooled stream
    x = torch.randn(1, 3, 224, 224)

    with torch.inference_mode():
        stem = net.relu(net.bn1(net.conv1(x)))
        fused = net.streams(x)

    assert stem.shape == (1, 64, 112, 112)
    torch.testing.assert_close(fused, stem[:, :, 28:84, 28:84])


def test_the_crop_stream_learns_from_the_first_step():
    torch.manual_seed(0)
    net = GTRNet("resnet10")

    torch.nn.functional.cross_entropy(net(torch.randn(4, 3, 64, 64)), torch.tensor([0, 1, 2, 3])).backward()

    assert net.fuse.weight.grad[:, 64:].abs().max() > 0


@pytest.mark.parametrize(("backbone", "features"), [("resnet10", 512), ("resnet34", 512), ("resnet50", 2048)])
def test_feature_count_is_what_the_network_gives(backbone: str, features: int):
    net = GTRNet(backbone).eval()

    with torch.inference_mode():
        given = net.forward_features(torch.zeros(2, 3, 64, 64))

    assert net.feature_count == features
    assert given.shape == (2, features)


def test_an_unknown_backbone_is_refused_with_the_known_ones():
    with pytest.raises(ModelArtefactError, match=r"vgg16.*resnet152"):
        GTRNet("vgg16")

    assert "resnet152" in BACKBONES
