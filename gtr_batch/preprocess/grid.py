"""The contract's isotropic grid over a volume, and the samples of it that are needed."""

from __future__ import annotations

import numpy as np
import torch
from attrs import frozen

from gtr_batch.domain.model import N4Settings, PreprocessingContract
from gtr_batch.preprocess.n4 import BiasField
from gtr_batch.preprocess.resample import Axis, Neighbours, interpolate
from gtr_batch.preprocess.volume import Volume
from gtr_batch.preprocess.window import clip, window


@frozen
class Grid:
    """The contract's isotropic grid over a volume, axes in the order slice, row, column."""

    z: Axis
    y: Axis
    x: Axis

    @classmethod
    def anchored(cls, volume: Volume, key_index: int, spacing_mm: float) -> Grid:
        """The grid that passes through the key slice."""
        _, rows, columns = volume.shape
        along = volume.positions_mm - volume.positions_mm[0]
        row_mm, column_mm = volume.pixel_spacing_mm
        return cls(
            Axis.spanning(float(along[-1]), spacing_mm, through=float(along[key_index])),
            Axis.spanning((rows - 1) * row_mm, spacing_mm),
            Axis.spanning((columns - 1) * column_mm, spacing_mm),
        )


def shrunk_volume(
    volume: Volume, grid: Grid, contract: PreprocessingContract, n4: N4Settings, *, device: str = "cpu"
) -> torch.Tensor:
    """The windowed voxels that shrinking the full isotropic volume would keep, without building it.

    Returns
    -------
    torch.Tensor
        float32 on `device`, shape of the grid over `n4.shrink`.
    """
    row_mm, column_mm = volume.pixel_spacing_mm
    _, rows, columns = volume.shape
    along = volume.positions_mm - volume.positions_mm[0]
    z = Neighbours.of(grid.z.at(grid.z.shrunk(n4.shrink)), along)
    need_y, y = Neighbours.of(grid.y.at(grid.y.shrunk(n4.shrink)), np.arange(rows) * row_mm).compact()
    need_x, x = Neighbours.of(grid.x.at(grid.x.shrunk(n4.shrink)), np.arange(columns) * column_mm).compact()
    hu = torch.from_numpy(volume.hu(rows=need_y, columns=need_x, padding_hu=contract.padding_hu)).to(device)
    hu = interpolate(interpolate(interpolate(clip(hu, contract), x, 2), y, 1), z, 0)
    return window(hu, contract)


def acquired_slices(
    volume: Volume,
    chosen: list[int],
    grid: Grid,
    bias: BiasField | None,
    *,
    contract: PreprocessingContract,
    device: str,
) -> torch.Tensor:
    """Acquired slices at their own places along the normal, resampled in their plane, windowed and corrected.

    Returns
    -------
    torch.Tensor
        float32 on `device`, shape ``(chosen, rows, columns)`` of the grid.
    """
    _, rows, columns = volume.shape
    row_mm, column_mm = volume.pixel_spacing_mm
    y = Neighbours.of(grid.y.at(np.arange(grid.y.count)), np.arange(rows) * row_mm)
    x = Neighbours.of(grid.x.at(np.arange(grid.x.count)), np.arange(columns) * column_mm)
    hu = torch.from_numpy(volume.hu(chosen, padding_hu=contract.padding_hu)).to(device)
    slices = window(interpolate(interpolate(clip(hu, contract), y, 1), x, 2), contract)
    if bias is not None:
        along = volume.positions_mm[chosen] - volume.positions_mm[0]
        log_field = bias.log_at(
            torch.from_numpy(grid.z.fraction(along)),
            torch.linspace(0, 1, grid.y.count, dtype=torch.float64),
            torch.linspace(0, 1, grid.x.count, dtype=torch.float64),
        )
        slices /= log_field.exp_()
    return slices
