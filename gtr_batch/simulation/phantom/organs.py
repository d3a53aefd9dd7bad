"""Painting a body's slice: everything but the stomach."""

from __future__ import annotations

import numpy as np

from gtr_batch.simulation.phantom.anatomy import Anatomy, Ground, hu
from gtr_batch.simulation.phantom.fields import Grid, blend, ellipsoid, tube
from gtr_batch.simulation.phantom.scanner import Phase

Axes = tuple[float, float, float]
Spot = tuple[slice, slice]
Lobule = tuple[str, Axes, Axes]
_FAR = np.float32(50.0)


def paint_body(image: np.ndarray, grid: Grid, anatomy: Anatomy, ground: Ground, phase: Phase) -> None:
    """Skin, fat, muscle wall, ribs and the mesentery's vessels."""
    px = grid.pixel_mm * 1.3
    fat = hu("fat", phase) + anatomy.fat_hu
    blend(image, ground.skin, hu("muscle", phase) - 20, px)
    blend(image, ground.skin + 2, fat, px)
    blend(image, ground.wall, hu("muscle", phase), px)
    blend(image, ground.cavity, fat + 5 * ground.texture, px)
    vessels = anatomy.mesentery_a(grid) ** 2 + anatomy.mesentery_b(grid) ** 2
    blend(image, np.maximum(np.sqrt(vessels) * 12 - 1.7, ground.cavity + 4), hu("vessel", phase), 1.6)
    _paint_ribs(image, grid, anatomy, phase, px)


def paint_table(image: np.ndarray, grid: Grid, anatomy: Anatomy, phase: Phase) -> None:
    """The table under the back."""
    back = anatomy.half_depth
    part, where = grid.window(-1e4, 1e4, back - 30, back + 14)
    top = back + 2 - 14 * (part.x / 200) ** 2
    distance = np.maximum(np.abs(part.y - top - 6) - 4, np.abs(part.x) - 210)
    blend(image[where], distance, hu("table", phase), grid.pixel_mm * 1.3)


def paint_organs(
    image: np.ndarray, grid: Grid, anatomy: Anatomy, ground: Ground, phase: Phase, *, clear: np.ndarray, lobule: Lobule
) -> None:
    """Bowel, solid organs, vessels, spine and lungs.

    Parameters
    ----------
    image : numpy.ndarray
        HU, painted in place.
    clear : numpy.ndarray
        Signed distance to the stomach with its coat of fat, inside which no other organ grows.
    lobule : tuple
        The part of an organ that comes up to the stomach's wall: organ, centre, semi-axes.
    """
    px = grid.pixel_mm * 1.3
    inner, edge = ground.cavity + 2, 2.5 * ground.lobulation
    enhanced = Enhanced(anatomy.enhancement, phase)
    _paint_bowel(image, grid, anatomy, ground, phase, clear=clear)
    liver = np.minimum(_solid(grid, anatomy.liver), _solid(grid, anatomy.left_lobe)) + edge
    organs = {
        "pancreas": np.maximum(tube(grid, anatomy.pancreas, anatomy.pancreas_r) + 0.8 * edge, -clear),
        "spleen": np.maximum(np.maximum(_solid(grid, anatomy.spleen) + edge, inner), -clear),
        "liver": np.maximum(np.maximum(liver, inner), -clear),
    }
    name, centre, axes = lobule
    extra = np.maximum(_solid(grid, (centre, axes)) + 0.6 * edge, -clear)
    organs[name] = np.minimum(organs[name], np.maximum(extra, inner))
    splenic = tube(grid, anatomy.splenic, np.full(len(anatomy.splenic), 3.8), margin_mm=6.0)
    blend(image, splenic, enhanced("portal"), px)
    for name, distance in organs.items():
        if distance.min() < px:
            mottle = 6.5 if name == "pancreas" else 3.0
            blend(image, distance, enhanced(name) + mottle * ground.texture, px)
    vessel = np.sqrt(anatomy.vessel_a(grid) ** 2 + anatomy.vessel_b(grid) ** 2) * 16 - 2.6
    blend(image, np.maximum(vessel, organs["liver"] + 7), enhanced("liver_vessel"), 2.0)
    gall = np.maximum(_solid(grid, anatomy.gallbladder), -clear)
    if gall.min() < px:
        blend(image, gall, hu("bowel_wall", phase), px)
        blend(image, gall + 2.2, hu("water", phase), px)
    for centre, axes in anatomy.kidneys:
        _paint_kidney(image, grid, anatomy, phase, (centre, axes))
    _paint_spine(image, grid, anatomy, phase)
    _paint_great_vessels(image, grid, anatomy, enhanced)
    if grid.z > 20:
        # The lungs' bases: everything inside the chest wall and above the diaphragm's dome.
        lung = np.maximum(edge - ellipsoid(grid, *anatomy.dome), inner)
        mediastinum = ellipsoid(grid, (5, 18, grid.z), (46, 46, 1.0))
        blend(image, np.maximum(lung, -mediastinum), hu("lung", phase) + 25 * ground.texture, 2.5)


