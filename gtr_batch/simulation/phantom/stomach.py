"""The stomach: a tube of changing width with lumen and layered wall, and where on it a tumour would sit.

Nothing in here knows a T stage: the site, the wall's oedema about it and the organ that it faces are drawn alike for
every patient, so that only `gtr_batch.simulation.phantom.tumour` can tell the stages apart.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from attrs import field, frozen

from gtr_batch.simulation.phantom.anatomy import Neighbour, hu
from gtr_batch.simulation.phantom.fields import Grid, SmoothField, blend, smooth_curve, tube
from gtr_batch.simulation.phantom.ranges import USUAL, Ranges
from gtr_batch.simulation.phantom.scanner import Phase


class Third(StrEnum):
    """Third of the stomach (Table 1, tumour location)."""

    LOWER = "lower"
    MIDDLE = "middle"
    UPPER = "upper"


# x, y, z of the centreline and the lumen's radius, mm, for a body of average size, from fundus to pylorus.
_CENTRELINE = np.array(
    [
        (60, 30, 66, 22),
        (64, 22, 50, 31),
        (62, 4, 26, 31),
        (58, -18, 4, 29),
        (46, -32, -18, 26),
        (22, -38, -32, 22),
        (-4, -34, -36, 18),
        (-28, -26, -34, 12),
        (-38, -16, -30, 8),
    ],
    float,
)
# Where along the centreline (share of its points' index) each third's tumours lie.
_REACH = {Third.UPPER: (0.14, 0.28), Third.MIDDLE: (0.36, 0.54), Third.LOWER: (0.66, 0.86)}
# Organs that each third's wall faces, and the outward direction there.
_FACING: dict[Third, tuple[tuple[Neighbour, tuple[float, float, float]], ...]] = {
    Third.UPPER: ((Neighbour.SPLEEN, (0.85, 0.5, 0.0)), (Neighbour.LIVER, (-0.85, -0.5, 0.1))),
    Third.MIDDLE: ((Neighbour.PANCREAS, (-0.2, 1.0, 0.0)), (Neighbour.LIVER, (-0.9, -0.35, 0.1))),
    Third.LOWER: ((Neighbour.PANCREAS, (0.05, 1.0, 0.0)), (Neighbour.LIVER, (-0.25, -1.0, 0.15))),
}
_LOBULE_AXES = {  # along the outward direction, across it in the axial plane, along z; mm
    Neighbour.LIVER: (26.0, 44.0, 42.0),
    Neighbour.PANCREAS: (14.0, 40.0, 34.0),
    Neighbour.SPLEEN: (26.0, 36.0, 42.0),
}


@frozen(eq=False)
class WallPoint:
    """Per pixel: `depth` outward from the lumen's surface, `lateral` distance from the site along the wall, mm."""

    depth: np.ndarray
    lateral: np.ndarray
    outward: np.ndarray  # distance from the site along its outward direction


@frozen(eq=False)
class Layers:
    """Outer borders of mucosa, submucosa and muscularis, mm from the lumen's surface; one value or one per pixel."""

    mucosa: np.ndarray
    submucosa: np.ndarray
    muscularis: np.ndarray = field()


