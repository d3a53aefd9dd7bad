"""What the pixels of a series say: decodable, in Hounsfield units, whole, and in which contrast phase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pydicom
from attrs import define, field
from scipy import ndimage

from gtr_batch.domain.aorta_liver import GridSlice, MeasuredSlice, SliceMeasure, measure, outside
from gtr_batch.domain.contrast import Phase, PhaseEvidence, is_decided, phase_of
from gtr_batch.domain.stack import hounsfield, padding_range
from gtr_batch.errors import UnreadableFile
from gtr_batch.reading import decode
from gtr_batch.validate.headers import numbers

_AIR_HU = (-1100.0, -500.0)  # between which air outside the body lies, in bins of 10 HU
_AIR_BINS = 60
_PHASE_ORDER = (4, 7, 9, 2, 6, 5, 8, 3, 10, 1, 11, 0)  # of a dozen places from feet to head: first where livers lie
_LEAST_MEASURED = 3
_SMALLEST_BLANKED = 60  # pixels of every second row and column
MOST_AIR_DIFFERS_HU = 60.0  # between slices of one series


@define
class PixelLook:
    """Looks at one slice after the other and keeps only numbers, and small images for the phase.

    `kept` holds every slice as the phase is measured on it: 87 slices are 11 MB. `known` holds what was measured of
    slices before; it counts for an instance whose image, as it lies here, is the very same.
    """

    known: Sequence[MeasuredSlice] = field(default=(), repr=False)
    air: np.ndarray = field(factory=lambda: np.zeros(_AIR_BINS))
    dark: int = 0
    pixels: int = 0
    tissue: int = 0
    blanked_cm2: float = 0.0
    burned_pixels: int = 0
    slices: list[tuple[float, float, float | None]] = field(factory=list)  # shares of air and tissue, and air in HU
    kept: list[tuple[float, str, GridSlice]] = field(factory=list, repr=False)  # position along the normal, instance

    def __call__(self, ds: pydicom.Dataset, row: dict[str, Any]) -> dict[str, Any]:
        """The pixel columns of an instance's row."""
        stored = _decode(ds)
        if stored is None:
            return {"decodable": False}
        if stored.ndim != 2:
            return {"decodable": True}
        constant = bool(stored.min() == stored.max())
        if not row["rescale_known"] or constant:
            return {"decodable": True, "constant": constant}
        signed = ds.get("PixelRepresentation") == 1
        padding = padding_range(ds.get("PixelPaddingValue"), ds.get("PixelPaddingRangeLimit"), signed)
        hu = hounsfield(stored, row["slope"], row["intercept"], padding)
        self._count(hu, row["pixel_spacing_mm"] or 1.0)
        self._keep(hu, ds, row)
        return {"decodable": True, "constant": False}

    def _count(self, hu: np.ndarray, mm: float) -> None:
        thin = np.ascontiguousarray(hu[::2, ::2])
        body = _body(thin)
        dark = int(np.count_nonzero((thin > _AIR_HU[0]) & (thin < _AIR_HU[1])))
        # Lung and gas are no measure of air: only what lies outside the body is; padding lies below the first bin.
        air = counts_of(thin[outside(body)])
        tissue = int(np.count_nonzero((thin > -150) & (thin < 200)))
        self.air += air
        self.dark += dark
        self.pixels += thin.size
        self.tissue += tissue
        air_hu = _mode(air) if air.sum() > 0.01 * thin.size else None
        self.slices.append((dark / thin.size, tissue / thin.size, air_hu))
        self.blanked_cm2 = max(self.blanked_cm2, blanked_area(thin, body) * (2 * mm) ** 2 / 100)
        self.burned_pixels = max(self.burned_pixels, burned_over(hu, body))

    def _keep(self, hu: np.ndarray, ds: pydicom.Dataset, row: dict[str, Any]) -> None:
        """Keep what the phase is measured on, of a slice whose rows and columns run as a supine patient's."""
        position, spacing = numbers(ds, "ImagePositionPatient", 3), numbers(ds, "PixelSpacing", 2)
        upright = row["turned_degrees"] is not None and row["turned_degrees"] < 10
        if position is not None and spacing is not None and all(0.1 < mm < 10 for mm in spacing) and upright:
            image = GridSlice.of(hu, (spacing[0], spacing[1]))
            self.kept.append((position[2], str(ds.get("SOPInstanceUID") or ""), image))

    def facts(self) -> dict[str, Any]:
        """The pixel columns of the case's row."""
        enough = self.pixels > 0 and self.air.sum() > 0.01 * self.pixels  # a field of view inside the body has no air
        return {
            "air_share": round(self.dark / self.pixels, 4) if self.pixels else None,
            "air_hu": _mode(self.air) if enough else None,
            "unlike_slices": unlike(self.slices),
            "tissue_share": round(self.tissue / self.pixels, 4) if self.pixels else None,
            "blanked_cm2": round(self.blanked_cm2, 2),
            "burned_pixels": self.burned_pixels,
        }

    def phase(self) -> PhaseEvidence:
        """The contrast phase, from as few of a dozen slices spread over the stack as decide it.

        What `known` tells of slices of this series is taken first. At least three are measured here, so that it is
        never the probes alone that speak for a series. Where they do not decide it, the dozen speaks.
        """
        if not self.kept:
            return PhaseEvidence(Phase.UNKNOWN)
        by_place = sorted(self.kept, key=lambda one: one[0])
        measured = self._known_among(by_place)
        dozen = np.linspace(0, len(by_place) - 1, len(_PHASE_ORDER)).round().astype(int)
        places = list(dict.fromkeys(int(dozen[k]) for k in _PHASE_ORDER))
        enough = len(measured) + _LEAST_MEASURED
        for place in places:
            if len(measured) >= enough and is_decided(list(measured.values())):
                return phase_of(list(measured.values()))
            if place not in measured:
                measured[place] = measure(by_place[place][2])
        return phase_of([measured[place] for place in places])

    def _known_among(self, slices: Sequence[tuple[float, str, GridSlice]]) -> dict[int, SliceMeasure]:
        """What was measured before of these very slices, by their place."""
        known = {one.key: one.measure for one in self.known}
        instances = {uid for uid, _ in known}
        keys = {place: (uid, image.digest) for place, (_, uid, image) in enumerate(slices) if uid in instances}
        return {place: known[key] for place, key in keys.items() if key in known}


