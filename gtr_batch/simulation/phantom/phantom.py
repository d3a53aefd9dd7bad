"""A whole patient as a scanner would see it: anatomy, stomach, tumour, noise, and the truth about them."""

from __future__ import annotations

import numpy as np
from attrs import field, frozen
from scipy.ndimage import gaussian_filter

from gtr_batch.domain.staging import TStage
from gtr_batch.simulation.phantom.anatomy import Anatomy, hu
from gtr_batch.simulation.phantom.elsewhere import Elsewhere, paint_elsewhere
from gtr_batch.simulation.phantom.fields import Grid
from gtr_batch.simulation.phantom.organs import paint_body, paint_organs, paint_table
from gtr_batch.simulation.phantom.ranges import USUAL, Ranges
from gtr_batch.simulation.phantom.scanner import Phase, Scanner, quantum_noise
from gtr_batch.simulation.phantom.stomach import Stomach, Third
from gtr_batch.simulation.phantom.tumour import Tumour

_STREAMS = ("anatomy", "stomach", "tumour", "scan", "noise")


def stream(seed: int, index: int, name: str, *more: int) -> np.random.Generator:
    """The random numbers of one patient's one aspect: the anatomy's do not move when the tumour's do."""
    return np.random.default_rng([seed, index, _STREAMS.index(name), *more])


@frozen(eq=False)
class SliceTruth:
    """What is on a slice; masks (rows, columns), bool."""

    stomach: np.ndarray  # lumen and wall as they would be without a tumour
    tumour: np.ndarray


