"""Contrast phase of an abdominal CT from its pixels alone: aorta and liver, measured without a network.

`intake` asks it of a few probe slices, `validate` of a dozen slices of the whole series. Every slice is measured by
itself, so that three probes are enough:

* the body is the largest thing denser than fat's lower end;
* the spine is where bone is densest near the midline of the posterior half;
* the aorta is the roundest, most even disk (radius 7-15 mm) in front of the spine, on the midline or to the left;
* the liver is the largest even region of soft tissue on the patient's right, and its HU the mode there.

Clear enhancement or its clear absence decides; everything between is ``unknown``, on purpose: a guess would refuse
good series and pass bad ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from attrs import field, frozen
from scipy import ndimage

_GRID_MM = 1.6  # slices are block-averaged to about this before anything is measured: faster, and less noise
_CANAL_TO_BODY_MM = 25.0  # from the middle of the spinal canal to that of the vertebral body
_BODY_MM = (14.0, 19.0)  # half depth and half width of a small adult's vertebral body: no aorta inside it
_BASE_AORTA_HU = 40.0  # unenhanced blood
_BASE_LIVER_HU = 55.0  # unenhanced liver without fat


class Phase(StrEnum):
    """Contrast phase of a series."""

    UNENHANCED = "unenhanced"
    ARTERIAL = "arterial"
    PORTAL_VENOUS = "portal_venous"
    DELAYED = "delayed"
    UNKNOWN = "unknown"


@frozen
class PhaseEvidence:
    """The phase that pixels show, with what was measured; HU are NaN where nothing was found.

    `scores` holds a belief of 0 to 1 for each phase that could be judged; 0.6 makes a phase, less is ``unknown``.
    """

    phase: Phase = field(converter=Phase)
    aorta_hu: float = float("nan")
    liver_hu: float = float("nan")
    aorta_slices: int = 0
    liver_slices: int = 0
    slices: int = 0
    scores: dict[str, float] = field(factory=dict)

    @property
    def enhanced(self) -> bool | None:
        """Whether there is contrast in the blood or liver; None where that cannot be told."""
        if self.phase is Phase.UNENHANCED:
            return False
        if self.phase is not Phase.UNKNOWN:
            return True
        return True if self.aorta_hu > 100 or self.liver_hu > 90 else None

    @property
    def unclear(self) -> bool:
        """Whether aorta and liver were measured, and lie between the phases."""
        return is_unclear(self.phase, self.aorta_hu, self.liver_hu)

    def numbers(self) -> dict[str, float]:
        """What was measured, as plain finite numbers (HU, counts)."""
        values = {
            "aorta_hu": self.aorta_hu,
            "liver_hu": self.liver_hu,
            "aorta_slices": self.aorta_slices,
            "liver_slices": self.liver_slices,
            "slices_measured": self.slices,
        }
        return {name: round(float(value), 1) for name, value in values.items() if np.isfinite(value)}


def is_unclear(phase: str, aorta_hu: float | None, liver_hu: float | None) -> bool:
    """Whether pixels were measured and show no one phase: words, delay and tags decide, and the case is flagged."""
    measured = all(v is not None and np.isfinite(v) for v in (aorta_hu, liver_hu))
    return phase == Phase.UNKNOWN and measured


def phase_from_pixels(slices: Sequence[np.ndarray] | np.ndarray, spacing_mm: tuple[float, float]) -> PhaseEvidence:
    """The contrast phase that axial slices show.

    Parameters
    ----------
    slices : sequence of ndarray or ndarray
        HU, each (rows, columns), rows towards posterior and columns towards the patient's left (the identity
        orientation of a supine, head-first CT); any order, any number, not necessarily adjacent.
    spacing_mm : (float, float)
        Distance of rows and of columns.

    Returns
    -------
    PhaseEvidence
        ``unknown`` where neither aorta nor liver was found or their values contradict or lie between phases.

    Notes
    -----
    Levels are those of routine abdominal CT (about 1.5 mL/kg at 300-350 mg I/mL, 120 kV): aorta 30-50 HU and liver
    50-65 unenhanced; aorta above 200 with an unenhanced liver arterial; aorta 110-190 and liver from 90 portal venous.
    """
    found = [m for m in (_measure(np.asarray(s, dtype=np.float32), spacing_mm) for s in slices) if m is not None]
    livers = [(hu, area) for _, hu, area in found if np.isfinite(hu)]
    # The aorta counts at the level of the liver where that is known: lower down it divides and bowel lies against it.
    level = [m for m in found if np.isfinite(m[1])] or found
    aortas = [hu for hu, _, _ in level if np.isfinite(hu)]
    aorta = float(np.median(aortas)) if aortas else float("nan")
    liver = _weighted_median(livers) if livers else float("nan")
    if len(aortas) > 1 and float(np.median(np.abs(np.asarray(aortas) - aorta))) > 40:
        aorta = float("nan")  # no one vessel: slices disagree by more than contrast can
    scores = _scores(aorta, liver)
    best = max(scores, key=lambda phase: scores[phase]) if scores else Phase.UNKNOWN
    phase = best if scores and scores[best] >= 0.6 else Phase.UNKNOWN
    return PhaseEvidence(
        phase=phase,
        aorta_hu=aorta,
        liver_hu=liver,
        aorta_slices=len(aortas),
        liver_slices=len(livers),
        slices=len(slices),
        scores={str(p): round(s, 3) for p, s in scores.items()},
    )


def _ramp(value: float, low: float, high: float) -> float:
    """0 below `low`, 1 above `high`, linear between."""
    return float(np.clip((value - low) / (high - low), 0, 1))


def _scores(aorta: float, liver: float) -> dict[Phase, float]:
    """Belief per phase from aorta and liver, HU; what is missing to 1 is doubt. Empty where there is no aorta."""
    if not np.isfinite(
        aorta
    ):  # an enhanced liver alone tells not portal from delayed; an unenhanced one may be arterial
        return {}
    blood = _ramp(aorta, 65, 90)
    if not np.isfinite(liver):  # portal venous and delayed are not told apart without the liver: left in doubt
        return {Phase.UNENHANCED: 1 - blood, Phase.ARTERIAL: _ramp(aorta, 230, 280)}
    unenhanced = (1 - blood) * (1 - _ramp(liver, 80, 95))
    # Blood far ahead of the liver is arterial, at any tube voltage: a ratio of enhancements does not depend on it. A
    # fatty liver looks unenhanced in the portal venous phase, so the blood itself must be bright too.
    ratio = (aorta - _BASE_AORTA_HU) / max(liver - _BASE_LIVER_HU, 5.0)
    early = blood * _ramp(aorta, 170, 210) * _ramp(ratio, 3.5, 5.0)
    # 45 to 50 s after the injection, at 100 kVp, or with a fatty liver, a portal venous series looks like that too.
    # Only blood brighter than any portal venous phase's, beside a liver that has hardly begun, is arterial for certain.
    arterial = early * _ramp(aorta, 220, 265) * (1 - _ramp(liver, 80, 100))
    washed_out = 1 - _ramp(aorta - liver, 8, 22)
    venous = blood * (1 - early)
    return {
        Phase.UNENHANCED: unenhanced,
        Phase.ARTERIAL: arterial,
        Phase.PORTAL_VENOUS: venous * (1 - washed_out) * _ramp(liver, 62, 78),
        Phase.DELAYED: venous * washed_out,
    }


def _weighted_median(pairs: Sequence[tuple[float, float]]) -> float:
    ordered = sorted(pairs)
    weights = np.cumsum([w for _, w in ordered])
    return float(ordered[int(np.searchsorted(weights, weights[-1] / 2))][0])


def _measure(hu: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[float, float, float] | None:
    """(aorta HU, liver HU, liver area in mm2) of one slice, NaN where not found; None where there is no body."""
    steps = [max(1, round(_GRID_MM / s)) for s in spacing_mm]
    image = _shrink(np.clip(hu, -1024, 3000), steps)
    dy, dx = spacing_mm[0] * steps[0], spacing_mm[1] * steps[1]
    body = _largest(ndimage.binary_opening(image > -300, iterations=2))
    if body is None or body.sum() * dy * dx < 15_000:
        return None
    body = ndimage.binary_fill_holes(body)
    spine = _spine(image, body, dy, dx)
    if spine is None:
        return None
    liver_hu, area = _liver(image, body, spine, dy, dx)
    return _aorta(image, spine, dy, dx), liver_hu, area


def _shrink(image: np.ndarray, steps: Sequence[int]) -> np.ndarray:
    sy, sx = steps
    rows, columns = image.shape[0] // sy * sy, image.shape[1] // sx * sx
    blocks = image[:rows, :columns].reshape(rows // sy, sy, columns // sx, sx)
    return np.asarray(blocks.mean(axis=(1, 3)))


def _largest(mask: np.ndarray) -> np.ndarray | None:
    labels, count = ndimage.label(mask)
    if not count:
        return None
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def _spine(image: np.ndarray, body: np.ndarray, dy: float, dx: float) -> tuple[int, int] | None:
    """(row, column) of the middle of the vertebral body, or None.

    The spinal canal is found first, a soft disk that bone surrounds on all sides; the vertebral body lies in
    front of it. Where there is no canal (a simple phantom) a solid block of bone stands for it.
    """
    rows, columns = np.nonzero(body.any(axis=1))[0], np.nonzero(body.any(axis=0))[0]
    top, bottom = rows[0], rows[-1] + 1
    middle = int(np.median(np.nonzero(body)[1]))
    reach = max(2, round(50 / dx))
    low, high = max(columns[0], middle - reach), min(columns[-1] + 1, middle + reach)
    start = top + round(0.42 * (bottom - top))
    area = np.where(body, image, -200)[start:bottom, low:high]
    if min(area.shape) < 3:
        return None
    mean = _mean(area, _disk(6.0, dy, dx))
    sides = [np.clip(_mean(np.clip(area, 0, 500), s) - mean, -100, 250) for s in _sectors(8.0, 14.0, dy, dx)]
    core = _disk(5.0, dy, dx)
    spread = np.sqrt(np.maximum(_mean(area**2, core) - _mean(area, core) ** 2, 0))
    second = np.sort(sides, axis=0)[1]  # bone on all sides but one
    # Measured on real canals: second 36 HU and more, spread 10-41 HU, the sum below 104 and more.
    enclosed = np.mean(sides, axis=0) + second - spread
    enclosed[(mean < -10) | (mean > 130) | (second < 30) | (spread > 55)] = -np.inf
    row, column = np.unravel_index(int(enclosed.argmax()), enclosed.shape)
    if enclosed[row, column] > 100:
        return int(row + start - round(_CANAL_TO_BODY_MM / dy)), int(column + low)
    bone = ndimage.gaussian_filter((area > 350).astype(np.float32), (9 / dy, 9 / dx))
    if bone.max() < 0.5:  # no block of bone either: this slice is not measured
        return None
    row, column = np.unravel_index(int(bone.argmax()), bone.shape)
    return int(row + start), int(column + low)


def _disk(radius_mm: float, dy: float, dx: float) -> np.ndarray:
    ny, nx = int(np.ceil(radius_mm / dy)), int(np.ceil(radius_mm / dx))
    y, x = np.mgrid[-ny : ny + 1, -nx : nx + 1]
    return np.asarray(((y * dy) ** 2 + (x * dx) ** 2 <= radius_mm**2), dtype=np.float32)


def _mean(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.convolve(image, kernel / kernel.sum(), mode="nearest"))


def _aorta(image: np.ndarray, spine: tuple[int, int], dy: float, dx: float) -> float:
    """Mean HU of the best disk in front of the spine, or NaN."""
    found = _aorta_at(image, spine, dy, dx)
    return float("nan") if found is None else found[2]


def _aorta_at(image: np.ndarray, spine: tuple[int, int], dy: float, dx: float) -> tuple[int, int, float, float] | None:
    """(row, column, mean HU, radius in mm) of that disk."""
    row, column = spine
    top, bottom = max(0, row - round(85 / dy)), min(image.shape[0], row + round(25 / dy))
    left, right = max(0, column - round(40 / dx)), min(image.shape[1], column + round(65 / dx))
    area = ndimage.median_filter(image[top:bottom, left:right], size=3)
    y, x = np.mgrid[top:bottom, left:right]
    ahead, aside = (row - y) * dy, (x - column) * dx
    allowed = (ahead > -5) & (ahead < 55) & (aside > -12) & (aside < 45)
    distance = np.hypot(ahead, aside)
    best, found = 8.0, None
    for radius in (7.0, 9.0, 11.0, 13.0):
        core = _disk(radius * 0.8, dy, dx)
        mean = _mean(area, core)
        spread = np.sqrt(np.maximum(_mean(area**2, core) - mean**2, 0))
        # Fat, lung and crus around an aorta are darker, a vertebra's cortex around its marrow is brighter: count sides.
        sides = np.stack(
            [np.clip(mean - _mean(area, s), -60, 60) for s in _sectors(radius + 2.0, radius + 6.0, dy, dx)]
        )
        score = sides.mean(axis=0) - 0.6 * spread + radius / 2
        score -= 0.8 * np.maximum(0, distance - (20 + radius + 4))  # it lies against the vertebra
        clear = (ahead / (_BODY_MM[0] + 0.8 * radius)) ** 2 + (aside / (_BODY_MM[1] + 0.8 * radius)) ** 2 > 1
        score[~allowed | ~clear | (mean < 15) | (mean > 600) | (spread > 40)] = -np.inf
        if score.max() > best:
            best = float(score.max())
            at = np.unravel_index(int(score.argmax()), score.shape)
            found = int(at[0]) + top, int(at[1]) + left, float(mean[at]), radius
    return found


def _sectors(inner_mm: float, outer_mm: float, dy: float, dx: float, count: int = 8) -> list[np.ndarray]:
    """Kernels of the `count` sectors of a ring."""
    ny, nx = int(np.ceil(outer_mm / dy)), int(np.ceil(outer_mm / dx))
    y, x = np.mgrid[-ny : ny + 1, -nx : nx + 1]
    radius = np.hypot(y * dy, x * dx)
    turn = np.floor((np.arctan2(y * dy, x * dx) / (2 * np.pi) + 0.5) * count).astype(int) % count
    ring = (radius >= inner_mm) & (radius <= outer_mm)
    sectors = [(ring & (turn == k)).astype(np.float32) for k in range(count)]
    return [s for s in sectors if s.any()]


def _liver(image: np.ndarray, body: np.ndarray, spine: tuple[int, int], dy: float, dx: float) -> tuple[float, float]:
    """(mode HU, area in mm2) of the largest even soft-tissue region on the patient's right, or (NaN, 0)."""
    row, column = spine
    inside = ndimage.binary_erosion(body, iterations=max(1, round(10 / dy)))
    smooth = ndimage.gaussian_filter(image, (2.0 / dy, 2.0 / dx))
    size = (max(3, round(9 / dy)), max(3, round(9 / dx)))
    mean = ndimage.uniform_filter(image, size)
    spread = np.sqrt(np.maximum(ndimage.uniform_filter(image**2, size) - mean**2, 0))
    even = inside & (smooth > 15) & (smooth < 200) & (spread < 30)
    even[:, max(0, column - round(12 / dx)) :] = False
    even = ndimage.binary_opening(even, structure=_disk(5.0, dy, dx) > 0)
    region = _largest(even)
    if region is None:
        return float("nan"), 0.0
    area = float(region.sum() * dy * dx)
    centre = float(np.nonzero(region)[0].mean())
    if area < 4_000 or centre > row - 5 / dy:
        return float("nan"), 0.0
    counts, edges = np.histogram(smooth[region], bins=np.arange(15, 202, 2))
    counts = ndimage.gaussian_filter1d(counts.astype(float), 2)
    return float(edges[int(counts.argmax())] + 1), area
