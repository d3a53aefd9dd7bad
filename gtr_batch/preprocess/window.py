"""Intensity arithmetic of the contract: clip, window, z-score. All on float32 tensors."""

from __future__ import annotations

import torch

from gtr_batch.domain.model import PreprocessingContract

FLAT = 1e-3


def clip(hu: torch.Tensor, contract: PreprocessingContract) -> torch.Tensor:
    """HU within the contract's limits; in place."""
    return hu.clamp_(contract.hu_low, contract.hu_high)


def window(hu: torch.Tensor, contract: PreprocessingContract) -> torch.Tensor:
    """HU on the contract's output range, linear inside the window, flat outside; in place.

    As `SimpleITK.IntensityWindowing` does it.
    """
    low, high = contract.window_hu
    out_low, out_high = contract.window_out
    scale = (out_high - out_low) / (high - low)
    return hu.clamp_(low, high).sub_(low).mul_(scale).add_(out_low)


def normalised(slices: torch.Tensor, contract: PreprocessingContract) -> torch.Tensor:
    """Windowed slices as the network takes them: z-scores, or 8-bit grey values over 255 (ImageNet's way)."""
    if contract.normalisation == "z_score":
        return z_score(slices)
    low, high = contract.window_out
    return slices.clamp(low, high).sub(low).mul(255 / (high - low)).round() / 255


def z_score(slices: torch.Tensor) -> torch.Tensor:
    """Each slice less its mean, over its standard deviation (population, all pixels); a constant slice becomes 0.

    Parameters
    ----------
    slices : torch.Tensor
        Shape ``(slices, rows, columns)``, in units of the window's output, where less than `FLAT` is rounding.
    """
    centred = slices - slices.mean(dim=(1, 2), keepdim=True)
    deviation = centred.square().mean(dim=(1, 2), keepdim=True).sqrt()
    return torch.where(deviation > FLAT, centred / deviation.clamp_min(FLAT), torch.zeros_like(centred))