class Stomach:
    """One stomach.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of its variation.
    third : Third
        Where its tumour, if it has one, lies.
    scale : float
        Size of the body, 1 for the average.
    wall : float
        Thickness of all layers, against what is drawn.
    ranges : Ranges
        Of the wall's thickness and the lumen's distension.
    """

    def __init__(
        self, rng: np.random.Generator, third: Third, scale: float, wall: float = 1.0, ranges: Ranges = USUAL
    ) -> None:
        u = rng.uniform
        points = _CENTRELINE.copy()
        points[:, :3] = points[:, :3] * scale + rng.uniform(-5, 5, (len(points), 3)) + rng.uniform(-5, 5, 3)
        points[:, 3] *= u(*ranges.distension) * scale
        self.curve = smooth_curve(points, 3.5)
        self.third = third
        facing = _FACING[third]
        self.neighbour, direction = facing[int(rng.integers(len(facing)))]
        self.site_index, self.normal, self.site = self._site(rng, third, np.asarray(direction))
        self.gap = u(8.0, 12.0)  # of fat between wall and neighbour, mm
        self.normal_wall = u(0.36, 0.50)  # thickness away from the site, against the oedematous wall at it
        self.oedema_radius = u(26, 46)
        self.layer_mm = np.array([u(2.6, 3.4), u(4.2, 5.4), u(3.4, 4.2)])
        self.fluid = u(0, 20) if u() < 0.88 else u(170, 250)  # water, or a thin positive oral contrast
        self.gas_level = u(0.15, 0.75)  # share of the front-to-back extent that is gas
        self.fold = SmoothField(rng, 24, 20)
        self.content = SmoothField(rng, 9, 24)
        self.gap_field = SmoothField(rng, 60, 10)
        self.vessel_a, self.vessel_b = SmoothField(rng, 26, 16), SmoothField(rng, 26, 16)
        self.mucosa_texture = SmoothField(rng, 12, 16)
        self._thin(rng, ranges)  # drawn last: nothing else moves with the ranges
        self.layer_mm = self.layer_mm * wall

    def _site(
        self, rng: np.random.Generator, third: Third, direction: np.ndarray
    ) -> tuple[int, np.ndarray, np.ndarray]:
        """Index on the centreline, outward direction and place of the tumour's middle.

        The wall must bulge outward there, else "deeper" would mean "nearer to another part of the stomach"; and it must
        face sideways, so that its layers are seen in an axial slice. Of forty places the first that does both is taken,
        else the one that comes nearest.
        """
        low, high = _REACH[third]
        points, best = self.curve[:, :3], None
        for _ in range(40):
            index = int(rng.uniform(low, high) * (len(points) - 1))
            normal = direction + np.array([*rng.uniform(-0.2, 0.2, 2), 0.0])
            tangent = points[min(index + 3, len(points) - 1)] - points[index - 3]
            tangent /= np.linalg.norm(tangent)
            normal -= normal @ tangent * tangent  # outward is across the centreline
            normal /= np.linalg.norm(normal)
            site = points[index] + normal * self.curve[index, 3]
            outside = site + 24.0 * normal
            rises = float((np.linalg.norm(points - outside, axis=1) - self.curve[:, 3]).min())
            lacks = max(21.0 - rises, 0.0) + 40 * max(abs(float(normal[2])) - 0.35, 0.0)
            if best is None or lacks < best[0]:
                best = (lacks, index, normal, site)
            if lacks == 0:
                break
        assert best is not None  # forty were tried
        return best[1], best[2], best[3]

    def _thin(self, rng: np.random.Generator, ranges: Ranges) -> None:
        """The wall's thickness where it does not follow from the layers; their proportions stay."""
        if ranges.wall_mm is not None:
            self.layer_mm = self.layer_mm * (rng.uniform(*ranges.wall_mm) / self.layer_mm.sum())
        away = ranges.antrum_wall_mm if self.third is Third.LOWER else ranges.body_wall_mm
        if away is not None:
            self.normal_wall = min(float(rng.uniform(*away)) / self.wall_mm, 1.0)

    @property
    def wall_mm(self) -> float:
        """Thickness of all layers at the site, without the tumour."""
        return float(self.layer_mm.sum())

    @property
    def reach(self) -> tuple[float, float, float, float, float, float]:
        """Bounds (x0, x1, y0, y1, z0, z1) of stomach and surroundings, mm."""
        low = (self.curve[:, :3] - self.curve[:, 3:]).min(0) - 38
        high = (self.curve[:, :3] + self.curve[:, 3:]).max(0) + 38
        return (low[0], high[0], low[1], high[1], low[2], high[2])

    def lumen(self, grid: Grid) -> np.ndarray:
        """Signed distance to the lumen's smooth surface, mm."""
        return tube(grid, self.curve[:, :3], self.curve[:, 3], margin_mm=40.0)

    def wall_point(self, grid: Grid, depth: np.ndarray) -> WallPoint:
        """Where pixels lie about the tumour's site."""
        (sx, sy, sz), (nx, ny, nz) = self.site.tolist(), self.normal.tolist()
        dx, dy, dz = grid.x - sx, grid.y - sy, grid.z - sz
        outward = dx * nx + dy * ny + dz * nz
        distance2 = dx**2 + dy**2 + dz**2
        lateral = np.sqrt(np.maximum(distance2 - depth**2, 0))
        return WallPoint(depth, lateral.astype(np.float32), outward.astype(np.float32))

    def layers(self, lateral: np.ndarray) -> Layers:
        """Layer borders: oedematous about the site, thin elsewhere."""
        swell = np.clip((self.oedema_radius + 14 - lateral) / 14, 0, 1)
        factor = self.normal_wall + (1 - self.normal_wall) * swell * swell * (3 - 2 * swell)
        borders = np.cumsum(self.layer_mm).tolist()
        return Layers(borders[0] * factor, borders[1] * factor, borders[2] * factor)

    def clearance(self, grid: Grid, depth: np.ndarray, layers: Layers) -> np.ndarray:
        """Signed distance to the stomach with its coat of fat, inside which no other organ grows, mm."""
        return depth - layers.muscularis - self.gap * (1 + 0.18 * self.gap_field(grid))

    def lobule(self) -> tuple[str, tuple[float, float, float], tuple[float, float, float]]:
        """The part of the neighbour that comes up to the site: organ, centre and semi-axes, mm."""
        along, across, tall = _LOBULE_AXES[self.neighbour]
        centre = self.site + self.normal * (along + self.wall_mm + self.gap - 6.0)
        # An ellipsoid along the image's axes: the long one across the dominant component of the outward direction.
        axes = (along, across, tall) if abs(self.normal[0]) > abs(self.normal[1]) else (across, along, tall)
        return self.neighbour.value, (float(centre[0]), float(centre[1]), float(centre[2])), axes

    def paint(
        self, image: np.ndarray, grid: Grid, phase: Phase, depth: np.ndarray, *, layers: Layers, e: float
    ) -> None:
        """Wall, lumen and perigastric vessels; `e` is the body's enhancement."""
        px = grid.pixel_mm * 1.2

        def enhanced(tissue: str) -> float:
            plain = hu(tissue, Phase.UNENHANCED)
            return plain + (hu(tissue, phase) - plain) * e

        coat = np.sqrt(self.vessel_a(grid) ** 2 + self.vessel_b(grid) ** 2) * 9 - 1.5
        outside = np.maximum(layers.muscularis + 1.0 - depth, depth - layers.muscularis - self.gap + 1.0)
        blend(image, np.maximum(coat, outside), enhanced("vessel"), 1.5)
        blend(image, depth - layers.muscularis, enhanced("muscularis"), px)
        blend(image, depth - layers.submucosa, enhanced("submucosa"), px)
        blend(image, depth - layers.mucosa, enhanced("mucosa") + 5 * self.mucosa_texture(grid), px)
        self.paint_lumen(image, grid, phase, depth + np.clip(1.2 * self.fold(grid), -0.5, 2.5))

    def paint_lumen(self, image: np.ndarray, grid: Grid, phase: Phase, lumen: np.ndarray) -> None:
        """Water or thin oral contrast, gas above the level (the patient lies on the back)."""
        px = grid.pixel_mm * 1.2
        blend(image, lumen, self.fluid + 4 * self.content(grid), px)
        front, back = (self.curve[:, 1] - self.curve[:, 3]).min(), (self.curve[:, 1] + self.curve[:, 3]).max()
        level = float(front + (back - front) * 0.5 * self.gas_level)
        blend(image, np.maximum(lumen + 0.5, grid.y - level), hu("gas", phase), px)
