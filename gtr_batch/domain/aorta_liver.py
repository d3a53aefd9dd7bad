"""Aorta and liver of one axial slice, in HU, without a network: what the contrast phase is told from.

* the body is the largest thing denser than fat's lower end;
* the spine is where bone is densest near the midline of the posterior half;
* the aorta is the roundest, most even disk (radius 7-15 mm) in front of the spine, on the midline or to the left;
* the liver is the largest even region of soft tissue on the patient's right, and its HU the mode there.

A mean over a disk or over a sector of a ring is a sum of few runs of pixels, and a run is the difference of two running
sums along its row: the same sums as a convolution's, for a twentieth of the time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from attrs import field, frozen

# SciPy is imported where a slice is measured: whoever opens a site imports this module.

MEASURE = 1  # of the way in which a slice is measured: what was measured in another way is measured anew
_GRID_MM = 1.6  # slices are block-averaged to about this before anything is measured: faster, and less noise
_CLIP_HU = (-1024.0, 3000.0)
_PARTS = 8  # of a HU: means of four and sixteen whole HU are kept as they are, or to a sixteenth
_CANAL_TO_BODY_MM = 25.0  # from the middle of the spinal canal to that of the vertebral body
_BODY_MM = (14.0, 19.0)  # half depth and half width of a small adult's vertebral body: no aorta inside it
_RADII_MM = (7.0, 9.0, 11.0, 13.0)  # of an aorta
_NONE = float("nan")

Run = tuple[int, int, int]  # row, first column and the one behind the last, from the pixel that the mean is for


@frozen(eq=False)
class GridSlice:
    """A slice as it is measured: averaged over blocks of about 1.6 mm.

    Attributes
    ----------
    parts : numpy.ndarray
        Eighths of a HU, int16, shape ``(rows, columns)``, rows towards posterior and columns towards the left.
    spacing_mm : (float, float)
        Distance of its rows and columns.
    """

    parts: np.ndarray = field(repr=False)
    spacing_mm: tuple[float, float]

    @classmethod
    def of(cls, hu: np.ndarray, spacing_mm: tuple[float, float]) -> GridSlice:
        """The slice of an image in HU with this distance of rows and of columns."""
        sy, sx = (max(1, round(_GRID_MM / s)) for s in spacing_mm)
        rows, columns = hu.shape[0] // sy * sy, hu.shape[1] // sx * sx
        whole = hu[:rows, :columns]
        low, high = whole.min(initial=0), whole.max(initial=0)
        clipped = (np.clip(whole, *_CLIP_HU) if low < _CLIP_HU[0] or high > _CLIP_HU[1] else whole).astype(
            np.float32, copy=False
        )
        total = np.zeros((rows // sy, columns // sx), np.float32)
        for i, k in np.ndindex(sy, sx):
            total += clipped[i::sy, k::sx]
        total *= np.float32(_PARTS / (sy * sx))
        return cls(np.rint(total, out=total).astype(np.int16), (spacing_mm[0] * sy, spacing_mm[1] * sx))

    @property
    def digest(self) -> str:
        """SHA-256 of all that a measurement of it depends on."""
        what = f"{MEASURE}|{self.parts.shape}|{self.spacing_mm}|".encode()
        return hashlib.sha256(what + np.ascontiguousarray(self.parts, "<i2").tobytes()).hexdigest()

    def hu(self) -> np.ndarray:
        """HU, float32."""
        return self.parts.astype(np.float32) / np.float32(_PARTS)


@frozen
class SliceMeasure:
    """What one slice shows; HU are NaN where it shows none. `body`: whether there is a body with a spine at all."""

    aorta_hu: float = _NONE
    liver_hu: float = _NONE
    liver_mm2: float = 0.0
    body: bool = True


@frozen
class MeasuredSlice:
    """What was measured of an instance's image, and of which image: its SOP Instance UID and `GridSlice.digest`."""

    sop_instance_uid: str
    digest: str
    measure: SliceMeasure

    @classmethod
    def of(cls, sop_instance_uid: str, image: GridSlice) -> MeasuredSlice:
        """Measure an instance's image."""
        return cls(sop_instance_uid, image.digest, measure(image))

    @property
    def key(self) -> tuple[str, str]:
        """What must be the same for the measurement to count for an instance."""
        return self.sop_instance_uid, self.digest


