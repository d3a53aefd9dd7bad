"""What makes the instances of a series one stack of slices: tolerances, and which instances are no slices of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

# Scanners print each slice's numbers anew: they differ in the last digits without the geometry being another.
ORIENTATION_TOLERANCE = 1e-3  # of a direction cosine; 0.06 degrees
LENGTH_TOLERANCE_MM = 1e-3  # of pixel spacing and slice thickness
POSITION_TOLERANCE_MM = 0.01  # two slices nearer than this lie at one position

MOST_SET_ASIDE = 3  # localizers and dose pages that a series of slices may hold
PADDING_HU = -2000.0  # what padding counts as: darker than any air


def distinct(values: Iterable[tuple[float, ...]], tolerance: float) -> int:
    """How many of these differ by more than the tolerance in any of their numbers."""
    kept: list[tuple[float, ...]] = []
    for value in sorted(values):
        if not any(max(abs(a - b) for a, b in zip(value, other, strict=True)) <= tolerance for other in kept):
            kept.append(value)
    return len(kept)


def set_aside(slices: Sequence[bool]) -> frozenset[int]:
    """The places of instances that are no slices (a localizer, a dose page), where they may be left out.

    Parameters
    ----------
    slices : sequence of bool
        Whether each instance is a primary axial CT image.

    Returns
    -------
    frozenset of int
        Empty where there are more than `MOST_SET_ASIDE`, or as many as slices: then the series is another thing, and
        refused as one.
    """
    others = frozenset(place for place, is_slice in enumerate(slices) if not is_slice)
    few = len(others) <= MOST_SET_ASIDE and 2 * len(others) < len(slices)
    return others if few else frozenset()


def padding_range(value: object, limit: object, signed: bool) -> tuple[int, int] | None:
    """The stored values that are padding, first and last; None where the header names none.

    Some scanners write the padding of signed pixels as unsigned: 63536 for -2000.

    References
    ----------
    DICOM PS3.3, C.7.5.1.1.2 (Pixel Padding Value and Range Limit)
    """
    ends = []
    for end in (value, value if limit is None else limit):
        try:
            number = int(str(end))
        except ValueError:
            return None
        ends.append(number - 65536 if signed and number > 32767 else number)
    return min(ends), max(ends)


def hounsfield(
    stored: np.ndarray, slope: float, intercept: float, padding: tuple[int, int] | None = None
) -> np.ndarray:
    """Stored values in HU, float32; those of `padding` as `PADDING_HU`.

    References
    ----------
    DICOM PS3.3, C.11.1 Modality LUT Module
    """
    hu: np.ndarray = stored.astype(np.float32)
    if slope != 1:
        hu *= slope
    if intercept != 0:
        hu += intercept
    if padding is not None:  # on either side of the scale: the largest value is no text where it is padding
        low, high = padding
        hu[stored == low if low == high else (stored >= low) & (stored <= high)] = PADDING_HU
    return hu


def patients_among(identities: Iterable[tuple[str, str]]) -> int:
    """How many patients these (PatientID, issuer) pairs name; a pair without issuer is of whoever has its PatientID."""
    issuers: dict[str, set[str]] = {}
    for patient_id, issuer in identities:
        issuers.setdefault(patient_id, set()).update({issuer} - {""})
    return sum(max(1, len(found)) for found in issuers.values())
