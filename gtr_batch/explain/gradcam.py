"""Grad-CAM (Selvaraju et al. 2017) with pytorch-grad-cam, in the forward pass that stages the case.

The target layer is the last block of layer4, and Grad-CAM needs the gradient of a class score with respect to that
block's output only. So that output is made the leaf of the graph: everything up to it runs without autograd, and
"backward" is the average pool and the linear head. The class is chosen after the forward pass, by the vote, from the
logits of that same pass.

Where the heat lies. Every stride-2 step of a ResNet is centred on the even pixels, so cell k of layer4 is centred on
network pixel 32 k: for 224 pixels the seven cells sit at 0, 32, ..., 192 (28 cells at 8 k where the network keeps rows
and columns in its last two layers, `GTRNet.stride`). pytorch-grad-cam enlarges the map as if
they sat at 15.5, 47.5, ..., which moves everything by half a cell (15.5 of 224 pixels, about 2 cm in the patient)
down and to the right. So we take its map at the cells' own resolution and enlarge it here from where the cells are.
GTRNet's crop stream sees the centre at twice the scale, and no method that looks at layer4 can tell the streams
apart: what the crop alone contributed is drawn up to twice as far from the centre as it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gtr_batch.domain.prepared import PreparedGeometry

if TYPE_CHECKING:
    from torch import Tensor

STRIDE = 32  # network pixels from one cell of layer4 to the next, where the network does not say


class Network(Protocol):
    """What `gtr_batch.stage.network.GTRNet` has of it: a last layer that is pooled and classified by a linear head."""

    stride: int

    def last_layer(self, slices: Tensor) -> Tensor:
        """(n, 3, size, size) -> (n, D, k, k)."""

    def pooled(self, last_layer: Tensor) -> Tensor:
        """(n, D, k, k) -> (n, D)."""

    def classify(self, features: Tensor) -> Tensor:
        """(n, D) -> (n, 4)."""


class GradCamForward:
    """A forward pass that gives features, logits and a heat map for each slice.

    The network is put into eval mode and its parameters no longer require gradients; its answer does not change.

    Parameters
    ----------
    network : Network, a module
        Usually a GTRNet.
    """

    def __init__(self, network: Any) -> None:
        self._method = _grad_cam_at_the_cells()
        self._network: Network = network.eval().requires_grad_(False)
        self._head = _head_of(network)

    def __call__(
        self, slices: Tensor, choose: Callable[[np.ndarray], Sequence[int]]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run n slices.

        Parameters
        ----------
        slices : Tensor, (n, 3, size, size), float32
            On the network's device.
        choose : callable
            Given the logits (n, 4), the class of each slice that the heat map shall explain.

        Returns
        -------
        features (n, D), logits (n, 4), heat (n, size, size) : float32
            Heat is 0 to 1, scaled for each slice to its own minimum and maximum over the cells as pytorch-grad-cam
            does; all 0 where nothing in the slice speaks for the class. It says where, not how strongly.
        """
        import torch

        with torch.no_grad():
            deep = self._network.last_layer(slices)
        cam = self._method(model=self._head, target_layers=[self._head.block])
        cam.activations_and_grads.detach = False  # they stay on the device
        targets = _DecidedLater(cam, choose)
        try:
            cells = cam(
                input_tensor=deep.float().requires_grad_(True),
                targets=[targets.row(k) for k in range(len(slices))],
            )
            logits = cam.outputs.detach().float().cpu().numpy()
            features = self._head.kept.pop()
        finally:
            self._head.kept.clear()
            cam.activations_and_grads.release()
        return (
            features.float().cpu().numpy(),
            logits,
            enlarge(np.clip(cells, 0.0, 1.0), slices.shape[-1], self._network.stride),
        )


def enlarge(cells: np.ndarray, size: int, stride: int = STRIDE) -> np.ndarray:
    """Heat of layer4's cells (n, k, k) on the network's pixels (n, size, size), bilinear, float32.

    Cell i is centred on pixel `stride` i; beyond the outermost cells their heat goes on.
    """
    at = np.arange(size) / stride
    weights = _linear(np.clip(at, 0, cells.shape[-1] - 1), cells.shape[-1])
    return np.einsum("hi,kij,wj->khw", weights, cells, weights, optimize=True).astype(np.float32)


