"""N4 bias-field correction on a regular grid, in torch: the same sums on CPU and GPU.

ITK's N4 fits cubic B-splines to scattered points. Here the points fill a regular grid, so each control point's
``w^2``-weighted mean over its neighbourhood (Lee, Wolberg and Shin 1997) is a product of three small matrices.
All else follows ``itk::N4BiasFieldCorrectionImageFilter``: intensities sharpened by deconvolving their log histogram
with a Gaussian, the difference smoothed by the B-spline and added up, over levels of doubling resolution.

References
----------
N. J. Tustison et al., N4ITK: improved N3 bias correction, IEEE Trans Med Imaging 29 (2010) 1310-1320.
S. Lee, G. Wolberg, S. Y. Shin, Scattered data interpolation with multilevel B-splines, IEEE TVCG 3 (1997) 228-244.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from attrs import field, frozen

from gtr_batch.domain.model import N4Settings
from gtr_batch.preprocess.device import exact_products, one_thread

_FLOOR = 1e-6  # smallest intensity whose logarithm is taken


@frozen(eq=False)
class BiasField:
    """Logarithm of a bias field as cubic B-spline control points over the volume's domain.

    Attributes
    ----------
    control : torch.Tensor
        Control points, shape ``(z, y, x)``: the spans of the last level plus 3 on each axis.
    iterations : tuple of int
        Iterations done at each level.
    """

    control: torch.Tensor = field(repr=False)
    iterations: tuple[int, ...]

    def log_at(self, z: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The log field on the grid of three sets of positions.

        Parameters
        ----------
        z, y, x : torch.Tensor
            Positions as fractions of the domain, 0 at the centre of its first voxel and 1 at that of its last.

        Returns
        -------
        torch.Tensor
            Shape ``(len(z), len(y), len(x))``, float32.
        """
        bases = [
            _basis(position, control - 3).to(self.control)
            for position, control in zip((z, y, x), self.control.shape, strict=True)
        ]
        with exact_products():
            return _expand(self.control, bases)


def fit_bias_field(volume: torch.Tensor, mask: torch.Tensor, settings: N4Settings) -> BiasField:
    """Fit the log bias field of a volume.

    Parameters
    ----------
    volume : torch.Tensor
        Intensities, shape ``(z, y, x)``, float32, on CPU or GPU.
    mask : torch.Tensor
        Voxels to fit to, bool, same shape.
    settings : N4Settings
        Shrinking is the caller's: the volume is used as it is.
    """
    box = _bounding_box(mask)
    if box is None:
        return BiasField(volume.new_zeros((4, 4, 4)), (0,) * settings.levels)
    shape, device = volume.shape, volume.device
    volume, mask = volume[box], mask[box]
    inside = mask.reshape(-1).nonzero().squeeze(1)
    log_volume = volume.reshape(-1)[inside].clamp_min_(_FLOOR).log_()
    dense = torch.zeros(volume.shape, dtype=torch.float32, device=device)
    weights = mask.float()
    control = volume.new_zeros((4, 4, 4))
    field_inside = torch.zeros_like(log_volume)
    iterations = []
    with exact_products(), one_thread():
        for level in range(settings.levels):
            spans = 2**level
            if level:
                control = _refine(control)
            bases = [
                _basis(torch.arange(n, dtype=torch.float64) / max(n - 1, 1), spans)[part].to(volume)
                for n, part in zip(shape, box, strict=True)
            ]
            cubes = [b**3 / b.square().sum(1, keepdim=True) for b in bases]
            weight = _contract(weights, [b.square() for b in bases])
            shares = torch.where(weight > 0, 1 / weight, torch.zeros_like(weight))
            done = 0
            while done < settings.iterations:
                uncorrected = log_volume - field_inside
                dense.view(-1).scatter_(0, inside, uncorrected - _sharpen(uncorrected, settings))
                step = _contract(dense, cubes).mul_(shares)
                control = control + step
                change = _expand(step, bases).view(-1).index_select(0, inside)
                field_inside += change
                done += 1
                ratio = change.neg_().exp_()
                if float(ratio.std() / ratio.mean()) <= settings.threshold:
                    break
            iterations.append(done)
    return BiasField(control, tuple(iterations))


def _bounding_box(mask: torch.Tensor) -> tuple[slice, slice, slice] | None:
    box = []
    for axis in range(3):
        others = [a for a in range(3) if a != axis]
        hit = mask.any(others[1]).any(others[0]).nonzero()
        if len(hit) == 0:
            return None
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return box[0], box[1], box[2]


