"""GTRNet's layers as a CPU runs them fastest: batch norms folded, ReLU and shortcut in the convolution's own pass.

In eval mode a batch norm is a factor and a summand for each channel, which go into the convolution before it. What is
left is run by oneDNN, which torch brings along, through the operators that `torch.compile` too uses for a CPU: weights
laid out once for the CPU's instructions, channels last, and ReLU or shortcut and ReLU on each tile of the result while
it is in the cache. No compiler is needed. The arithmetic is float32 as before, in another order.

oneDNN's ReLU makes 0 of what is not a number, torch's own does not. So what would be hidden is looked for where it
shows, in the input and at the end of each layer, and such a slice's output is not a number as it is without fusion.

A batch is run case by case: intermediate results of three slices stay in the cache and in memory that is used again,
those of 48 do not, and a case gets the same bits whatever else is in its batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

if TYPE_CHECKING:
    from gtr_batch.stage.network import GTRNet

SLICES_AT_ONCE = 3  # a case
_OPERATORS = ("_reorder_convolution_weight", "_convolution_pointwise", "_convolution_pointwise_")


def is_possible() -> bool:
    """Whether this torch and this CPU (x86 with AVX2 or better) can: the operators are not part of torch's promises."""
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability().startswith("AVX")
        and all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)
    )


class FusedLayers:
    """The layers of a GTRNet up to the last block of layer4, for inference on a CPU.

    The weights are copied: what is done to the network afterwards changes nothing here.

    Parameters
    ----------
    network : GTRNet
        On the CPU, float32.
    """

    def __init__(self, network: GTRNet) -> None:
        with torch.no_grad():
            self._stem = _Convolution(network.conv1, network.bn1)
            self._fuse = _Convolution(network.fuse)
            layers = (network.layer1, network.layer2, network.layer3, network.layer4)
            self._layers = [[_Block(block) for block in layer] for layer in layers]

    def __call__(self, slices: Tensor, two_streams: Callable[[Tensor], Tensor]) -> Tensor:
        """Output of layer4 (n, D, k, k), channels last, of slices (n, 3, size, size).

        `two_streams` makes of the stem (n, 64, h, w) what the fusion gets.
        """
        with torch.no_grad():
            parts = [self._of_a_case(part, two_streams) for part in slices.split(SLICES_AT_ONCE)]
            return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _of_a_case(self, slices: Tensor, two_streams: Callable[[Tensor], Tensor]) -> Tensor:
        stem = self._stem(slices.contiguous(memory_format=torch.channels_last), relu=True)
        x = self._fuse(two_streams(stem))
        finite = _is_finite(slices) & _is_finite(x)
        for layer in self._layers:
            for block in layer:
                x = block(x)
            finite &= _is_finite(x)
        return x if bool(finite.all()) else x.masked_fill(~finite[:, None, None, None], torch.nan)


def _is_finite(x: Tensor) -> Tensor:
    """Of each slice (n,): a sum is finite only where all of its summands are."""
    return x.sum((1, 2, 3)).isfinite()


class _Block:
    """A residual block: convolutions with ReLU, the last one with the shortcut added before it."""

    def __init__(self, block: Any) -> None:
        numbers = [n for n in (1, 2, 3) if hasattr(block, f"conv{n}")]
        *self._first, self._last = (_Convolution(getattr(block, f"conv{n}"), getattr(block, f"bn{n}")) for n in numbers)
        self._shortcut = None if block.downsample is None else _Convolution(*block.downsample)

    def __call__(self, x: Tensor) -> Tensor:
        shortcut = x if self._shortcut is None else self._shortcut(x)
        for convolution in self._first:
            x = convolution(x, relu=True)
        return self._last.added_to(shortcut, x)


class _Convolution:
    """A convolution with its batch norm folded in and its weights in oneDNN's layout for this CPU."""

    def __init__(self, convolution: nn.Conv2d, norm: Any = None) -> None:
        weight, bias = convolution.weight, convolution.bias
        if norm is not None:
            weight, bias = fuse_conv_bn_weights(
                weight, bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
        self._how = (
            list(convolution.padding),
            list(convolution.stride),
            list(convolution.dilation),
            convolution.groups,
        )
        self._bias = None if bias is None else bias.detach().clone()
        channels_last = weight.detach().contiguous(memory_format=torch.channels_last)
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(channels_last, *self._how, None)

    def __call__(self, x: Tensor, relu: bool = False) -> Tensor:
        after: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, self._bias, *self._how, "relu" if relu else "none", [], ""
        )
        return after

    def added_to(self, shortcut: Tensor, x: Tensor) -> Tensor:
        """ReLU of shortcut + convolution, written over the shortcut."""
        after: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
            shortcut, x, self._weight, self._bias, *self._how, "add", 1.0, "relu", [], ""
        )
        return after
