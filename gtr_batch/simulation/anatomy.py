"""A body without a tumour: organs, their places and their HU per phase. Nothing in here knows a T stage."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from gtr_batch.simulation.fields import Grid, SmoothField, blend, ellipsoid, smooth_curve, tube
from gtr_batch.simulation.scanner import Phase

# Mean HU per tissue: unenhanced, arterial, portal venous.
HU: dict[str, tuple[float, float, float]] = {
    "air": (-1000, -1000, -1000),
    "lung": (-860, -850, -850),
    "fat": (-108, -106, -104),
    "muscle": (52, 58, 64),
    "bone": (420, 420, 420),
    "marrow": (160, 170, 180),
    "disc": (75, 78, 80),
    "canal": (22, 24, 26),
    "liver": (56, 68, 108),
    "liver_vessel": (42, 80, 165),
    "spleen": (47, 118, 122),
    "pancreas": (40, 96, 92),
    "kidney_cortex": (32, 175, 170),
    "kidney_medulla": (30, 75, 155),
    "aorta": (42, 290, 158),
    "cava": (40, 75, 140),
    "portal": (42, 85, 172),
    "vessel": (42, 130, 140),
    "bowel_wall": (40, 75, 85),
    "bowel": (18, 20, 22),
    "table": (-250, -250, -250),
    "water": (8, 8, 8),
    "gas": (-960, -960, -960),
    "mucosa": (42, 88, 112),
    "submucosa": (26, 28, 34),
    "muscularis": (42, 52, 72),
    "tumour": (44, 92, 112),
}


class Neighbour(StrEnum):
    """The organ that a tumour's wall faces."""

    LIVER = "liver"
    PANCREAS = "pancreas"
    SPLEEN = "spleen"


def hu(tissue: str, phase: Phase) -> float:
    """Mean HU of a tissue in a phase."""
    return HU[tissue][list(Phase).index(phase)]


