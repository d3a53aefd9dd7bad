import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from gtr_batch.domain.prepared import PreparedGeometry
from gtr_batch.explain import GradCamForward, to_source_pixels
from gtr_batch.explain.gradcam import enlarge
from gtr_batch.stage.network import GTRNet

T3 = 2


def geometry(**changes) -> PreparedGeometry:
    """A 512 x 512 source whose centre 448 x 448 is the network's 224 x 224."""
    values = {"source_rows": 512, "source_columns": 512, "size": 224, "key_slice_source": "ehr_reference"}
    values |= {"row_origin": 32.5, "row_step": 2.0, "column_origin": 32.5, "column_step": 2.0}
    values |= {"sop_instance_uids": ("2.25.1", "2.25.2", "2.25.3"), "positions_mm": (0.0, 5.0, 10.0)}
    return PreparedGeometry(**{**values, **changes})


@pytest.fixture
def network() -> GTRNet:
    torch.manual_seed(0)
    return GTRNet("resnet10").eval()


def sees_brightness(backbone: str = "resnet10") -> GTRNet:
    """A GTRNet whose T3 logit is the brightness: each layer blurs channel 0 and hands it on, nothing else is wired."""
    net = GTRNet(backbone).eval()
    with torch.no_grad():
        net.conv1.weight.zero_()
        net.conv1.weight[0] = 1 / (3 * 49)
        for block in (net.layer1[0], net.layer2[0], net.layer3[0], net.layer4[0]):
            for conv in (block.conv1, block.conv2):
                conv.weight.zero_()
                conv.weight[0, 0] = 1 / 9
            if block.downsample is not None:
                block.downsample[0].weight.zero_()
        net.fc.weight.zero_()
        net.fc.bias.zero_()
        net.fc.weight[T3, 0] = 1.0
    return net


def voted(stage: int):
    return lambda logits: [stage] * len(logits)


@pytest.mark.parametrize("stage", range(4))
def test_the_heat_is_pytorch_grad_cams_moved_by_half_a_cell(network: GTRNet, stage: int):
    """pytorch-grad-cam draws the cell that is centred on pixel 32 k at 32 k + 15.5."""
    x = torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(stage))

    features, logits, heat = GradCamForward(network)(x, voted(stage))

    network.requires_grad_(True)
    with GradCAM(model=network, target_layers=[network.layer4[-1]]) as theirs:
        default = theirs(x, [ClassifierOutputTarget(stage)] * 3)
    cells = heat[:, ::32, ::32]
    assert cells.shape == (3, 7, 7)
    np.testing.assert_allclose(scale_cam_image(scale_cam_image(cells, (224, 224))), default, atol=1e-5)
    with torch.inference_mode():
        np.testing.assert_allclose(logits, network(x), atol=1e-6)
        np.testing.assert_allclose(features, network.forward_features(x), atol=1e-6)


@pytest.mark.parametrize("cell", [2, 3, 4])
def test_a_cell_of_layer4_is_centred_on_pixel_32_k(cell: int):
    """Why the map is not enlarged as pytorch-grad-cam does: measured by the gradient with respect to the input."""
    net, kept = sees_brightness(), []
    net.layer4.register_forward_hook(lambda _m, _i, output: kept.append(output))
    x = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)).requires_grad_(True)

    net(x)
    kept[0][0, 0, cell, cell].backward()

    seen = x.grad[0].abs().sum(dim=(0, 1))
    assert float((seen * torch.arange(224)).sum() / seen.sum()) == pytest.approx(32 * cell, abs=2)


@pytest.mark.parametrize("stride", [16, 8])
def test_a_cell_of_a_finer_last_layer_is_centred_on_a_multiple_of_its_stride(stride: int):
    net, kept = sees_brightness(f"resnet10-stride{stride}"), []
    net.layer4.register_forward_hook(lambda _m, _i, output: kept.append(output))
    x = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)).requires_grad_(True)

    net(x)
    cell = 96 // stride
    kept[0][0, 0, cell, cell].backward()

    seen = x.grad[0].abs().sum(dim=(0, 1))
    assert kept[0].shape[-1] == 224 // stride
    assert net.stride == stride
    assert float((seen * torch.arange(224)).sum() / seen.sum()) == pytest.approx(96, abs=2)


def test_the_heat_of_a_finer_last_layer_lies_on_what_is_bright():
    x = torch.zeros(1, 3, 224, 224)
    x[..., 92:101, 60:69] = 1.0

    _, _, heat = GradCamForward(sees_brightness("resnet10-stride8"))(x, voted(T3))

    row, column = np.unravel_index(heat[0].argmax(), heat[0].shape)
    assert (row, column) == (pytest.approx(96, abs=4), pytest.approx(64, abs=4))


def test_heat_is_enlarged_from_where_the_cells_are():
    cells = np.random.default_rng(0).random((2, 7, 7))

    heat = enlarge(cells, 224)

    np.testing.assert_allclose(heat[:, ::32, ::32], cells, atol=1e-6)
    np.testing.assert_allclose(heat[:, 16, 32], (cells[:, 0, 1] + cells[:, 1, 1]) / 2, atol=1e-6)
    np.testing.assert_allclose(heat[:, 223, 223], cells[:, 6, 6], atol=1e-6)


def test_one_forward_pass_serves_vote_features_and_heat(network: GTRNet):
    calls, chosen_from = [], []
    network.conv1.register_forward_hook(lambda *_: calls.append(1))

    def choose(logits):
        chosen_from.append(logits)
        return logits.argmax(axis=1)

    _, logits, _ = GradCamForward(network)(torch.randn(6, 3, 64, 64), choose)

    assert len(calls) == 1
    assert len(chosen_from) == 1
    np.testing.assert_array_equal(chosen_from[0], logits)


