"""Tumours of other organs: what a staging of the stomach must not answer for."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from gtr_batch.simulation.phantom.anatomy import Anatomy, hu
from gtr_batch.simulation.phantom.fields import Grid, SmoothField, blend, ellipsoid
from gtr_batch.simulation.phantom.scanner import Phase


class Elsewhere(StrEnum):
    """The organ that the other tumour grows in."""

    LIVER = "liver"
    COLON = "colon"


_LIVER_LESIONS = 5  # metastases: darker than the liver in the portal venous phase


def paint_elsewhere(
    image: np.ndarray, grid: Grid, anatomy: Anatomy, phase: Phase, *, organ: Elsewhere, rng: np.random.Generator
) -> None:
    """Paint the tumour into a slice that holds all organs but the stomach.

    Parameters
    ----------
    rng : numpy.random.Generator
        The same at every slice: it draws where the tumour lies.
    """
    texture = SmoothField(rng, 10, 24)(grid)
    if organ is Elsewhere.LIVER:
        (cx, cy, cz), (ax, ay, az) = anatomy.liver
        for _ in range(_LIVER_LESIONS):
            dx, dy, dz = (float(v) for v in rng.uniform(-0.5, 0.5, 3))
            radius = float(rng.uniform(9, 22))
            lesion = ellipsoid(grid, (cx + dx * ax, cy + dy * ay, cz + dz * az), (radius,) * 3)
            blend(image, lesion, hu("liver", phase) - 42 + 5 * texture, 2.0)
        return
    # An annular carcinoma: a thick, enhancing wall about a narrowed lumen.
    x, y, z = (float(v) for v in anatomy.colon[int(rng.integers(len(anatomy.colon) // 4, 3 * len(anatomy.colon) // 4))])
    radius = float(rng.uniform(24, 34))
    mass = ellipsoid(grid, (x, y, z), (radius, radius, 1.2 * radius)) + 2 * texture
    blend(image, mass, hu("tumour", phase) + 7 * texture, 2.0)
    blend(image, ellipsoid(grid, (x, y, z), (6.0, 6.0, 2 * radius)), hu("bowel", phase), 2.0)
