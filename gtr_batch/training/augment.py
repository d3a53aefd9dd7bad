"""Augmentation, on the device that the images lie on: flips, rotation, scale, shift, intensity (paper, Methods)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def augment(
    images: Tensor, centres: np.ndarray | None, window: tuple[int, int] | None, rng: np.random.Generator
) -> Tensor:
    """Flip, rotate, scale and shift each image, perturb its intensities; shape (n, 1, rows, columns).

    Flips are left-right, rotation up to 12 degrees, scale 0.9 to 1.12, shift up to 8 pixels. Further channels are
    masks: they are moved with the image, and keep their values.
    """
    n = len(images)
    angle = np.radians(rng.uniform(-12, 12, n))
    scale = rng.uniform(0.9, 1.12, n)
    flip = np.stack([np.ones(n), np.where(rng.uniform(size=n) < 0.5, -1.0, 1.0)], axis=1)
    shift = rng.uniform(-8, 8, (n, 2))
    moved = sample(images, window, centres, angle=angle, scale=scale, flip=flip, shift=shift)
    device = images.device
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, (n, 1, 1, 1)).astype(np.float32)).to(device)
    offset = torch.from_numpy(rng.uniform(-0.15, 0.15, (n, 1, 1, 1)).astype(np.float32)).to(device)
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    image, masks = moved[:, :1], moved[:, 1:]
    noise = torch.randn(image.shape, generator=generator, device=device)
    return torch.cat((image * gain + offset + 0.04 * noise, masks), dim=1)


def sample(
    images: Tensor,
    window: tuple[int, int] | None,
    centres: np.ndarray | None,
    *,
    angle: np.ndarray,
    scale: np.ndarray,
    flip: np.ndarray,
    shift: np.ndarray,
) -> Tensor:
    """Windows of images, turned, scaled, flipped and shifted about their centres; on the images' device."""
    n, channels, rows, columns = images.shape
    height, width = window or (rows, columns)
    middle = np.array([[(rows - 1) / 2, (columns - 1) / 2]])
    centre = (middle if centres is None or window is None else centres) + shift
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    # From the window's coordinates (-1..1) to the image's: x is along columns.
    theta = np.zeros((n, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 0, 1] = cos * flip[:, 1] * width / columns, -sin * flip[:, 0] * height / columns
    theta[:, 1, 0], theta[:, 1, 1] = sin * flip[:, 1] * width / rows, cos * flip[:, 0] * height / rows
    theta[:, 0, 2] = (2 * centre[:, 1] + 1) / columns - 1
    theta[:, 1, 2] = (2 * centre[:, 0] + 1) / rows - 1
    grid = functional.affine_grid(
        torch.from_numpy(theta).to(images.device), [n, channels, height, width], align_corners=False
    )
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
