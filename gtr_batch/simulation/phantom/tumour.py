"""The tumour: how deep it goes is the T stage.

T1 ends in the inner layers, with submucosa and muscularis still to be seen outside; T2 ends inside the muscularis,
whose outer border stays smooth; T3 goes through it into the fat, with an irregular border and strands; T4 crosses the
fat into the neighbouring organ. (AJCC 8th edition; the CT signs as in the paper's Fig. 3.)
"""

from __future__ import annotations

import numpy as np
from attrs import frozen

from gtr_batch.domain.staging import TStage
from gtr_batch.simulation.phantom.anatomy import hu
from gtr_batch.simulation.phantom.fields import Grid, SmoothField, blend
from gtr_batch.simulation.phantom.ranges import USUAL, Ranges
from gtr_batch.simulation.phantom.scanner import Phase
from gtr_batch.simulation.phantom.stomach import Layers, Stomach, WallPoint

MIN_RADIUS_MM, MAX_RADIUS_MM = 14.0, 42.0


@frozen(eq=False)
class Invasion:
    """The tumour on one slice: signed distances, mm."""

    tumour: np.ndarray  # negative inside
    strands: np.ndarray  # 0..1, how much the fat is stranded


class Tumour:
    """One tumour on a stomach's site.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of its variation.
    stage : TStage
        Its depth.
    size_cm : float
        Largest diameter along the wall, cm (imaged within 2.8 to 8.4 cm, the wall's curvature being what it is).
    stomach : Stomach
        What it grows in.
    ranges : Ranges
        Of its enhancement.
    """

    def __init__(
        self, rng: np.random.Generator, stage: TStage, size_cm: float, stomach: Stomach, ranges: Ranges = USUAL
    ) -> None:
        u = rng.uniform
        self.stage, self.stomach = stage, stomach
        self.radius = float(np.clip(size_cm * 5, MIN_RADIUS_MM, MAX_RADIUS_MM))
        self.bulge = u(1.5, 6.0)  # into the lumen, mm; the same for all stages
        # Share of the layer in which the tumour ends, and what it reaches beyond the wall.
        self.end = u(0.0, 0.25) if stage is TStage.T1 else u(0.50, 0.90)
        self.beyond = u(4.0, 6.0)
        self.infiltration = u(6.0, 9.0)
        self.strand_reach, self.strand_strength = u(10, 16), u(0.8, 1.0)
        self.irregular = SmoothField(rng, 13, 24)
        self.margin = SmoothField(rng, 40, 12)
        self.heterogeneous = SmoothField(rng, 10, 24)
        self.strand_fields = tuple(SmoothField(rng, 15, 16) for _ in range(3))
        self.brightness = u(*ranges.tumour_hu)

    def invade(self, grid: Grid, point: WallPoint, layers: Layers, cavity: np.ndarray) -> Invasion:
        """Where the tumour is on a slice; `cavity` is the signed distance to the inside of the abdominal wall."""
        radius = self.radius * (1 + 0.12 * self.margin(grid))
        edge = np.clip((radius - point.lateral) / np.maximum(0.35 * radius, 4.0), 0, 1)  # 1 in the middle, 0 at the rim
        profile = edge * (2 - edge)
        near = point.outward > -1.2 * float(self.stomach.curve[self.stomach.site_index, 3])
        deepest = self._deepest(layers, grid)
        depth = point.depth
        inner = -self.bulge * profile * (1 + 0.35 * self.irregular(grid))
        outer = deepest * np.minimum(1.25 * profile, 1)
        distance = np.maximum(np.maximum(depth - outer, inner - depth), (point.lateral - radius) * 0.7)
        distance = np.where(near, distance, np.float32(50.0))
        if self.stage is TStage.T4:
            distance = np.minimum(distance, self._bridge(grid, point, layers, radius))
        distance = np.maximum(distance, cavity)
        return Invasion(distance.astype(np.float32), self._strands(grid, point, layers, radius))

    def _deepest(self, layers: Layers, grid: Grid) -> np.ndarray:
        if self.stage is TStage.T1:
            return layers.mucosa + self.end * (layers.submucosa - layers.mucosa)
        if self.stage is TStage.T2:
            return layers.submucosa + self.end * (layers.muscularis - layers.submucosa)
        # Through the serosa, with an irregular outer border.
        return layers.muscularis + self.beyond * (0.9 + 0.45 * np.clip(self.irregular(grid), -1.2, 1.2))

    def _bridge(self, grid: Grid, point: WallPoint, layers: Layers, radius: np.ndarray) -> np.ndarray:
        """Across the fat into the organ that the site faces: no fat plane is left."""
        rough = np.clip(self.irregular(grid), -1, 1)
        reach = layers.muscularis + self.stomach.gap * 1.15 + self.infiltration * (1 + 0.3 * rough)
        width = np.clip(0.8 * radius, 9, 24) * (1 + 0.2 * rough)
        into = np.maximum(point.depth - reach, (point.lateral - width) * 0.8)
        return np.maximum(np.maximum(into, -point.depth), -point.outward - 4)

    def _strands(self, grid: Grid, point: WallPoint, layers: Layers, radius: np.ndarray) -> np.ndarray:
        if self.stage in (TStage.T1, TStage.T2):
            return np.zeros_like(point.depth)
        beyond = point.depth - layers.muscularis
        fade = np.clip(1 - beyond / self.strand_reach, 0, 1) * np.clip((radius + 6 - point.lateral) / 8, 0, 1)
        fade *= (beyond > -1) & (point.outward > -8)
        a, b, c = (f(grid) for f in self.strand_fields)
        lines = np.maximum(
            np.maximum(np.exp(-((a / 0.28) ** 2)), np.exp(-((b / 0.28) ** 2))), np.exp(-((c / 0.28) ** 2))
        )
        haze = 0.5
        return (self.strand_strength * fade * (haze + (1 - haze) * lines)).astype(np.float32)

    def paint(self, image: np.ndarray, grid: Grid, phase: Phase, invasion: Invasion, e: float) -> None:
        """Strands in what is fat, then the tumour itself."""
        plain = hu("tumour", Phase.UNENHANCED)
        tumour_hu = plain + (hu("tumour", phase) + self.brightness - plain) * e
        fat = np.clip((-20 - image) / 60, 0, 1)
        image += invasion.strands * fat * 0.75 * (45 - image)
        blurred = grid.pixel_mm * (1.2 if self.stage in (TStage.T1, TStage.T2) else 2.6)
        blend(image, invasion.tumour, tumour_hu + 7 * self.heterogeneous(grid), blurred)
