"""What the pixels of a series say: decodable, in Hounsfield units, whole, and in which contrast phase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pydicom
from attrs import define, field
from scipy import ndimage

from gtr_batch.domain.contrast import Phase, PhaseEvidence, phase_from_pixels
from gtr_batch.domain.stack import PADDING_HU, padding_range
from gtr_batch.errors import UnreadableFile
from gtr_batch.reading import decode
from gtr_batch.validate.headers import number, numbers

_AIR_BINS = np.arange(-1100, -495, 10)
_PHASE_SLICES = 12
MOST_AIR_DIFFERS_HU = 60.0  # between slices of one series


@define
class PixelLook:
    """Looks at one slice after the other and keeps only numbers, and small images for the phase.

    `kept` holds every slice averaged to a quarter of its pixels, as float16 (exact to 1 HU below 2048 HU): 87 slices
    are 11 MB.
    """

    air: np.ndarray = field(factory=lambda: np.zeros(len(_AIR_BINS) - 1))
    dark: int = 0
    pixels: int = 0
    tissue: int = 0
    blanked_cm2: float = 0.0
    burned_pixels: int = 0
    slices: list[tuple[float, float, float | None]] = field(factory=list)  # shares of air and tissue, and air in HU
    kept: list[tuple[float, np.ndarray]] = field(factory=list, repr=False)  # position along the normal, image
    spacing: tuple[float, float] | None = None

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
        hu = stored.astype(np.float32) * (number(ds, "RescaleSlope") or 1.0) + (number(ds, "RescaleIntercept") or 0.0)
        signed = ds.get("PixelRepresentation") == 1
        padding = padding_range(ds.get("PixelPaddingValue"), ds.get("PixelPaddingRangeLimit"), signed)
        if padding is not None:  # on either side of the scale: the largest value is no text where it is padding
            hu[(stored >= padding[0]) & (stored <= padding[1])] = PADDING_HU
        self._count(hu, row, numbers(ds, "ImagePositionPatient", 3))
        return {"decodable": True, "constant": False}

    def _count(self, hu: np.ndarray, row: dict[str, Any], position: list[float] | None) -> None:
        thin = hu[::2, ::2]
        body = _body(thin)
        # Lung and gas are no measure of air: only what lies outside the body is; padding lies below the first bin.
        air = np.histogram(thin[~ndimage.binary_fill_holes(body)], bins=_AIR_BINS)[0]
        dark, tissue = (
            int(((thin > _AIR_BINS[0]) & (thin < _AIR_BINS[-1])).sum()),
            int(((thin > -150) & (thin < 200)).sum()),
        )
        self.air += air
        self.dark += dark
        self.pixels += thin.size
        self.tissue += tissue
        air_hu = _mode(air) if air.sum() > 0.01 * thin.size else None
        self.slices.append((dark / thin.size, tissue / thin.size, air_hu))
        mm = row["pixel_spacing_mm"] or 1.0
        self.blanked_cm2 = max(self.blanked_cm2, blanked_area(thin, body) * (2 * mm) ** 2 / 100)
        self.burned_pixels = max(self.burned_pixels, burned_over(hu, body))
        if position is not None and row["turned_degrees"] is not None and row["turned_degrees"] < 10:
            rows, columns = hu.shape[0] // 2 * 2, hu.shape[1] // 2 * 2
            small = hu[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3))
            self.kept.append((position[2], small.astype(np.float16)))
            self.spacing = (2 * mm, 2 * mm)

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
        """The contrast phase of a dozen slices spread over the stack."""
        if not self.kept or self.spacing is None:
            return PhaseEvidence(Phase.UNKNOWN)
        by_place = [image for _, image in sorted(self.kept, key=lambda place_and_image: place_and_image[0])]
        chosen = np.unique(np.linspace(0, len(by_place) - 1, _PHASE_SLICES).round().astype(int))
        return phase_from_pixels([by_place[i] for i in chosen], self.spacing)


def _mode(air: np.ndarray) -> float:
    return float(_AIR_BINS[int(air.argmax())] + 5)


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
    labels, count = ndimage.label(same)
    if not count:
        return 0.0
    sizes = np.bincount(labels.ravel())
    largest = 0.0
    for index, box in enumerate(ndimage.find_objects(labels), start=1):
        size = float(sizes[index])
        if size < 60 or size <= largest:
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
    if int(marked.sum()) < 50:
        return 0
    outside = ~ndimage.binary_dilation(
        np.kron(body, np.ones((2, 2), dtype=bool))[: hu.shape[0], : hu.shape[1]], iterations=4
    )
    return int((marked[: outside.shape[0], : outside.shape[1]] & outside).sum())
