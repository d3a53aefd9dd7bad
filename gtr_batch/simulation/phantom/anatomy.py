"""A body without a tumour: where its organs are, and their HU per phase. Nothing in here knows a T stage."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from attrs import frozen

from gtr_batch.simulation.phantom.fields import Grid, SmoothField, smooth_curve
from gtr_batch.simulation.phantom.ranges import USUAL, Ranges
from gtr_batch.simulation.phantom.scanner import Phase

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
    "submucosa": (16, 17, 20),
    "muscularis": (44, 55, 76),
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


@frozen(eq=False)
class Ground:
    """What every organ's painting needs of a slice, computed once: signed distances, mm, and smooth fields."""

    skin: np.ndarray
    wall: np.ndarray  # to the outside of the abdominal wall's muscle
    cavity: np.ndarray  # to its inside
    lobulation: np.ndarray
    texture: np.ndarray
    warp: np.ndarray


class Anatomy:
    """One body.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of its variation.
    ranges : Ranges
        Of its enhancement.
    """

    def __init__(self, rng: np.random.Generator, ranges: Ranges = USUAL) -> None:
        u = rng.uniform
        self.half_width, self.half_depth = u(148, 182), u(106, 130)
        self.subcutaneous = (u(8, 24), u(9, 24))  # mm at the side, front and back
        self.scale = (self.half_width / 165 + self.half_depth / 118) / 2
        self.enhancement = u(*ranges.enhancement)  # of this body and injection
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
                [
                    at(-95, -10, -90, 8),
                    at(-88, -40, -55, 8),
                    at(-30, -72, -70, 8),
                    at(40, -74, -66, 8),
                    at(96, -18, -30, 8),
                    at(104, 10, -60, 6),
                ]
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

    def ground(self, grid: Grid) -> Ground:
        """Skin, abdominal wall and the fields that all organs share, on a slice."""
        a, b = self.half_width, self.half_depth
        across, along = np.abs(grid.x / a) ** 2.4, np.abs(grid.y / b) ** 2.4
        total = across + along
        warp = self.warp(grid)
        skin = (total ** (1 / 2.4) - 1) * b + 1.5 * warp
        side_share = across / np.maximum(total, 1e-6)
        side, front = self.subcutaneous
        wall = skin + front + (side * b / a - front) * side_share
        lobulation, texture = self.lobulation(grid), self.texture(grid)
        return Ground(skin, wall, wall + 11.0, lobulation, texture, warp)

    def cavity(self, grid: Grid) -> np.ndarray:
        """Signed distance to the inside of the abdominal wall."""
        return self.ground(grid).cavity
