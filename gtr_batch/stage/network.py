"""GTRNet: a torchvision ResNet with two parallel streams after the stem.

Paper, "Deep learning model: GTRNet": "parallel max-pooling and center-cropping streams in the early network layers,
allowing the network to focus on both local tumor detail and wider contextual information".

The stem (conv1-bn-relu) turns 224 x 224 into 112 x 112 x 64. One stream is ResNet's own 3x3 max-pool, stride 2
(context, 56 x 56); the other is the central 56 x 56 of the stem itself (detail at stem resolution). They are
concatenated (128 channels) and fused to 64 by a 1x1 convolution without bias, which starts as the identity on the
pooled stream and zero on the crop: a fresh GTRNet is the ResNet whose weights it was given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from gtr_batch.errors import ModelArtefactError
from gtr_batch.stage import fused
from gtr_batch.stage.state_dict import read_state_dict

BACKBONES: dict[str, tuple[type[BasicBlock | Bottleneck], tuple[int, int, int, int]]] = {
    "resnet10": (BasicBlock, (1, 1, 1, 1)),  # not torchvision's: the demo's, for two cores
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}
STEM_CHANNELS = 64
STRIDES = (32, 16, 8)  # network pixels from one cell of layer4 to the next; 32 is torchvision's


class GTRNet(nn.Module):
    """The staging network; its modules have torchvision's names, so that a ResNet state dict fits.

    Parameters
    ----------
    backbone : str
        One of `BACKBONES`; with ``-stride16`` or ``-stride8`` at its end, layer4 (and layer3) do not halve what they
        see: the weights have the same shapes, and the last layer's cells lie closer.
    num_classes : int
        Outputs of the linear head; T1 to T4 in that order.
    dropout : float
        Dropout before the head, while training.
    weights : Path, optional
        Local file with a torchvision ResNet state dict of the same depth (see `load_imagenet`).

    Attributes
    ----------
    feature_count : int
        Length D of the penultimate features: 512 up to ResNet-34, 2048 above.
    stride : int
        Network pixels from one cell of layer4 to the next.

    Raises
    ------
    ModelArtefactError
        Unknown backbone, or weights that do not fit.
    """

    def __init__(
        self,
        backbone: str = "resnet152",
        num_classes: int = 4,
        dropout: float = 0.5,
        weights: Path | str | None = None,
    ) -> None:
        super().__init__()
        block, depths, self.stride = backbone_of(backbone)
        resnet = ResNet(block, list(depths), num_classes=num_classes)
        for layer in (resnet.layer4, resnet.layer3)[: STRIDES.index(self.stride)]:
            keep_resolution(layer[0])
        self.backbone = backbone
        self.feature_count = int(resnet.fc.in_features)
        self.conv1, self.bn1, self.relu, self.maxpool = resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool
        self.fuse = nn.Conv2d(2 * STEM_CHANNELS, STEM_CHANNELS, kernel_size=1, bias=False)
        self.layer1, self.layer2, self.layer3, self.layer4 = resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4
        self.avgpool = resnet.avgpool
        self.dropout = nn.Dropout(dropout)
        self.fc = resnet.fc
        start_as_identity(self.fuse)
        self._channels: tuple[Tensor, Tensor] | None = None
        self._fused: fused.FusedLayers | None = None
        if weights is not None:
            self.load_imagenet(weights)

    def streams(self, slices: Tensor) -> Tensor:
        """Stem, both streams and their fusion: (N, 3, 224, 224) -> (N, 64, 56, 56)."""
        stem = self.relu(self.bn1(self.conv1(self._with_normal_channels(slices))))
        joined: Tensor = self.fuse(self._both(stem))
        return joined

    def _with_normal_channels(self, slices: Tensor) -> Tensor:
        if self._channels is None:
            return slices
        mean, deviation = (t.to(slices.device, slices.dtype) for t in self._channels)
        return (slices - mean) / deviation

    def _both(self, stem: Tensor) -> Tensor:
        """What the fusion gets: the pooled stem and its centre, (N, 64, 112, 112) -> (N, 128, 56, 56)."""
        context = self.maxpool(stem)
        return torch.cat((context, centre_crop(stem, context.shape[-2], context.shape[-1])), dim=1)

    def normalise_channels(self, mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
        """Take from each input channel its mean, over its standard deviation; for weights that were trained so."""
        self._channels = (torch.tensor(mean).view(1, -1, 1, 1), torch.tensor(deviation).view(1, -1, 1, 1))

    def last_layer(self, slices: Tensor) -> Tensor:
        """Output of layer4: (N, 3, 224, 224) -> (N, D, 7, 7)."""
        if self._fused is not None and slices.device.type == "cpu" and not slices.requires_grad:
            return self._fused(self._with_normal_channels(slices), self._both)
        deep: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(self.streams(slices)))))
        return deep

    def pooled(self, last_layer: Tensor) -> Tensor:
        """Penultimate features of what `last_layer` answered: (N, D, 7, 7) -> (N, D)."""
        return torch.flatten(self.avgpool(last_layer), 1)

    def forward_features(self, slices: Tensor) -> Tensor:
        """Penultimate features: (N, 3, 224, 224) -> (N, D)."""
        return self.pooled(self.last_layer(slices))

    def ready_for_inference(self) -> GTRNet:
        """Eval mode without gradients; on a CPU, its layers from now on as `fused` runs them, where it can.

        Training the network, or loading other weights, undoes that. Who changes a weight of its layers in place must
        call this again.
        """
        self.eval().requires_grad_(False)
        on_cpu = all(p.device.type == "cpu" and p.dtype == torch.float32 for p in self.parameters())
        self._fused = fused.FusedLayers(self) if on_cpu and fused.is_possible() else None
        return self

    def train(self, mode: bool = True) -> GTRNet:
        """Into training mode, or out of it; `FusedLayers` are of an inference only."""
        if mode:
            self._fused = None
        return super().train(mode)

    def requires_grad_(self, requires_grad: bool = True) -> GTRNet:
        """Let the parameters take gradients, or not; `FusedLayers` give none."""
        if requires_grad:
            self._fused = None
        return super().requires_grad_(requires_grad)

    def load_state_dict(self, *given: Any, **options: Any) -> Any:
        """Take other weights."""
        self._fused = None
        return super().load_state_dict(*given, **options)

    def classify(self, features: Tensor) -> Tensor:
        """Dropout (while training) and linear head: (N, D) -> logits (N, classes)."""
        logits: Tensor = self.fc(self.dropout(features))
        return logits

    def forward(self, slices: Tensor) -> Tensor:
        """Logits, not calibrated.

        Parameters
        ----------
        slices : Tensor, (N, 3, 224, 224), float32
            Each a z-scored slice, the same in the three channels.

        Returns
        -------
        Tensor, (N, classes)
        """
        return self.classify(self.forward_features(slices))

    def load_imagenet(self, path: Path | str, sha256: str = "") -> str:
        """Take a torchvision ResNet's weights from a local file; the head and the fusion stay as they are.

        The file is read once and nothing in it is executed (`read_state_dict`).

        Parameters
        ----------
        path : Path
        sha256 : str
            With which the file's SHA-256 must begin; empty: any.

        Returns
        -------
        str
            The SHA-256 of what was loaded.

        Raises
        ------
        ModelArtefactError
            The file cannot be read, has another digest, or its tensors are not those of this depth; names them.
        """
        given, digest = read_state_dict(Path(path), sha256=sha256)
        own = {k: v for k, v in self.state_dict().items() if not k.startswith(("fc.", "fuse."))}
        trunk = {k: v for k, v in given.items() if not k.startswith("fc.")}
        wrong = sorted(
            [f"{k} is missing" for k in own if k not in trunk and not k.endswith("num_batches_tracked")]
            + [f"{k} is not of a {self.backbone}" for k in trunk if k not in own]
            + [f"{k} has shape {tuple(trunk[k].shape)}" for k in own if k in trunk and trunk[k].shape != own[k].shape]
        )
        if wrong:
            raise ModelArtefactError(f"{path}: {len(wrong)} tensors do not fit {self.backbone}: {'; '.join(wrong[:3])}")
        self.load_state_dict(trunk, strict=False)
        return digest


def backbone_of(name: str) -> tuple[type[BasicBlock | Bottleneck], tuple[int, int, int, int], int]:
    """Blocks, depths and the last layer's stride of a backbone.

    Raises
    ------
    ModelArtefactError
        There is none of this name.
    """
    plain, _, stride = name.partition("-stride")
    if plain not in BACKBONES or stride not in {"", *map(str, STRIDES[1:])}:
        raise ModelArtefactError(f"backbone {name!r} is not known; one of: {', '.join(BACKBONES)}")
    return (*BACKBONES[plain], int(stride or STRIDES[0]))


def keep_resolution(block: nn.Module) -> None:
    """Let a layer's first block, which halves rows and columns, keep them."""
    for convolution in block.modules():
        if isinstance(convolution, nn.Conv2d):
            convolution.stride = (1, 1)


def centre_crop(x: Tensor, rows: int, columns: int) -> Tensor:
    """The central (rows, columns) of (N, C, H, W)."""
    top, left = (x.shape[-2] - rows) // 2, (x.shape[-1] - columns) // 2
    return x[..., top : top + rows, left : left + columns]


def start_as_identity(fuse: nn.Conv2d) -> None:
    """Set the fusion to pass the pooled stream (first half of its inputs) and to ignore the crop."""
    with torch.no_grad():
        fuse.weight.zero_()
        channels = torch.arange(fuse.out_channels)
        fuse.weight[channels, channels] = 1.0