def _basis(position: torch.Tensor, spans: int) -> torch.Tensor:
    """Cubic B-spline weights of positions in [0, 1], shape (positions, spans + 3), float64."""
    u = (position.double() * spans).clamp(0, spans * (1 - 1e-9))
    first = u.floor()
    x = u - first
    weights = [(1 - x) ** 3 / 6, (3 * x**3 - 6 * x**2 + 4) / 6, (-3 * x**3 + 3 * x**2 + 3 * x + 1) / 6, x**3 / 6]
    basis = torch.zeros(len(position), spans + 3, dtype=torch.float64, device=position.device)
    for k, weight in enumerate(weights):
        basis.scatter_(1, first.long()[:, None] + k, weight[:, None])
    return basis


def _contract(values: torch.Tensor, bases: list[torch.Tensor]) -> torch.Tensor:
    """Sum voxels onto control points: ``sum_zyx values * bz[z, a] * by[y, b] * bx[x, c]``."""
    values = values @ bases[2]  # (z, y, c)
    values = bases[1].T @ values  # (z, b, c)
    flat = bases[0].T @ values.reshape(values.shape[0], -1)
    return flat.view(-1, *values.shape[1:])


def _expand(control: torch.Tensor, bases: list[torch.Tensor]) -> torch.Tensor:
    """The spline's values on the grid: the transpose of `_contract`."""
    values = (bases[0] @ control.reshape(control.shape[0], -1)).view(-1, *control.shape[1:])
    values = bases[1] @ values
    return values @ bases[2].T


def _refine(control: torch.Tensor) -> torch.Tensor:
    """The same spline on twice as many spans per axis."""
    for axis in range(3):
        count = control.shape[axis]
        spans = count - 3
        matrix = torch.zeros(2 * spans + 3, count, dtype=control.dtype)
        for new in range(2 * spans + 3):
            old = (new + 1) // 2
            if new % 2:  # on a knot: 1 6 1 over 8
                matrix[new, old - 1 : old + 2] = torch.tensor([1, 6, 1], dtype=control.dtype) / 8
            else:  # between two: 4 4 over 8
                matrix[new, old : old + 2] = 0.5
        control = torch.tensordot(matrix.to(control.device), control, ([1], [axis])).movedim(0, axis)
    return control.contiguous()


def _sharpen(log_values: torch.Tensor, settings: N4Settings) -> torch.Tensor:
    """Expected true log intensity of each value, given the blurred histogram that is seen."""
    bins = settings.bins
    low, high = torch.stack(torch.aminmax(log_values)).tolist()
    slope = (high - low) / (bins - 1)
    if slope <= 0:
        return log_values.clone()
    share = (log_values - low).mul_(1 / slope)
    lower = share.long().clamp_(0, bins - 2)
    share -= lower
    # float64 sums of float32 shares are exact, whatever order a GPU adds them in
    count = torch.bincount(lower, minlength=bins).double()
    upper = torch.zeros_like(count).scatter_add_(0, lower, share.double())
    histogram = count - upper
    histogram[1:] += upper[:-1]
    # A few hundred numbers: forty launches on a GPU take longer than all of it on the CPU.
    expected = torch.from_numpy(_expected(histogram.cpu().numpy(), low, slope, settings)).to(log_values.device)
    return expected.index_select(0, lower).addcmul_(expected.diff().index_select(0, lower), share)


def _expected(histogram: np.ndarray, low: float, slope: float, settings: N4Settings) -> np.ndarray:
    """Expected true value per bin: Wiener deconvolution of the histogram, then Bayes (Tustison 2010, eq. 6-8).

    `histogram` in float64; the answer in float32, of the same length.
    """
    bins = len(histogram)
    padded = 2 ** (math.ceil(math.log2(bins)) + 1)
    offset = (padded - bins) // 2
    seen = np.zeros(padded)
    seen[offset : offset + bins] = histogram
    k = np.arange(padded, dtype=np.float64)
    width = settings.fwhm / slope
    scale = 2 * math.sqrt(math.log(2) / math.pi) / width
    gaussian = scale * np.exp(-(np.minimum(k, padded - k) ** 2) * (4 * math.log(2) / width**2))
    blur = np.fft.fft(gaussian)
    wiener = (blur.conj() / (blur.conj() * blur + settings.noise)).real
    true = np.fft.ifft(np.fft.fft(seen) * wiener).real.clip(min=0)
    centres = low + (k - offset) * slope
    numerator = np.fft.ifft(np.fft.fft(centres * true) * blur).real
    denominator = np.fft.ifft(np.fft.fft(true) * blur).real
    expected = np.divide(numerator, denominator, out=np.zeros(padded), where=denominator != 0)
    return expected[offset : offset + bins].astype(np.float32)