@frozen(eq=False)
class Phantom:
    """One patient in one scanner.

    Parameters
    ----------
    seed, index : int
        Everything about the patient follows from these and the three below.
    stage : TStage or None
        Depth of invasion; None: no tumour.
    third : Third
        Where the tumour lies.
    size_cm : float
        Its largest diameter.
    scanner : Scanner
    matrix : int
        Rows and columns.
    wall : float
        Thickness of the stomach's wall, against what is drawn.
    elsewhere : Elsewhere or None
        A tumour of another organ.
    ranges : Ranges
        What its wall, distension, contrast and noise are drawn from.
    """

    seed: int
    index: int
    stage: TStage | None
    third: Third
    size_cm: float
    scanner: Scanner
    matrix: int = 512
    wall: float = 1.0
    elsewhere: Elsewhere | None = None
    ranges: Ranges = USUAL
    anatomy: Anatomy = field(init=False, repr=False)
    stomach: Stomach = field(init=False, repr=False)
    tumour: Tumour | None = field(init=False, repr=False)
    pixel_mm: float = field(init=False)
    lowest_mm: float = field(init=False)
    noise_factor: float = field(init=False)

    @anatomy.default
    def _anatomy(self) -> Anatomy:
        return Anatomy(stream(self.seed, self.index, "anatomy"), self.ranges)

    @stomach.default
    def _stomach(self) -> Stomach:
        rng = stream(self.seed, self.index, "stomach")
        return Stomach(rng, self.third, self.anatomy.scale, self.wall, self.ranges)

    @tumour.default
    def _tumour(self) -> Tumour | None:
        rng = stream(self.seed, self.index, "tumour")
        return None if self.stage is None else Tumour(rng, self.stage, self.size_cm, self.stomach, self.ranges)

    @pixel_mm.default
    def _pixel_mm(self) -> float:
        across = 2 * (self.anatomy.half_width + stream(self.seed, self.index, "scan").uniform(8, 26))
        return round(float(across) / 512, 4) * 512 / self.matrix

    @lowest_mm.default
    def _lowest_mm(self) -> float:
        # The stomach's middle is a little above the range's middle, as planned on a localizer.
        middle = (self.stomach.curve[:, 2].min() + self.stomach.curve[:, 2].max()) / 2
        length = self.scanner.thickness_mm * (self.scanner.slices - 1)
        jitter = stream(self.seed, self.index, "scan", 1).uniform(-6, 6)
        return round(float(middle - length / 2 + jitter), 1)

    @noise_factor.default
    def _noise_factor(self) -> float:
        # Automatic mAs keeps noise about constant; larger bodies are still noisier.
        drawn = stream(self.seed, self.index, "scan", 2).uniform(*self.ranges.noise)
        return float(drawn * self.anatomy.scale**1.5)

    def positions_mm(self, thickness_mm: float | None = None) -> np.ndarray:
        """Heights of the slices, feet to head, mm; another thickness covers the same range."""
        step = thickness_mm or self.scanner.thickness_mm
        length = self.scanner.thickness_mm * (self.scanner.slices - 1)
        return self.lowest_mm + step * np.arange(int(length / step) + 1)

    def grid(self, z: float, matrix: int | None = None) -> Grid:
        """The pixel grid of the slice at height `z`; a smaller `matrix` covers the same field of view."""
        n = matrix or self.matrix
        grid = Grid.of(n, n, self.pixel_mm * self.matrix / n, float(z))
        x, y = self.anatomy.offset
        return Grid((grid.x - np.float32(x)), (grid.y - np.float32(y)), grid.z, grid.pixel_mm)

    def noiseless(self, z: float, phase: Phase = Phase.PORTAL_VENOUS, matrix: int | None = None) -> np.ndarray:
        """HU of the slice at `z` before noise, (rows, columns), float32."""
        return self._paint(self.grid(z, matrix), phase)

    def slice_hu(self, z: float, phase: Phase = Phase.PORTAL_VENOUS, thickness_mm: float | None = None) -> np.ndarray:
        """HU of the slice at `z` as the scanner reconstructs it, (rows, columns), float32."""
        thickness = thickness_mm or self.scanner.thickness_mm
        image = self.noiseless(z, phase)
        image = gaussian_filter(image, 0.55 / self.pixel_mm)  # the system's resolution
        deviation = self.scanner.noise_hu * self.noise_factor * np.sqrt(self.scanner.thickness_mm / thickness)
        rng = stream(self.seed, self.index, "noise", list(Phase).index(phase), round((z - self.lowest_mm) * 100))
        noise = quantum_noise(rng, (self.matrix, self.matrix), self.pixel_mm, deviation, self.scanner.noise_peak)
        inside = np.clip(image / 1000 + 1.25, 0.25, 1.0)  # less noise in air
        return np.clip(image + noise * inside, -1024, 3071)

    def volume(self, phase: Phase = Phase.PORTAL_VENOUS, thickness_mm: float | None = None) -> np.ndarray:
        """HU, (slices, rows, columns), float32, feet to head."""
        return np.stack([self.slice_hu(z, phase, thickness_mm) for z in self.positions_mm(thickness_mm)])

    def truth(self, z: float, matrix: int | None = None) -> SliceTruth:
        """Masks of the slice at `z`."""
        grid = self.grid(z, matrix)
        shape = (grid.y.shape[0], grid.x.shape[1])
        stomach, tumour = np.zeros(shape, bool), np.zeros(shape, bool)
        part, where = self._about_stomach(grid)
        depth = self.stomach.lumen(part)
        point = self.stomach.wall_point(part, depth)
        layers = self.stomach.layers(point.lateral)
        stomach[where] = depth < layers.muscularis
        if self.tumour is not None:
            tumour[where] = self.tumour.invade(part, point, layers, self.anatomy.cavity(part)).tumour < 0
        return SliceTruth(stomach, tumour)

    def tumour_areas(self, matrix: int = 128) -> np.ndarray:
        """Tumour cross-section of each slice, mm^2."""
        cell = (self.pixel_mm * self.matrix / matrix) ** 2
        near = np.abs(self.positions_mm() - self.stomach.site[2])
        far = 0.0 if self.tumour is None else self.tumour.radius + 30
        return np.array(
            [
                self.truth(z, matrix).tumour.sum() * cell if distance < far else 0.0
                for z, distance in zip(self.positions_mm(), near, strict=True)
            ]
        )

    def key_slice(self) -> int:
        """Position of the slice with the largest tumour cross-section, counted from the feet.

        Raises
        ------
        ValueError
            There is no tumour.
        """
        if self.tumour is None:
            raise ValueError("no tumour, no key slice")
        return int(np.argmax(self.tumour_areas()))

    def _about_stomach(self, grid: Grid) -> tuple[Grid, tuple[slice, slice]]:
        x0, x1, y0, y1, _, _ = self.stomach.reach
        return grid.window(x0, x1, y0, y1)

    def _paint(self, grid: Grid, phase: Phase) -> np.ndarray:
        anatomy, stomach = self.anatomy, self.stomach
        whole = np.full((grid.y.shape[0], grid.x.shape[1]), hu("air", phase), np.float32)
        paint_table(whole, grid, anatomy, phase)
        a, b = anatomy.half_width + 8, anatomy.half_depth + 8
        body, spot = grid.window(-a, a, -b, b)
        image = whole[spot]
        ground = anatomy.ground(body)
        paint_body(image, body, anatomy, ground, phase)
        part, where = self._about_stomach(body)
        depth = stomach.lumen(part)
        point = stomach.wall_point(part, depth)
        layers = stomach.layers(point.lateral)
        clear = np.full(image.shape, 200.0, np.float32)
        clear[where] = stomach.clearance(part, depth, layers)
        paint_organs(image, body, anatomy, ground, phase, clear=clear, lobule=stomach.lobule())
        if self.elsewhere is not None:
            rng = stream(self.seed, self.index, "tumour", 1)
            paint_elsewhere(image, body, anatomy, phase, organ=self.elsewhere, rng=rng)
        stomach.paint(image[where], part, phase, depth, layers=layers, e=anatomy.enhancement)
        if self.tumour is not None:
            invasion = self.tumour.invade(part, point, layers, ground.cavity[where])
            self.tumour.paint(image[where], part, phase, invasion, anatomy.enhancement)
        return whole
