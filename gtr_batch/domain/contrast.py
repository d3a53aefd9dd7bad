"""Contrast phase of an abdominal CT from its pixels alone: aorta and liver, measured without a network.

`intake` asks it of a few probe slices, `validate` of the series as it was retrieved; what intake measured of the very
same slices is not measured again. Every slice is measured by itself (`gtr_batch.domain.aorta_liver`), so that three
probes are enough.

Clear enhancement or its clear absence decides; everything between is ``unknown``, on purpose: a guess would refuse
good series and pass bad ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from attrs import field, frozen

from gtr_batch.domain.aorta_liver import GridSlice, SliceMeasure, measure

_BASE_AORTA_HU = 40.0  # unenhanced blood
_BASE_LIVER_HU = 55.0  # unenhanced liver without fat
_NO_ONE_VESSEL_HU = 40.0  # slices that differ by more show no one vessel: contrast cannot make so much of it
_ENOUGH_SLICES = 5  # that show aorta and liver
_AORTA_MARGIN_HU, _LIVER_MARGIN_HU = 10.0, 4.0


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
    return phase_of([measure(GridSlice.of(np.asarray(one), spacing_mm)) for one in slices])


def phase_of(slices: Sequence[SliceMeasure]) -> PhaseEvidence:
    """The contrast phase that measured slices show; their order does not matter."""
    found = [one for one in slices if one.body]
    livers = [(one.liver_hu, one.liver_mm2) for one in found if np.isfinite(one.liver_hu)]
    # The aorta counts at the level of the liver where that is known: lower down it divides and bowel lies against it.
    level = [one for one in found if np.isfinite(one.liver_hu)] or found
    aortas = [one.aorta_hu for one in level if np.isfinite(one.aorta_hu)]
    aorta = float(np.median(aortas)) if aortas else float("nan")
    liver = _weighted_median(livers) if livers else float("nan")
    if len(aortas) > 1 and _deviation(aortas) > _NO_ONE_VESSEL_HU:
        aorta = float("nan")
    phase, scores = _phase(aorta, liver)
    return PhaseEvidence(
        phase=phase,
        aorta_hu=aorta,
        liver_hu=liver,
        aorta_slices=len(aortas),
        liver_slices=len(livers),
        slices=len(slices),
        scores={str(p): round(s, 3) for p, s in scores.items()},
    )


def is_decided(slices: Sequence[SliceMeasure]) -> bool:
    """Whether further slices would hardly make another phase of it.

    Enough slices show both vessel and liver, at least three quarters of them the same vessel, and the phase is the same
    at every corner of what the medians may be: as far off as the slices differ among themselves, and at least
    `_AORTA_MARGIN_HU` and `_LIVER_MARGIN_HU`.
    """
    both = [one for one in slices if one.body and np.isfinite(one.aorta_hu) and np.isfinite(one.liver_hu)]
    if len(both) < _ENOUGH_SLICES:
        return False
    evidence = phase_of(slices)
    apart = np.abs(np.array([one.aorta_hu for one in both]) - evidence.aorta_hu) > _NO_ONE_VESSEL_HU
    if np.isnan(evidence.aorta_hu) or apart.mean() > 0.25:
        return False
    off_aorta = max(_AORTA_MARGIN_HU, _deviation([one.aorta_hu for one in both]))
    off_liver = max(_LIVER_MARGIN_HU, _deviation([one.liver_hu for one in both]))
    corners = {
        _phase(evidence.aorta_hu + a * off_aorta, evidence.liver_hu + b * off_liver)[0]
        for a in (-1, 1)
        for b in (-1, 1)
    }
    return evidence.phase is not Phase.UNKNOWN and corners == {evidence.phase}


def _phase(aorta: float, liver: float) -> tuple[Phase, dict[Phase, float]]:
    """The phase of two values in HU, and the belief in each."""
    scores = _scores(aorta, liver)
    best = max(scores, key=lambda phase: scores[phase]) if scores else Phase.UNKNOWN
    return (best if scores and scores[best] >= 0.6 else Phase.UNKNOWN), scores


def _deviation(values: Sequence[float]) -> float:
    """Median absolute deviation from the median."""
    return float(np.median(np.abs(np.asarray(values) - np.median(values))))


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
