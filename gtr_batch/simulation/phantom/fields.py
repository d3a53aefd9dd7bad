"""Shapes as signed distances and smooth random fields, evaluated one axial slice at a time.

A signed distance is negative inside, in mm. Coordinates are patient coordinates about the body's centre, mm:
x to the patient's left, y to the back, z to the head (DICOM PS3.3, C.7.6.2).
"""

from __future__ import annotations

import numpy as np
from attrs import frozen


@frozen
class Grid:
    """An axial slice's pixel centres: `x` of shape (1, columns), `y` of shape (rows, 1), `z` and `pixel_mm` in mm."""

    x: np.ndarray
    y: np.ndarray
    z: float
    pixel_mm: float

    @classmethod
    def of(cls, rows: int, columns: int, pixel_mm: float, z: float) -> Grid:
        """A grid centred on the body's axis."""
        x = ((np.arange(columns, dtype=np.float32) - (columns - 1) / 2) * pixel_mm)[None, :]
        y = ((np.arange(rows, dtype=np.float32) - (rows - 1) / 2) * pixel_mm)[:, None]
        return cls(x, y, z, pixel_mm)

    def window(self, x0: float, x1: float, y0: float, y1: float) -> tuple[Grid, tuple[slice, slice]]:
        """The part of the grid within these bounds (mm), and where it lies in the image."""
        rows = slice(*np.searchsorted(self.y[:, 0], (y0, y1)))
        columns = slice(*np.searchsorted(self.x[0], (x0, x1)))
        return Grid(self.x[:, columns], self.y[rows], self.z, self.pixel_mm), (rows, columns)


class SmoothField:
    """A smooth random field in space: plane waves of random direction and phase, standard deviation about 1.

    Parameters
    ----------
    rng : numpy.random.Generator
    wavelength_mm : float
        Typical wavelength.
    waves : int
        How many plane waves.
    """

    def __init__(self, rng: np.random.Generator, wavelength_mm: float, waves: int = 16) -> None:
        direction = rng.standard_normal((waves, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        self._k = direction * (2 * np.pi / (wavelength_mm * rng.uniform(0.75, 1.4, (waves, 1))))
        self._phase = rng.uniform(0, 2 * np.pi, waves)

    def __call__(self, grid: Grid) -> np.ndarray:
        """Values on a slice, (rows, columns), float32."""
        a = np.outer(grid.x[0], self._k[:, 0]) + (self._phase + self._k[:, 2] * grid.z)
        b = np.outer(grid.y[:, 0], self._k[:, 1])
        # cos(a + b) = cos a cos b - sin a sin b: two thin matrix products instead of a cosine for every pixel and wave
        left = np.concatenate([np.cos(b), -np.sin(b)], axis=1).astype(np.float32)
        right = np.concatenate([np.cos(a), np.sin(a)], axis=1).astype(np.float32) * np.float32(
            np.sqrt(2 / len(self._phase))
        )
        return np.asarray(left @ right.T)


def ellipsoid(grid: Grid, centre: tuple[float, float, float], axes: tuple[float, float, float]) -> np.ndarray:
    """Approximate signed distance to an ellipsoid, mm; exact on its surface."""
    (cx, cy, cz), (ax, ay, az) = centre, axes
    r = np.sqrt(((grid.x - cx) / ax) ** 2 + ((grid.y - cy) / ay) ** 2 + ((grid.z - cz) / az) ** 2)
    return (r - 1) * min(ax, ay)


def tube(grid: Grid, points: np.ndarray, radii: np.ndarray, margin_mm: float = 28.0) -> np.ndarray:
    """Signed distance to the union of spheres along a curve, mm; `points` (n, 3), `radii` (n,).

    Farther outside than `margin_mm` the answer is only known to be that large.
    """
    nearest = np.full((grid.y.shape[0], grid.x.shape[1]), np.float32(margin_mm))
    for (cx, cy, cz), r in zip(points.tolist(), radii.tolist(), strict=True):
        dz, reach = grid.z - cz, r + margin_mm
        if abs(dz) > reach:
            continue
        part, where = grid.window(cx - reach, cx + reach, cy - reach, cy + reach)
        spot = nearest[where]
        np.minimum(spot, np.sqrt((part.x - cx) ** 2 + ((part.y - cy) ** 2 + dz * dz)) - r, out=spot)
    return nearest


def blend(image: np.ndarray, distance: np.ndarray, hu: float | np.ndarray, edge_mm: float) -> None:
    """Paint `hu` where `distance` is negative, in place, over an edge `edge_mm` wide (partial volume)."""
    weight = np.clip(0.5 - distance / edge_mm, 0, 1).astype(np.float32)
    image += weight * (hu - image)


def smooth_curve(points: np.ndarray, step_mm: float) -> np.ndarray:
    """A Catmull-Rom curve through `points` (n, columns), sampled about every `step_mm` of its first three columns."""
    padded = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    pieces = []
    for i in range(1, len(points)):
        p0, p1, p2, p3 = padded[i - 1 : i + 3]
        count = max(2, int(np.ceil(np.linalg.norm((p2 - p1)[:3]) / step_mm)))
        t = (np.arange(count) / count)[:, None]
        pieces.append(
            0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * (p1 - p2) + p3 - p0) * t**3)
        )
    return np.vstack([*pieces, points[-1:]])