class Enhanced:
    """A tissue's HU in a phase, in a body that takes up more or less contrast than the average."""

    def __init__(self, enhancement: float, phase: Phase) -> None:
        self._enhancement, self._phase = enhancement, phase

    def __call__(self, tissue: str) -> float:
        """HU of a tissue."""
        plain = hu(tissue, Phase.UNENHANCED)
        return plain + (hu(tissue, self._phase) - plain) * self._enhancement


def _solid(grid: Grid, shape: tuple[Axes, Axes], margin_mm: float = 12.0) -> np.ndarray:
    """Signed distance to an ellipsoid, computed only about it."""
    (cx, cy, cz), (ax, ay, az) = shape
    distance = np.full((grid.y.shape[0], grid.x.shape[1]), _FAR)
    if abs(grid.z - cz) < az + margin_mm:
        part, where = grid.window(cx - ax - margin_mm, cx + ax + margin_mm, cy - ay - margin_mm, cy + ay + margin_mm)
        distance[where] = ellipsoid(part, *shape)
    return distance


def _paint_ribs(image: np.ndarray, grid: Grid, anatomy: Anatomy, phase: Phase, px: float) -> None:
    a = anatomy.half_width - anatomy.subcutaneous[0] - 5
    b = anatomy.half_depth - anatomy.subcutaneous[1] - 5
    for side in (-1, 1):
        for rib in range(9):
            # Ribs run forward and down: on one slice they cut the wall at angles that move with z.
            angle = float(np.radians(-38 + rib * 24 + (grid.z / 26 % 1) * 24))
            sine, cosine = float(np.sin(angle)), float(np.cos(angle))
            if sine < -0.62:
                continue
            cx, cy = side * a * cosine, b * sine
            part, where = grid.window(cx - 16, cx + 16, cy - 16, cy + 16)
            dx, dy = part.x - cx, part.y - cy
            along, across = dy * cosine - dx * (sine * side), dx * (cosine * side) + dy * sine
            r = np.sqrt((along / 8.5) ** 2 + (across / 4.0) ** 2)
            blend(image[where], (r - 1) * 4, hu("bone", phase), px)
            blend(image[where], (r - 0.6) * 4, hu("marrow", phase), px)


def _paint_great_vessels(image: np.ndarray, grid: Grid, anatomy: Anatomy, enhanced: Enhanced) -> None:
    wobble = 4 * float(np.sin(grid.z / 55))
    for (cx, cy), radius, name, flat in (
        (anatomy.aorta, anatomy.aorta_r, "aorta", 1.0),
        (anatomy.cava, anatomy.cava_r, "cava", 0.8),
    ):
        part, where = grid.window(cx - 30, cx + 30, cy - 30, cy + 30)
        distance = np.hypot(part.x - (cx + wobble), (part.y - cy) / flat) - radius
        blend(image[where], distance, enhanced(name), grid.pixel_mm * 1.3)