def test_nothing_below_the_last_blocks_output_is_differentiated(network: GTRNet):
    graphs = []
    network.layer4[-1].bn2.register_forward_hook(lambda _m, _i, output: graphs.append(output.requires_grad))
    network.avgpool.register_forward_hook(lambda _m, inputs, _o: graphs.append(inputs[0].is_leaf))

    GradCamForward(network)(torch.randn(3, 3, 64, 64), voted(0))

    assert graphs == [False, True]  # no graph inside the block; its output is the leaf
    assert all(p.grad is None for p in network.parameters())


def test_the_network_is_left_as_it_was_and_two_passes_do_not_disturb_each_other(network: GTRNet):
    x = torch.randn(3, 3, 64, 64)
    first, second = GradCamForward(network), GradCamForward(network)

    heats = [f(x, voted(1))[2] for f in (first, second, first)]

    np.testing.assert_array_equal(heats[0], heats[1])
    np.testing.assert_array_equal(heats[0], heats[2])
    assert not network.layer4[-1]._forward_hooks
    assert not network.fc._forward_pre_hooks


def test_heat_is_scaled_for_each_slice_and_batching_changes_nothing(network: GTRNet):
    x = torch.randn(6, 3, 64, 64)
    forward = GradCamForward(network)
    chosen = [0, 0, 0, 1, 1, 1]

    together = forward(x, lambda _: chosen)[2]
    apart = np.concatenate([forward(x[k : k + 1], lambda _, k=k: chosen[k : k + 1])[2] for k in range(6)])

    np.testing.assert_allclose(together, apart, atol=1e-4)
    assert together.dtype == np.float32
    assert together.shape == (6, 64, 64)
    assert ((together >= 0) & (together <= 1)).all()
    assert set(np.round(together.max(axis=(1, 2)), 3)) <= {0.0, 1.0}


@pytest.mark.parametrize(("row", "column"), [(130, 150), (300, 260), (380, 130), (220, 400)])
def test_the_heat_lies_on_the_marker_that_the_network_looks_at(row: int, column: int):
    """The marker's place is known in the source; preparing, staging and mapping back must lead there again."""
    where, half = geometry(), 20
    source = np.zeros((512, 512), np.float32)
    source[row - half : row + half, column - half : column + half] = 1.0
    i = np.round(where.row_origin + where.row_step * np.arange(224)).astype(int)
    prepared = torch.from_numpy(source[np.ix_(i, i)])[None, None].repeat(3, 3, 1, 1)

    _, logits, heat = GradCamForward(sees_brightness())(prepared, voted(T3))
    back = to_source_pixels(heat, where)

    assert logits[0].argmax() == T3
    assert back.shape == (3, 512, 512)
    y, x = np.mgrid[:512, :512]
    centre = [(back[1] * axis).sum() / back[1].sum() for axis in (y, x)]
    cell = 32 * where.row_step  # one cell of layer4, in source pixels
    assert np.hypot(centre[0] - row, centre[1] - column) < cell / 3
    assert back[1][source > 0].mean() > 5 * back[1][source == 0].mean()


def test_a_class_that_nothing_speaks_for_gives_no_heat():
    _, _, heat = GradCamForward(sees_brightness())(torch.ones(3, 3, 64, 64), voted(0))

    assert heat.max() == 0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"row_origin": 0.64, "row_step": 2.2857, "column_origin": 0.64, "column_step": 2.2857},  # the whole slice
        {"row_origin": 100.0, "row_step": 0.5, "column_origin": 300.0, "column_step": 0.7},  # network finer than CT
        {"row_origin": -20.0, "row_step": 2.5, "column_origin": 3.0, "column_step": 2.1},  # reaches over the edge
    ],
)
def test_a_marker_in_the_network_returns_to_its_source_pixel(changes: dict):
    where = geometry(**changes)
    i, j = 90, 130
    y, x = np.mgrid[:224, :224]
    heat = np.exp(-((y - i) ** 2 + (x - j) ** 2) / (2 * 6.0**2)).astype(np.float32)[None]

    back = to_source_pixels(heat, where)[0]

    peak = np.unravel_index(back.argmax(), back.shape)
    assert abs(peak[0] - (where.row_origin + where.row_step * i)) <= max(1, where.row_step)
    assert abs(peak[1] - (where.column_origin + where.column_step * j)) <= max(1, where.column_step)


def test_a_ramp_comes_back_exactly_and_there_is_nothing_outside():
    where = geometry(row_origin=40.3, row_step=1.7, column_origin=10.9, column_step=2.1)
    i, j = np.mgrid[:224, :224]
    heat = ((i + 2 * j) / 1000).astype(np.float32)

    back = to_source_pixels(heat[None], where)[0]

    rows, columns = (np.arange(512) - 40.3) / 1.7, (np.arange(512) - 10.9) / 2.1
    inside = ((rows >= 0) & (rows <= 223))[:, None] & ((columns >= 0) & (columns <= 223))[None]
    outside = ((rows < -0.5) | (rows > 223.5))[:, None] | ((columns < -0.5) | (columns > 223.5))[None]
    expected = (rows[:, None] + 2 * columns[None]) / 1000
    np.testing.assert_allclose(back[inside], expected[inside], atol=1e-6)
    assert (back[outside] == 0).all()
    assert outside.any()


def test_heat_of_another_size_is_our_mistake():
    with pytest.raises(ValueError, match=r"not \(k, 224, 224\)"):
        to_source_pixels(np.zeros((3, 112, 112), np.float32), geometry())