def measure(image: GridSlice) -> SliceMeasure:
    """Aorta and liver of a slice, each NaN where it is not found."""
    hu, (dy, dx) = image.hu(), image.spacing_mm
    if not hu.size:
        return SliceMeasure(body=False)
    body = _largest(_dilated(_eroded(hu > -300, 2), 2))
    if body is None or body.sum() * dy * dx < 15_000:
        return SliceMeasure(body=False)
    body = ~outside(body)
    spine = _spine(hu, body, dy, dx)
    if spine is None:
        return SliceMeasure(body=False)
    liver_hu, area = _liver(hu, body, spine, dy, dx)
    return SliceMeasure(_aorta(hu, spine, dy, dx), liver_hu, area)


def outside(mask: np.ndarray) -> np.ndarray:
    """What lies outside a mask and is joined to the image's edge: all but the mask and its holes."""
    from scipy import ndimage

    labels, _ = ndimage.label(~mask)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    joined = np.zeros(int(labels.max()) + 1, dtype=bool)
    joined[edge] = True
    joined[0] = False
    return np.asarray(joined[labels])


def _largest(mask: np.ndarray) -> np.ndarray | None:
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    if not count:
        return None
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def _eroded(mask: np.ndarray, times: int) -> np.ndarray:
    """A mask less its edge of one pixel, so many times; beyond the image nothing is."""
    for _ in range(times):
        out = mask.copy()
        out[1:] &= mask[:-1]
        out[:-1] &= mask[1:]
        out[:, 1:] &= mask[:, :-1]
        out[:, :-1] &= mask[:, 1:]
        out[[0, -1]] = out[:, [0, -1]] = False
        mask = out
    return mask


def _dilated(mask: np.ndarray, times: int) -> np.ndarray:
    """A mask and the four neighbours of each of its pixels, so many times."""
    for _ in range(times):
        out = mask.copy()
        out[1:] |= mask[:-1]
        out[:-1] |= mask[1:]
        out[:, 1:] |= mask[:, :-1]
        out[:, :-1] |= mask[:, 1:]
        mask = out
    return mask


def _spine(image: np.ndarray, body: np.ndarray, dy: float, dx: float) -> tuple[int, int] | None:
    """(row, column) of the middle of the vertebral body, or None.

    The spinal canal is found first, a soft disk that bone surrounds on all sides; the vertebral body lies in
    front of it. Where there is no canal (a simple phantom) a solid block of bone stands for it.
    """
    from scipy import ndimage

    down, across = body.sum(axis=1), body.sum(axis=0)
    rows, columns = np.nonzero(down)[0], np.nonzero(across)[0]
    top, bottom = rows[0], rows[-1] + 1
    middle = int(np.median(np.repeat(np.arange(len(across)), across)))
    reach = max(2, round(50 / dx))
    low, high = max(columns[0], middle - reach), min(columns[-1] + 1, middle + reach)
    start = top + round(0.42 * (bottom - top))
    area = np.where(body, image, -200)[start:bottom, low:high]
    if min(area.shape) < 3:
        return None
    everywhere = (0, area.shape[0], 0, area.shape[1])
    reach = _reach(14.0, dy, dx)
    plain, bright = _Sums.of(area, reach), _Sums.of(np.clip(area, 0, 500), reach)
    mean = plain.mean(disk(6.0, dy, dx), everywhere)
    sides = [np.clip(bright.mean(sector, everywhere) - mean, -100, 250) for sector in sectors(8.0, 14.0, dy, dx)]
    lowest, second = np.minimum(sides[0], sides[1]), np.maximum(sides[0], sides[1])
    for side in sides[2:]:  # bone on all sides but one
        second = np.minimum(second, np.maximum(lowest, side))
        lowest = np.minimum(lowest, side)
    core = disk(5.0, dy, dx)
    variance = _Sums.of(area**2, reach).mean(core, everywhere) - plain.mean(core, everywhere) ** 2
    spread = np.sqrt(np.maximum(variance, 0))
    # Measured on real canals: second 36 HU and more, spread 10-41 HU, the sum below 104 and more.
    enclosed = sum(sides) / len(sides) + second - spread
    enclosed[(mean < -10) | (mean > 130) | (second < 30) | (spread > 55)] = -np.inf
    row, column = np.unravel_index(int(enclosed.argmax()), enclosed.shape)
    if enclosed[row, column] > 100:
        return int(row + start - round(_CANAL_TO_BODY_MM / dy)), int(column + low)
    bone = ndimage.gaussian_filter((area > 350).astype(np.float32), (9 / dy, 9 / dx))
    if bone.max() < 0.5:  # no block of bone either: this slice is not measured
        return None
    row, column = np.unravel_index(int(bone.argmax()), bone.shape)
    return int(row + start), int(column + low)


