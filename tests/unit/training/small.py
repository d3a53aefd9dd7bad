"""A small network and slices that it can learn."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from gtr_batch.training.loop import PreparedSlices


class Small(nn.Module):
    """Enough for bright squares."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(8, 4)

    def forward(self, images):
        return self.head(self.body(images))


def squares(patients: int, seed: int, size: int = 32) -> PreparedSlices:
    """Stage k has a square of brightness k."""
    rng = np.random.default_rng(seed)
    stages = np.arange(patients) % 4
    slices = rng.normal(0, 0.1, (patients, 3, size, size)).astype(np.float32)
    slices[:, :, 8:24, 8:24] += stages[:, None, None, None] * 1.5
    return PreparedSlices(slices, stages)
