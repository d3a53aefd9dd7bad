"""From a series to the network's input: three slices, exactly as the model's contract says.

The plain computation resamples the whole volume to 1 mm, windows it, fits N4 on it and throws all but three slices
away. Here only what those three slices need is computed:

* The 1 mm grid starts at the centre of the first row and column; along the normal it passes through the key slice.
* N4 is fitted on the voxels that ``SimpleITK.Shrink`` keeps of that grid (every fourth, none averaged), interpolated
  straight from the source. The mask is Otsu's threshold of the same voxels.
* The field is a spline; it is evaluated on the three slices only. As ``GetLogBiasFieldAsImage`` does it, the spline's
  domain is laid on the 1 mm grid from its first to its last voxel.
* Key slice and neighbours are acquired slices: resampled in their plane, at their own place along the normal, also
  where a neighbour's distance is no multiple of 1 mm.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from gtr_batch.domain.model import N4Settings, PreprocessingContract
from gtr_batch.domain.prepared import PreparedGeometry
from gtr_batch.domain.staging import KeySliceSource
from gtr_batch.preprocess.device import gpu_memory, one_thread
from gtr_batch.preprocess.grid import Grid, acquired_slices, shrunk_volume
from gtr_batch.preprocess.n4 import BiasField, fit_bias_field
from gtr_batch.preprocess.resample import resize
from gtr_batch.preprocess.series import read_series
from gtr_batch.preprocess.volume import Volume
from gtr_batch.preprocess.window import normalised


def prepare_case(
    folder: Path,
    key_slice: str,
    contract: PreprocessingContract,
    source: KeySliceSource = KeySliceSource.KEY_OBJECT,
    *,
    sop_uids: list[str] | None = None,
    device: str = "cpu",
) -> tuple[np.ndarray, PreparedGeometry]:
    """Read a series and prepare it; `key_slice` is a SOP Instance UID of it. See `read_series`, `prepare_volume`."""
    volume = read_series(folder, sop_uids)
    return prepare_volume(volume, volume.index(key_slice), contract, source, device=device)


def prepare_volume(
    volume: Volume,
    key_index: int,
    contract: PreprocessingContract,
    source: KeySliceSource = KeySliceSource.KEY_OBJECT,
    *,
    device: str = "cpu",
) -> tuple[np.ndarray, PreparedGeometry]:
    """The network's input for a key slice and its two neighbours.

    Parameters
    ----------
    volume : Volume
        The whole series.
    key_index : int
        Place of the key slice in the stack.
    contract : PreprocessingContract
        From the model's manifest.
    source : KeySliceSource
        Where the key slice came from, kept in the geometry.
    device : str
        "cpu" or "cuda".

    Returns
    -------
    slices : numpy.ndarray
        float32, shape ``(3, size, size)``, in the order below, key, above along the normal; at the end of the stack
        the one neighbour twice.
    geometry : PreparedGeometry
        Back to the source pixels; `facts` for the drift monitor.
    """
    n, rows, columns = volume.shape
    if not 0 <= key_index < n:
        raise IndexError(f"key slice {key_index} of a stack of {n}")
    below = key_index - 1 if key_index > 0 else min(1, n - 1)
    above = key_index + 1 if key_index < n - 1 else max(n - 2, 0)
    chosen = [below, key_index, above]
    grid = Grid.anchored(volume, key_index, contract.spacing_mm)
    facts: dict[str, Any] = {
        "slices": n,
        "spacing_mm": list(volume.spacing),
        "thickness_mm": volume.thickness_mm,
        "coverage_mm": float(volume.positions_mm[-1] - volume.positions_mm[0]),
        "grid": [grid.z.count, grid.y.count, grid.x.count],
        "key_index": key_index,
    }
    with gpu_memory(), one_thread():
        bias = _bias_field(volume, grid, contract, device, facts)
        slices = acquired_slices(volume, chosen, grid, bias, contract=contract, device=device)
        facts["mean"] = slices.mean(dim=(1, 2)).tolist()
        facts["std"] = slices.std(dim=(1, 2), correction=0).tolist()
        network = normalised(resize(slices, contract.size), contract).cpu().numpy()
    row_mm, column_mm = volume.pixel_spacing_mm
    row_scale, column_scale = grid.y.count / contract.size, grid.x.count / contract.size
    geometry = PreparedGeometry(
        source_rows=rows,
        source_columns=columns,
        row_origin=(0.5 * row_scale - 0.5) * contract.spacing_mm / row_mm,
        row_step=row_scale * contract.spacing_mm / row_mm,
        column_origin=(0.5 * column_scale - 0.5) * contract.spacing_mm / column_mm,
        column_step=column_scale * contract.spacing_mm / column_mm,
        size=contract.size,
        sop_instance_uids=[volume.sop_instance_uids[i] for i in chosen],  # type: ignore[misc]  # the converter is generic
        positions_mm=[float(volume.positions_mm[i]) for i in chosen],  # type: ignore[misc]
        key_slice_source=source,
        facts=facts,
    )
    return network, geometry


def prepare_all_for_locator(volume: Volume, contract: PreprocessingContract, *, device: str = "cpu") -> np.ndarray:
    """Every axial slice as the network would get it, for the automatic key-slice locator.

    The contract as in `prepare_volume`, with one field fitted for all slices, its grid passing through the middle
    slice (no key slice is known yet).

    Returns
    -------
    numpy.ndarray
        float32, shape ``(slices, size, size)``, ascending along the normal.
    """
    n = volume.shape[0]
    grid = Grid.anchored(volume, n // 2, contract.spacing_mm)
    prepared = np.empty((n, contract.size, contract.size), np.float32)
    with gpu_memory(), one_thread():
        bias = _bias_field(volume, grid, contract, device, {})
        for first in range(0, n, 8):
            chosen = list(range(first, min(first + 8, n)))
            slices = acquired_slices(volume, chosen, grid, bias, contract=contract, device=device)
            prepared[chosen] = normalised(resize(slices, contract.size), contract).cpu().numpy()
    return prepared


def otsu_mask(small: torch.Tensor, n4: N4Settings) -> torch.Tensor:
    """What is brighter than Otsu's threshold, as SimpleITK finds it; bool on the device of `small`."""
    image = sitk.GetImageFromArray(small.cpu().numpy())
    mask = sitk.GetArrayFromImage(sitk.OtsuThreshold(image, 0, 1, n4.bins))
    return torch.from_numpy(mask).to(small.device).bool()


def _bias_field(
    volume: Volume, grid: Grid, contract: PreprocessingContract, device: str, facts: dict[str, Any]
) -> BiasField | None:
    """The field of the whole volume, None where the contract asks for none; adds what it did to `facts`."""
    if contract.n4 is None:
        return None
    small = shrunk_volume(volume, grid, contract, contract.n4, device=device)
    mask = otsu_mask(small, contract.n4)
    bias = fit_bias_field(small, mask, contract.n4)
    ends = [torch.linspace(0, 1, n, dtype=torch.float64) for n in small.shape]
    inside = bias.log_at(ends[0], ends[1], ends[2])[mask]
    facts |= {
        "n4_iterations": list(bias.iterations),
        "n4_log_field_std": float(inside.std()) if len(inside) > 1 else 0.0,
        "n4_mask_share": float(mask.float().mean()),
    }
    return bias