@frozen(eq=False)
class _Sums:
    """Running sums along the rows of an image, its edges repeated outward for `reach` pixels, or zeros; float64."""

    sums: np.ndarray = field(repr=False)
    reach: int

    @classmethod
    def of(cls, image: np.ndarray, reach: int, *, edge: Literal["edge", "constant"] = "edge") -> _Sums:
        padded = np.pad(image, reach, mode=edge)
        sums = np.zeros((padded.shape[0], padded.shape[1] + 1))
        np.cumsum(padded, axis=1, dtype=np.float64, out=sums[:, 1:])
        return cls(sums, reach)

    def mean(self, runs: Sequence[Run], window: tuple[int, int, int, int]) -> np.ndarray:
        """Means over the runs about every pixel of a window (top, bottom, left, right) of the image."""
        total = self.total(runs, window)
        total /= sum(behind - first for _, first, behind in runs)
        return total

    def total(self, runs: Sequence[Run], window: tuple[int, int, int, int]) -> np.ndarray:
        """Sums over the runs about every pixel of a window."""
        top, bottom, left, right = (edge + self.reach for edge in window)
        total = np.zeros((bottom - top, right - left))
        for row, first, behind in runs:
            line = self.sums[top + row : bottom + row]
            total += line[:, left + behind : right + behind]
            total -= line[:, left + first : right + first]
        return total


def _reach(mm: float, dy: float, dx: float) -> int:
    return int(np.ceil(mm / min(dy, dx))) + 1


def _opened(mask: np.ndarray, runs: Sequence[Run], reach: int) -> np.ndarray:
    """What of a mask the runs fit into; beyond the image nothing is."""
    whole = (0, mask.shape[0], 0, mask.shape[1])
    full = sum(behind - first for _, first, behind in runs)
    eroded = _Sums.of(mask, reach, edge="constant").total(runs, whole) == full
    return np.asarray(_Sums.of(eroded, reach, edge="constant").total(runs, whole) > 0)


def _runs(kernel: np.ndarray) -> tuple[Run, ...]:
    """The runs of a mask about its middle, turned by 180 degrees as a convolution turns its kernel."""
    ny, nx = kernel.shape[0] // 2, kernel.shape[1] // 2
    found = []
    for row, line in enumerate(kernel[::-1, ::-1]):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]])))
        found += [(row - ny, int(first) - nx, int(behind) - nx) for first, behind in edges.reshape(-1, 2)]
    return tuple(found)


@lru_cache(maxsize=64)
def disk(radius_mm: float, dy: float, dx: float) -> tuple[Run, ...]:
    """The runs of a disk."""
    ny, nx = int(np.ceil(radius_mm / dy)), int(np.ceil(radius_mm / dx))
    y, x = np.mgrid[-ny : ny + 1, -nx : nx + 1]
    return _runs((y * dy) ** 2 + (x * dx) ** 2 <= radius_mm**2)


@lru_cache(maxsize=64)
def sectors(inner_mm: float, outer_mm: float, dy: float, dx: float, count: int = 8) -> tuple[tuple[Run, ...], ...]:
    """The runs of each of the `count` sectors of a ring; one that holds no pixel is left out."""
    ny, nx = int(np.ceil(outer_mm / dy)), int(np.ceil(outer_mm / dx))
    y, x = np.mgrid[-ny : ny + 1, -nx : nx + 1]
    radius = np.hypot(y * dy, x * dx)
    turn = np.floor((np.arctan2(y * dy, x * dx) / (2 * np.pi) + 0.5) * count).astype(int) % count
    ring = (radius >= inner_mm) & (radius <= outer_mm)
    masks = [ring & (turn == k) for k in range(count)]
    return tuple(_runs(mask) for mask in masks if mask.any())