def counts_of(hu: np.ndarray) -> np.ndarray:
    """How many values lie in each bin of air; the last bin holds its upper end, too."""
    dark = hu[(hu >= _AIR_HU[0]) & (hu <= _AIR_HU[1])].astype(np.float64)
    bins = np.minimum(((dark - _AIR_HU[0]) / 10.0).astype(np.intp), _AIR_BINS - 1)
    return np.bincount(bins, minlength=_AIR_BINS)


def _mode(air: np.ndarray) -> float:
    return _AIR_HU[0] + 10.0 * int(air.argmax()) + 5


def unlike(slices: Sequence[tuple[float, float, float | None]]) -> int:
    """How many slices are in other units than the rest: their air lies elsewhere, or they show none, or no tissue.

    Parameters
    ----------
    slices : sequence of (float, float, float or None)
        Of each slice the share of pixels as dark as air, that of soft tissue, and where air outside the body lies, HU
        (None where there is hardly any). A share counts as gone below a tenth of what is usual in the series.
    """
    if not slices:
        return 0
    dark, tissue = (float(np.median([one[place] for one in slices])) for place in (0, 1))
    known = [one[2] for one in slices if one[2] is not None]
    usual = float(np.median(known)) if known else None

    def differs(one: tuple[float, float, float | None]) -> bool:
        gone = (dark > 0.02 and one[0] < 0.1 * dark) or (tissue > 0.1 and one[1] < 0.1 * tissue)
        return gone or (usual is not None and one[2] is not None and abs(one[2] - usual) > MOST_AIR_DIFFERS_HU)

    return sum(differs(one) for one in slices)


def _decode(ds: pydicom.Dataset) -> np.ndarray | None:
    """Stored values, or None where they cannot be had."""
    try:
        return decode(ds)
    except UnreadableFile:
        return None


def _body(thin: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(thin > -300)
    if not count:
        return np.zeros(thin.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def blanked_area(thin: np.ndarray, body: np.ndarray) -> float:
    """Area, in pixels, of the largest exactly constant rectangle that lies against the body.

    Noise makes neighbours differ everywhere in a real slice; masking tools leave rectangles of one value. Constant air
    around the body and gas within it are no rectangles.
    """
    if not body.any():
        return 0.0
    same = np.zeros(thin.shape, dtype=bool)
    same[1:, 1:] = (thin[1:, 1:] == thin[:-1, 1:]) & (thin[1:, 1:] == thin[1:, :-1])
    if np.count_nonzero(same) < _SMALLEST_BLANKED:
        return 0.0
    labels, _ = ndimage.label(same)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    places = np.flatnonzero(sizes >= _SMALLEST_BLANKED)
    if not len(places):
        return 0.0
    numbered = np.zeros(len(sizes), labels.dtype)
    numbered[places] = np.arange(1, len(places) + 1)
    largest = 0.0
    for place, box in zip(places, ndimage.find_objects(numbered[labels]), strict=True):
        size = float(sizes[place])
        if size <= largest:
            continue
        height, width = box[0].stop - box[0].start, box[1].stop - box[1].start
        if min(height, width) < 6 or size < 0.97 * height * width:
            continue
        around = body[max(0, box[0].start - 4) : box[0].stop + 3, max(0, box[1].start - 4) : box[1].stop + 3]
        ring = around.sum() - body[box].sum()
        if ring >= 0.25 * (around.size - height * width):
            largest = size
    return largest


def burned_over(hu: np.ndarray, body: np.ndarray) -> int:
    """Pixels outside the body that all have the slice's largest value: text or marks burnt into the image."""
    if not body.any():
        return 0
    top = float(hu.max())
    if top < 300:
        return 0
    marked = hu == top
    if np.count_nonzero(marked) < 50:
        return 0
    outside = ~ndimage.binary_dilation(
        np.kron(body, np.ones((2, 2), dtype=bool))[: hu.shape[0], : hu.shape[1]], iterations=4
    )
    return int((marked[: outside.shape[0], : outside.shape[1]] & outside).sum())
