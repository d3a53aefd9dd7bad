"""What a training may price beside the stage: where the network sees it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gtr_batch.training.loop import Answered, Objective

LESION_WEIGHT = 0.3
_FLOOR_LESION, _FLOOR_MAP = 1e-6, 1e-4  # so that no logarithm is of zero


def on_the_lesion(stride: int, weight: float = LESION_WEIGHT) -> Objective:
    """Cross-entropy, and how far the true class's activation map is from the outlined lesion.

    The map of a slice (the last layer's cells weighted by the head's row of the true class, softplus) and the lesion
    (the square root of its share of each cell) are distributions over the cells; the price is `weight` times the
    Kullback-Leibler divergence of the map from the lesion, mean over the slices that show one. It needs outlines of
    every training patient's tumour; the network that it trains needs none.

    Parameters
    ----------
    stride : int
        Pixels between the centres of the last layer's cells; cell i is centred on pixel stride i (ADR 0004).
    weight : float
    """

    def objective(seen: Answered) -> Tensor:
        loss = functional.cross_entropy(seen.logits, seen.stages)
        if seen.lesions is None:
            return loss
        lesions = (seen.lesions > 0.5).float()
        shows = lesions.flatten(1).amax(1) > 0
        if not bool(shows.any()):
            return loss
        rows, columns = seen.cells.shape[-2:]
        true_class = torch.einsum("nchw,nc->nhw", seen.cells, seen.head[seen.stages])
        found = _shares(functional.softplus(true_class), _FLOOR_MAP)
        covered = functional.avg_pool2d(lesions, stride + 1, stride, stride // 2)[:, 0, :rows, :columns]
        wanted = _shares((covered + _FLOOR_LESION).sqrt(), 0.0)
        divergence = (wanted * (wanted.log() - found.log())).sum(1)
        return loss + weight * (divergence * shows).sum() / shows.sum()

    return objective


def _shares(cells: Tensor, floor: float) -> Tensor:
    """Cells (n, rows, columns) as shares (n, rows x columns) that sum to 1."""
    flat = cells.flatten(1) + floor
    return flat / flat.sum(1, keepdim=True)