def _paint_bowel(
    image: np.ndarray, grid: Grid, anatomy: Anatomy, ground: Ground, phase: Phase, *, clear: np.ndarray
) -> None:
    px = grid.pixel_mm * 1.3
    colon = np.maximum(tube(grid, anatomy.colon, anatomy.colon_r, margin_mm=8.0), -clear)
    if colon.min() < px:
        blend(image, colon, hu("bowel_wall", phase), px)
        blend(image, colon + 2.5, hu("bowel", phase) + 30 * ground.texture, px)
        blend(image, np.maximum(colon + 3.0, grid.y + 52 + 8 * ground.warp), hu("gas", phase), px)
    for centre, axes in anatomy.loops:
        if abs(grid.z - centre[2]) < axes[2]:
            part, where = grid.window(centre[0] - 24, centre[0] + 24, centre[1] - 24, centre[1] + 24)
            loop = np.maximum(ellipsoid(part, centre, axes) + 1.5 * ground.lobulation[where], -clear[where])
            blend(image[where], loop, hu("bowel_wall", phase), px)
            blend(image[where], loop + 2.6, hu("bowel", phase), px)


def _paint_kidney(image: np.ndarray, grid: Grid, anatomy: Anatomy, phase: Phase, shape: tuple[Axes, Axes]) -> None:
    (cx, cy, cz), (_, _, tall) = shape
    if abs(grid.z - cz) > tall + 6:
        return
    px = grid.pixel_mm * 1.3
    part, where = grid.window(cx - 50, cx + 50, cy - 50, cy + 50)
    kidney = ellipsoid(part, *shape) + 1.2 * anatomy.lobulation(part)
    blend(image[where], kidney, hu("kidney_cortex", phase), px)
    blend(image[where], kidney + 7 + 2 * anatomy.texture(part), hu("kidney_medulla", phase), 2.0)
    blend(image[where], ellipsoid(part, (cx * 0.82, cy - 4, cz), (13, 9, 24)), hu("fat", phase), 2.0)


def _paint_spine(image: np.ndarray, grid: Grid, anatomy: Anatomy, phase: Phase) -> None:
    y0, s, z, px = anatomy.spine_y, anatomy.scale, grid.z, grid.pixel_mm * 1.3
    part, where = grid.window(-85, 85, y0 - 40, y0 + 90)
    spot = image[where]
    muscle, bone = hu("muscle", phase), hu("bone", phase)
    for side in (-1, 1):
        blend(spot, ellipsoid(part, (side * 32 * s, y0 + 30 * s, z), (24 * s, 20 * s, 1)), muscle, px)
        blend(spot, ellipsoid(part, (side * 30 * s, y0 - 2, z), (11 * s, 16 * s, 1)), muscle, px)
    for side in (-1, 1):
        blend(spot, ellipsoid(part, (side * 26 * s, y0 + 21 * s, z), (17 * s, 4 * s, 1)), bone, px)
    blend(spot, ellipsoid(part, (0, y0 + 42 * s, z), (4 * s, 17 * s, 1)), bone, px)
    ring = ellipsoid(part, (0, y0 + 24 * s, z), (15 * s, 13 * s, 1))
    blend(spot, ring, bone, px)
    blend(spot, ring + 4.5, hu("canal", phase), px)
    body = ellipsoid(part, (0, y0, z), (23 * s, 18 * s, 1)) + 0.6 * anatomy.lobulation(part)
    disc = ((z + anatomy.vertebra_phase) % 33) < 7
    blend(spot, body, hu("disc", phase) if disc else bone, px)
    if not disc:
        blend(spot, body + 2.2, hu("marrow", phase) + 25 * anatomy.texture(part), px)