class Anatomy:
    """One body.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of its variation.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        u = rng.uniform
        self.half_width, self.half_depth = u(148, 182), u(106, 130)
        self.subcutaneous = (u(8, 24), u(9, 24))  # mm at the side, front and back
        self.scale = (self.half_width / 165 + self.half_depth / 118) / 2
        self.enhancement = u(0.88, 1.12)  # of this body and injection
        self.fat_hu = u(-6, 6)
        self.tilt = u(-0.05, 0.05)  # of the body about its long axis, radians
        self.offset = (u(-8, 8), u(-8, 8))  # body against the image's centre, mm
        s = self.scale

        def at(x: float, y: float, z: float, jitter: float = 6.0) -> tuple[float, float, float]:
            dx, dy, dz = rng.uniform(-jitter, jitter, 3)
            return (x * s + dx, y * s + dy, z * s + dz)

        self.spine_y = 0.40 * self.half_depth
        self.vertebra_phase = u(0, 32)
        front = self.spine_y - 22 * s
        self.aorta, self.aorta_r = (u(8, 16), front - u(4, 8)), u(9, 11.5)
        self.cava, self.cava_r = (u(-28, -20), front - u(0, 5)), u(9, 12)
        self.liver = (at(-70, -12, 22, 8), (u(72, 84) * s, u(76, 90) * s, u(70, 86) * s))
        self.left_lobe = (at(-12, -52, 32, 8), (u(50, 66) * s, u(26, 34) * s, u(36, 48) * s))
        self.spleen = (at(102, 40, 38, 7), (u(26, 34) * s, u(36, 46) * s, u(42, 54) * s))
        self.kidneys = tuple((at(x, 50, z, 5), (u(24, 29), u(26, 31), u(48, 56))) for x, z in ((-62, -38), (62, -28)))
        pancreas = np.array(
            [at(-34, 2, -44, 4), at(-12, -8, -26, 4), at(20, -4, -12, 4), at(52, 14, 4, 4), at(76, 26, 16, 4)]
        )
        self.pancreas = smooth_curve(pancreas, 5.0)
        self.pancreas_r = np.linspace(u(14, 18), u(9, 12), len(self.pancreas))
        self.splenic = self.pancreas + np.array([0, 9.0 * s, 4.0])
        self.colon = smooth_curve(
            np.array(
                [at(-95, -10, -90, 8), at(-88, -40, -55, 8), at(-30, -72, -70, 8), at(40, -74, -66, 8)]
                + [at(96, -18, -30, 8), at(104, 10, -60, 6)]
            ),
            7.0,
        )
        self.colon_r = u(15, 20) + 3 * np.sin(np.arange(len(self.colon)) * 0.9)
        loops = [(float(u(-70, 85)), float(u(-62, 5)), float(u(-150, -62))) for _ in range(16)]
        self.loops = [(c, (float(u(11, 17)), float(u(11, 17)), float(u(14, 26)))) for c in loops]
        self.gallbladder = at(-52, -44, -28, 8), (u(13, 18), u(13, 18), u(20, 28))
        self.dome = (at(0, -4, -12, 4), (self.half_width * 0.86, self.half_depth * 0.90, u(106, 122)))
        self.warp = SmoothField(rng, 95, 12)
        self.lobulation = SmoothField(rng, 38, 16)
        self.texture = SmoothField(rng, 22, 24)
        self.vessel_a, self.vessel_b = SmoothField(rng, 46, 14), SmoothField(rng, 46, 14)
        self.mesentery_a, self.mesentery_b = SmoothField(rng, 30, 16), SmoothField(rng, 30, 16)

    def body_distance(self, grid: Grid, side: float = 0.0, front: float = 0.0) -> np.ndarray:
        """Signed distance to the skin, or to a surface `side` and `front` mm below it."""
        a, b = self.half_width - side, self.half_depth - front
        r = (np.abs(grid.x / a) ** 2.4 + np.abs(grid.y / b) ** 2.4) ** (1 / 2.4)
        return (r - 1) * min(a, b) + 1.5 * self.warp(grid)

    def cavity(self, grid: Grid) -> np.ndarray:
        """Signed distance to the inside of the abdominal wall."""
        side, front = self.subcutaneous
        return self.body_distance(grid, side + 13, front + 12)

    def paint_body(self, image: np.ndarray, grid: Grid, phase: Phase) -> None:
        """Air, table, skin, fat, muscle wall, ribs, lungs."""
        px = grid.pixel_mm * 1.3
        image[...] = hu("air", phase)
        top = self.half_depth + 2 + 14 * (grid.x / 200) ** 2 * -1
        blend(image, np.maximum(np.abs(grid.y - top - 6) - 4, np.abs(grid.x) - 210), hu("table", phase), px)
        blend(image, self.body_distance(grid), hu("muscle", phase) - 20, px)  # skin
        blend(image, self.body_distance(grid, 2, 2), hu("fat", phase) + self.fat_hu, px)
        wall = self.body_distance(grid, *self.subcutaneous)
        blend(image, wall, hu("muscle", phase), px)
        inner = self.cavity(grid) - 2
        fat = hu("fat", phase) + self.fat_hu + 5 * self.texture(grid)
        blend(image, inner, fat, px)
        vessels = self.mesentery_a(grid) ** 2 + self.mesentery_b(grid) ** 2
        blend(image, np.maximum(np.sqrt(vessels) * 12 - 1.7, inner + 4), hu("vessel", phase), 1.6)
        self._paint_ribs(image, grid, phase, px)

    def _paint_ribs(self, image: np.ndarray, grid: Grid, phase: Phase, px: float) -> None:
        a, b = self.half_width - self.subcutaneous[0] - 5, self.half_depth - self.subcutaneous[1] - 5
        for side in (-1, 1):
            for rib in range(9):
                # Ribs run forward and down: on one slice they cut the wall at angles that move with z.
                angle = np.radians(-38 + rib * 24) + (grid.z / 26 % 1) * np.radians(24)
                if np.sin(angle) < -0.62:
                    continue
                cx, cy = side * a * np.cos(angle), b * np.sin(angle)
                part, where = grid.window(cx - 16, cx + 16, cy - 16, cy + 16)
                dx, dy = part.x - cx, part.y - cy
                along, across = (
                    -dx * np.sin(angle) * side + dy * np.cos(angle),
                    dx * np.cos(angle) * side + dy * np.sin(angle),
                )
                r = np.sqrt((along / 8.5) ** 2 + (across / 4.0) ** 2)
                blend(image[where], (r - 1) * 4, hu("bone", phase), px)
                blend(image[where], (r - 0.6) * 4, hu("marrow", phase), px)

    def paint_organs(
        self, image: np.ndarray, grid: Grid, phase: Phase, clear: np.ndarray, lobule: tuple | None
    ) -> np.ndarray:
        """Spine, vessels and organs; `clear` is a signed distance inside which no soft organ grows (the stomach's fat).

        Returns
        -------
        numpy.ndarray
            Signed distance to the solid organs about the stomach (liver, pancreas, spleen and `lobule`).
        """
        px, e = grid.pixel_mm * 1.3, self.enhancement
        inner = self.cavity(grid) + 1
        edge = 2.5 * self.lobulation(grid)

        def enhanced(tissue: str) -> float:
            plain = hu(tissue, Phase.UNENHANCED)
            return plain + (hu(tissue, phase) - plain) * e

        self._paint_bowel(image, grid, phase, clear)
        liver = np.minimum(ellipsoid(grid, *self.liver), ellipsoid(grid, *self.left_lobe)) + edge
        liver = np.maximum(np.maximum(liver, inner), -clear)
        spleen = np.maximum(np.maximum(ellipsoid(grid, *self.spleen) + edge, inner), -clear)
        pancreas = np.maximum(tube(grid, self.pancreas, self.pancreas_r) + 0.8 * edge, -clear)
        organs: dict[str, np.ndarray] = {"pancreas": pancreas, "spleen": spleen, "liver": liver}
        if lobule is not None:
            name, centre, axes = lobule
            extra = np.maximum(ellipsoid(grid, centre, axes) + 0.6 * edge, -clear)
            organs[name] = np.minimum(organs[name], np.maximum(extra, inner))
        blend(image, tube(grid, self.splenic, np.full(len(self.splenic), 3.8)), enhanced("portal"), px)
        mottle = 3.0 * self.texture(grid)
        for name, distance in organs.items():
            rough = 2.2 if name == "pancreas" else 1.0
            blend(image, distance, enhanced(name) + rough * mottle, px)
        vessel = np.sqrt(self.vessel_a(grid) ** 2 + self.vessel_b(grid) ** 2) * 16 - 2.6
        blend(image, np.maximum(vessel, liver + 7), enhanced("liver_vessel"), 2.0)
        gall = np.maximum(ellipsoid(grid, *self.gallbladder), -clear)
        blend(image, gall, hu("bowel_wall", phase), px)
        blend(image, gall + 2.2, hu("water", phase), px)
        for centre, axes in self.kidneys:
            self._paint_kidney(image, grid, phase, centre, axes, px)
        self._paint_spine(image, grid, phase, px)
        wobble = 4 * np.sin(grid.z / 55)
        for (cx, cy), r, name in ((self.aorta, self.aorta_r, "aorta"), (self.cava, self.cava_r, "cava")):
            part, where = grid.window(cx - 30, cx + 30, cy - 30, cy + 30)
            flat = 0.8 if name == "cava" else 1.0
            blend(image[where], np.hypot(part.x - cx - wobble, (part.y - cy) / flat) - r, enhanced(name), px)
        # The lungs' bases: everything inside the chest wall and above the diaphragm's dome.
        if grid.z > 20:
            lung = np.maximum(-(ellipsoid(grid, *self.dome) + edge), inner)
            mediastinum = ellipsoid(grid, (5, 18, grid.z), (46, 46, 1.0))
            blend(image, np.maximum(lung, -mediastinum), hu("lung", phase) + 25 * self.texture(grid), 2.5)
        return np.minimum(np.minimum(organs["liver"], organs["spleen"]), organs["pancreas"])

    def _paint_bowel(self, image: np.ndarray, grid: Grid, phase: Phase, clear: np.ndarray) -> None:
        px = grid.pixel_mm * 1.3
        colon = np.maximum(tube(grid, self.colon, self.colon_r), -clear)
        blend(image, colon, hu("bowel_wall", phase), px)
        blend(image, np.maximum(colon + 2.5, 0 * colon - 50), hu("bowel", phase) + 30 * self.texture(grid), px)
        blend(image, np.maximum(colon + 3.0, grid.y + 52 + 8 * self.warp(grid)), hu("gas", phase), px)
        for centre, axes in self.loops:
            if abs(grid.z - centre[2]) < axes[2]:
                part, where = grid.window(centre[0] - 24, centre[0] + 24, centre[1] - 24, centre[1] + 24)
                loop = np.maximum(ellipsoid(part, centre, axes) + 1.5 * self.lobulation(part), -clear[where])
                blend(image[where], loop, hu("bowel_wall", phase), px)
                blend(image[where], loop + 2.6, hu("bowel", phase), px)

    def _paint_kidney(self, image: np.ndarray, grid: Grid, phase: Phase, centre: tuple, axes: tuple, px: float) -> None:
        part, where = grid.window(centre[0] - 50, centre[0] + 50, centre[1] - 50, centre[1] + 50)
        kidney = ellipsoid(part, centre, axes) + 1.2 * self.lobulation(part)
        blend(image[where], kidney, hu("kidney_cortex", phase), px)
        blend(image[where], kidney + 7 + 2 * self.texture(part), hu("kidney_medulla", phase), 2.0)
        hilum = (centre[0] * 0.82, centre[1] - 4, centre[2])
        blend(image[where], ellipsoid(part, hilum, (13, 9, 24)), hu("fat", phase), 2.0)

    def _paint_spine(self, image: np.ndarray, grid: Grid, phase: Phase, px: float) -> None:
        y0, s = self.spine_y, self.scale
        part, where = grid.window(-85, 85, y0 - 40, y0 + 90)
        spot = image[where]
        for side in (-1, 1):
            blend(
                spot,
                ellipsoid(part, (side * 32 * s, y0 + 30 * s, grid.z), (24 * s, 20 * s, 1)),
                hu("muscle", phase),
                px,
            )
            blend(spot, ellipsoid(part, (side * 30 * s, y0 - 2, grid.z), (11 * s, 16 * s, 1)), hu("muscle", phase), px)
        body = ellipsoid(part, (0, y0, grid.z), (23 * s, 18 * s, 1)) + 0.6 * self.lobulation(part)
        disc = ((grid.z + self.vertebra_phase) % 33) < 7
        for side in (-1, 1):
            blend(
                spot, ellipsoid(part, (side * 26 * s, y0 + 21 * s, grid.z), (17 * s, 4 * s, 1)), hu("bone", phase), px
            )
        blend(spot, ellipsoid(part, (0, y0 + 42 * s, grid.z), (4 * s, 17 * s, 1)), hu("bone", phase), px)
        ring = ellipsoid(part, (0, y0 + 24 * s, grid.z), (15 * s, 13 * s, 1))
        blend(spot, ring, hu("bone", phase), px)
        blend(spot, ring + 4.5, hu("canal", phase), px)
        blend(spot, body, hu("disc", phase) if disc else hu("bone", phase), px)
        if not disc:
            blend(spot, body + 2.2, hu("marrow", phase) + 25 * self.texture(part), px)
