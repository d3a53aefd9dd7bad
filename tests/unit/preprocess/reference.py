"""The plain computation of the contract, whole volumes at every step, with SimpleITK: what ours must equal."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import SimpleITK as sitk
import torch

from gtr_batch.domain.model import N4Settings, PreprocessingContract
from gtr_batch.preprocess.n4 import BiasField, fit_bias_field

LogField = Callable[[sitk.Image, sitk.Image, sitk.Image, N4Settings], np.ndarray]


def read(folder) -> sitk.Image:
    """A series as GDCM reads it, float32."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return sitk.Cast(reader.Execute(), sitk.sitkFloat32)


def image_of(hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> sitk.Image:
    """An image of HU, axes and spacing in the order slice, row, column."""
    image = sitk.GetImageFromArray(hu.astype(np.float32))
    image.SetSpacing(tuple(reversed(spacing_mm)))
    return image


def windowed(image: sitk.Image, key_index: int, contract: PreprocessingContract) -> sitk.Image:
    """The whole volume on the isotropic grid that passes through the key slice, windowed."""
    image = sitk.Clamp(image, sitk.sitkFloat32, contract.hu_low, contract.hu_high)
    step = contract.spacing_mm
    spacing, size, origin = image.GetSpacing(), image.GetSize(), list(image.GetOrigin())
    first = key_index * spacing[2] - math.floor(key_index * spacing[2] / step + 1e-4) * step
    origin[2] += first
    lengths = [(n - 1) * mm for n, mm in zip(size, spacing, strict=True)]
    lengths[2] -= first
    count = [math.floor(length / step + 1e-4) + 1 for length in lengths]
    iso = sitk.Resample(
        image, count, sitk.Transform(), sitk.sitkLinear, origin, [step] * 3, image.GetDirection(), contract.padding_hu
    )
    return sitk.IntensityWindowing(iso, *contract.window_hu, *contract.window_out)


def shrink_and_mask(volume: sitk.Image, settings: N4Settings) -> tuple[sitk.Image, sitk.Image]:
    """What N4 is fitted on."""
    small = sitk.Shrink(volume, [settings.shrink] * 3)
    return small, sitk.OtsuThreshold(small, 0, 1, settings.bins)


def itk_n4(small: sitk.Image, mask: sitk.Image, settings: N4Settings) -> sitk.N4BiasFieldCorrectionImageFilter:
    """SimpleITK's N4, done."""
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfHistogramBins(settings.bins)
    n4.SetBiasFieldFullWidthAtHalfMaximum(settings.fwhm)
    n4.SetWienerFilterNoise(settings.noise)
    n4.SetMaximumNumberOfIterations([settings.iterations] * settings.levels)
    n4.SetConvergenceThreshold(settings.threshold)
    n4.Execute(small, mask)
    return n4


def our_full_field(volume: sitk.Image, small: sitk.Image, mask: sitk.Image, settings: N4Settings) -> np.ndarray:
    """Our N4 evaluated on every voxel of the whole volume."""
    inside = torch.from_numpy(sitk.GetArrayFromImage(mask)).bool()
    bias = fit_bias_field(torch.from_numpy(sitk.GetArrayFromImage(small)), inside, settings)
    ends = [torch.linspace(0, 1, n, dtype=torch.float64) for n in reversed(volume.GetSize())]
    return bias.log_at(*ends).numpy()


def lattice_of(n4: sitk.N4BiasFieldCorrectionImageFilter, small: sitk.Image, settings: N4Settings) -> BiasField:
    """SimpleITK's field as our control points, solved from its values on the small volume."""
    field = torch.from_numpy(sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(small))).double()
    spans = 2 ** (settings.levels - 1)
    identity = torch.eye(spans + 3, dtype=torch.float64)
    inverses = []
    for n in field.shape:
        at = torch.linspace(0, 1, n, dtype=torch.float64)
        # one axis at a time: a spline that varies along x only, the other two axes constant
        rows = [
            BiasField(row.expand(4, 4, spans + 3).contiguous(), ()).log_at(at[:1], at[:1], at)[0, 0] for row in identity
        ]
        inverses.append(torch.linalg.pinv(torch.stack(rows, 1)))
    return BiasField(torch.einsum("az,by,cx,zyx->abc", *inverses, field), ())


def full_volume(
    image: sitk.Image, key_index: int, contract: PreprocessingContract, log_field: LogField = our_full_field
) -> np.ndarray:
    """The network's input by the plain computation, float64, shape ``(3, size, size)``."""
    volume = windowed(image, key_index, contract)
    values = sitk.GetArrayFromImage(volume)
    field = np.zeros_like(values)
    if contract.n4 is not None:
        small, mask = shrink_and_mask(volume, contract.n4)
        field = log_field(volume, small, mask, contract.n4)
    corrected = np.exp(field)
    np.divide(values, corrected, out=corrected)
    last = image.GetSize()[2] - 1
    below = key_index - 1 if key_index > 0 else 1
    above = key_index + 1 if key_index < last else last - 1
    return np.stack([_slice(image, volume, corrected, field, at, contract) for at in (below, key_index, above)])


def _slice(image, volume, corrected, field, index, contract) -> np.ndarray:
    """An acquired slice of the corrected volume, resized and z-scored; off the 1 mm grid, resampled in its plane."""
    position = image.TransformIndexToPhysicalPoint((0, 0, index))
    along = volume.TransformPhysicalPointToContinuousIndex(position)[2]
    if abs(along - round(along)) < 1e-3:
        plane = corrected[round(along)]
    else:
        clamped = sitk.Clamp(image, sitk.sitkFloat32, contract.hu_low, contract.hu_high)
        size = [*volume.GetSize()[:2], 1]
        one = sitk.Resample(
            clamped, size, sitk.Transform(), sitk.sitkLinear, position, volume.GetSpacing(), image.GetDirection(), -1024
        )
        one = sitk.GetArrayFromImage(sitk.IntensityWindowing(one, *contract.window_hu, *contract.window_out))[0]
        planes = np.clip(math.floor(along) - 1, 0, len(field) - 4) + np.arange(4)
        weights = [np.prod([(along - q) / (p - q) for q in planes if q != p]) for p in planes]  # Lagrange
        plane = one / np.exp(np.tensordot(weights, field[planes], 1))
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(plane.astype(np.float64))[None, None],
        (contract.size, contract.size),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )[0, 0].numpy()
    return (resized - resized.mean()) / resized.std()