def _aorta(image: np.ndarray, spine: tuple[int, int], dy: float, dx: float) -> float:
    """Mean HU of the best disk in front of the spine, or NaN."""
    row, column = spine
    top, bottom = max(0, row - round(85 / dy)), min(image.shape[0], row + round(25 / dy))
    left, right = max(0, column - round(40 / dx)), min(image.shape[1], column + round(65 / dx))
    if top >= bottom or left >= right:
        return _NONE
    y, x = np.mgrid[top:bottom, left:right]
    ahead, aside = (row - y) * dy, (x - column) * dx
    allowed = (ahead > -5) & (ahead < 55) & (aside > -12) & (aside < 45)
    rows, columns = np.nonzero(allowed.any(axis=1))[0], np.nonzero(allowed.any(axis=0))[0]
    if not len(rows):
        return _NONE
    window = (int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
    inner = (slice(window[0], window[1]), slice(window[2], window[3]))
    ahead, aside, allowed = ahead[inner], aside[inner], allowed[inner]
    area = _median_of_nine(image[top:bottom, left:right])
    reach = _reach(_RADII_MM[-1] + 6.0, dy, dx)
    plain, squares = _Sums.of(area, reach), _Sums.of(area**2, reach)
    distance = np.hypot(ahead, aside)
    best, found = 8.0, _NONE
    for radius in _RADII_MM:
        core = disk(radius * 0.8, dy, dx)
        mean = plain.mean(core, window)
        spread = np.sqrt(np.maximum(squares.mean(core, window) - mean**2, 0))
        clear = (ahead / (_BODY_MM[0] + 0.8 * radius)) ** 2 + (aside / (_BODY_MM[1] + 0.8 * radius)) ** 2 > 1
        fit = allowed & clear & (mean >= 15) & (mean <= 600) & (spread <= 40)
        if not fit.any():
            continue
        # Fat, lung and crus around an aorta are darker, a vertebra's cortex around its marrow is brighter: count sides.
        around = sectors(radius + 2.0, radius + 6.0, dy, dx)
        sides = sum(np.clip(mean - plain.mean(sector, window), -60, 60) for sector in around) / len(around)
        score = sides - 0.6 * spread + radius / 2
        score -= 0.8 * np.maximum(0, distance - (20 + radius + 4))  # it lies against the vertebra
        score[~fit] = -np.inf
        if score.max() > best:
            best = float(score.max())
            found = float(mean.flat[int(score.argmax())])
    return found


def _median_of_nine(image: np.ndarray) -> np.ndarray:
    """The median of every pixel and its eight neighbours; beyond the edge lies its mirror image."""
    padded = np.pad(image, 1, mode="symmetric")
    rows, columns = image.shape
    nine = [padded[i : i + rows, k : k + columns] for i in range(3) for k in range(3)]
    # The shortest network of exchanges whose middle line is the median of nine (Paeth, Graphics Gems, 1990).
    for low, high in _EXCHANGES:
        nine[low], nine[high] = np.minimum(nine[low], nine[high]), np.maximum(nine[low], nine[high])
    return nine[4]


_EXCHANGES = (
    *((1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3)),
    *((5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2)),
)


def _liver(image: np.ndarray, body: np.ndarray, spine: tuple[int, int], dy: float, dx: float) -> tuple[float, float]:
    """(mode HU, area in mm2) of the largest even soft-tissue region on the patient's right, or (NaN, 0)."""
    from scipy import ndimage

    row, column = spine
    size = (max(3, round(9 / dy)), max(3, round(9 / dx)))
    # Only what lies on the patient's right within the body is asked; filters look a few pixels further.
    right = max(0, column - round(12 / dx))
    rows, columns = np.nonzero(body[:, :right].any(axis=1))[0], np.nonzero(body[:, :right].any(axis=0))[0]
    if not len(rows):
        return _NONE, 0.0
    margin = max(*size, int(4 * 2.0 / min(dy, dx) + 1)) + 1
    top, bottom = max(0, rows[0] - margin), min(image.shape[0], rows[-1] + 1 + margin)
    left = max(0, columns[0] - margin)
    part = image[top:bottom, left : right + margin]
    inside = _eroded(body, max(1, round(10 / dy)))[top:bottom, left : right + margin]
    smooth = ndimage.gaussian_filter(part, (2.0 / dy, 2.0 / dx))
    mean = ndimage.uniform_filter(part, size)
    spread = np.sqrt(np.maximum(ndimage.uniform_filter(part**2, size) - mean**2, 0))
    even = inside & (smooth > 15) & (smooth < 200) & (spread < 30)
    even[:, right - left :] = False
    region = _largest(_opened(even, disk(5.0, dy, dx), _reach(5.0, dy, dx)))
    if region is None:
        return _NONE, 0.0
    area = float(region.sum() * dy * dx)
    centre = float(np.nonzero(region)[0].mean()) + top
    if area < 4_000 or centre > row - 5 / dy:
        return _NONE, 0.0
    counts, edges = np.histogram(smooth[region], bins=93, range=(15, 201))
    counts = ndimage.gaussian_filter1d(counts.astype(float), 2)
    return float(edges[int(counts.argmax())] + 1), area