def _head_of(network: Any) -> Any:
    """What follows the last block, as a module: its `block` hands on that block's output; `kept` are the features."""
    from torch import nn

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.network = nn.Identity(), network
            self.kept: list[Tensor] = []

        def forward(self, last_layer: Tensor) -> Tensor:
            features = self.network.pooled(self.block(last_layer))
            self.kept.append(features.detach())
            logits: Tensor = self.network.classify(features)
            return logits

    return Head().eval()


@cache
def _grad_cam_at_the_cells() -> Any:
    from pytorch_grad_cam import GradCAM  # 8 s
    from pytorch_grad_cam.utils.image import scale_cam_image

    class GradCamAtTheCells(GradCAM):
        """pytorch-grad-cam's map before it is enlarged to the input's size."""

        def get_target_width_height(self, input_tensor: Tensor) -> tuple[int, int]:
            rows, columns = self.activations_and_grads.activations[0].shape[-2:]
            return columns, rows

        def compute_cam_per_layer(
            self, input_tensor: Tensor, targets: Sequence[object], eigen_smooth: bool
        ) -> list[np.ndarray]:
            """The library's own sums, on the device: 400 kB a slice need not be copied from a GPU for 49 numbers."""
            kept: Any = self.activations_and_grads
            block, gradient = kept.activations[0].detach(), kept.gradients[0].detach()
            cells = (gradient.mean((2, 3), keepdim=True) * block).sum(1).clamp_min(0).cpu().numpy()
            return [scale_cam_image(cells, self.get_target_width_height(input_tensor))[:, None]]

    return GradCamAtTheCells


class _DecidedLater:
    """Targets whose classes are chosen once, when the first is asked for and the logits are there."""

    def __init__(self, cam: Any, choose: Callable[[np.ndarray], Sequence[int]]) -> None:
        self._cam, self._choose = cam, choose
        self._classes: Sequence[int] | None = None

    def row(self, k: int) -> Callable[[Tensor], Tensor]:
        """The target of slice k: its logit of the chosen class."""

        def target(output: Tensor) -> Tensor:
            if self._classes is None:
                self._classes = list(self._choose(self._cam.outputs.detach().float().cpu().numpy()))
            return output[self._classes[k]]

        return target


def to_source_pixels(heat: np.ndarray, geometry: PreparedGeometry) -> np.ndarray:
    """Bring heat maps from the network's grid back to the source slices, bilinearly.

    Parameters
    ----------
    heat : array, (k, size, size), float32
        Usually k = 3.
    geometry : PreparedGeometry

    Returns
    -------
    array, (k, source_rows, source_columns), float32
        0 where the network's grid does not reach: a source pixel is inside when its centre lies within the outer
        edges of the grid's pixels; the outermost half pixel takes the border's value.
    """
    if heat.shape[1:] != (geometry.size, geometry.size):
        raise ValueError(f"heat of shape {heat.shape}, not (k, {geometry.size}, {geometry.size})")
    rows = _bilinear(geometry.source_rows, geometry.row_origin, geometry.row_step, geometry.size)
    columns = _bilinear(geometry.source_columns, geometry.column_origin, geometry.column_step, geometry.size)
    return np.einsum("hi,kij,wj->khw", rows, heat, columns, optimize=True).astype(np.float32)


def _bilinear(source: int, origin: float, step: float, size: int) -> np.ndarray:
    """Weights (source, size) of one axis: linear interpolation at each source centre, zero outside the grid."""
    at = (np.arange(source) - origin) / step
    inside = (at >= -0.5) & (at <= size - 0.5)
    return _linear(np.clip(at, 0, size - 1), size) * inside[:, None]


def _linear(at: np.ndarray, size: int) -> np.ndarray:
    """Weights (n, size) of linear interpolation at the n positions 0 <= at <= size - 1."""
    return np.clip(1 - np.abs(at[:, None] - np.arange(size)), 0, 1)
