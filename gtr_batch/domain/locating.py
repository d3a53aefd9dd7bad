"""Where in a series the key slice probably lies: a probability for each slice, from the locator's scores.

The scores of neighbouring slices are smoothed in mm, since they show the same tumour; the place in the body weighs in,
since a stomach does not lie in the pelvis; the choice is the slice that most probably has the key slice within two
slices of it, and that probability is its certainty.
"""

from __future__ import annotations

import math

import numpy as np
from attrs import frozen

from gtr_batch.domain.model import KeySliceLocator
from gtr_batch.domain.staging import TStage

NEAR = 2  # slices: nearer than that is as good as the key slice
LUNG_SHARE = 0.12  # of a body's cross-section: more air than a stomach or bowel holds
USUAL_SD = 2.0  # the place in the body says nothing within so many standard deviations of the usual one
_LEAST_USUAL_SD = 4.0  # nor more beyond these: an unusual body is improbable, not impossible


@frozen(eq=False)
class Location:
    """The key slice as the locator finds it.

    `p_near`: probability that the key slice lies within two slices of `index`; `expected_error_mm`: expected distance
    to it; `certain`: whether `p_near` reaches the model's threshold, None where it has none; `nearby`: the stage that
    each slice within two of `index` would be given as the key slice; `best_score`: the largest score of any slice
    of the series, before smoothing.
    """

    index: int
    p_near: float
    expected_error_mm: float
    certain: bool | None = None
    nearby: tuple[TStage, ...] = ()
    best_score: float = -math.inf


def log_posterior(
    locator: KeySliceLocator, scores: np.ndarray, heights_mm: np.ndarray, lung_share: np.ndarray
) -> np.ndarray:
    """Log-probability of each slice to be the key slice, up to a constant.

    Parameters
    ----------
    locator : KeySliceLocator
    scores : numpy.ndarray
        (slices,), the locator's score of each slice; ``-inf`` where there is none.
    heights_mm : numpy.ndarray
        (slices,), rising towards the head.
    lung_share : numpy.ndarray
        (slices,), see `lung_share_of`.
    """
    finite = np.where(
        np.isfinite(scores), scores, scores[np.isfinite(scores)].min() if np.isfinite(scores).any() else 0
    )
    log_p: np.ndarray = smoothed(finite, heights_mm, locator.smoothing_mm) / locator.temperature
    base = lung_base_mm(heights_mm, lung_share)
    if base is not None and locator.height_sd_mm > 0:
        from_usual = np.abs(heights_mm - base - locator.height_mm) / locator.height_sd_mm
        log_p = log_p - 0.5 * np.clip(from_usual - USUAL_SD, 0, _LEAST_USUAL_SD) ** 2
    return np.where(np.isfinite(scores), log_p, -np.inf)


def locate(log_p: np.ndarray, heights_mm: np.ndarray, threshold: float | None = None) -> Location | None:
    """The choice; None where no slice has a finite score."""
    if not np.isfinite(log_p).any():
        return None
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    total = np.concatenate([[0.0], np.cumsum(p)])
    places = np.arange(len(p))
    near = total[np.minimum(places + NEAR + 1, len(p))] - total[np.maximum(places - NEAR, 0)]
    best = np.flatnonzero(near >= near.max() - 1e-12)
    index = int(best[np.argmax(p[best])])
    error_mm = float((p * np.abs(heights_mm - heights_mm[index])).sum())
    certain = None if threshold is None else bool(near[index] >= threshold)
    return Location(index, float(min(near[index], 1.0)), error_mm, certain)


def smoothed(values: np.ndarray, heights_mm: np.ndarray, mm: float) -> np.ndarray:
    """Values along the slices (first axis), smoothed with a Gaussian of standard deviation `mm`."""
    if mm <= 0 or len(heights_mm) < 2:
        return values
    from scipy.ndimage import gaussian_filter1d  # 0.2 s of a core, for those who only read a `Location`

    spacing = float(np.median(np.abs(np.diff(heights_mm)))) or 1.0
    found: np.ndarray = gaussian_filter1d(values, mm / spacing, axis=0, mode="nearest")
    return found


def lung_share_of(slices: np.ndarray) -> np.ndarray:
    """Share of the body's cross-section that is air, of each prepared slice (slices, size, size).

    Air is what lies at the bottom of the window; the body is what has tissue on both sides in its row.
    """
    shares = np.zeros(len(slices))
    for k, image in enumerate(slices):
        low, high = float(image.min()), float(np.median(image))
        air = image <= low + 0.1 * max(high - low, float(image.std()))
        body = ~air
        inside = np.logical_or.accumulate(body, 1) & np.logical_or.accumulate(body[:, ::-1], 1)[:, ::-1]
        shares[k] = (air & inside).sum() / max(int(inside.sum()), 1)
    return shares


def lung_base_mm(heights_mm: np.ndarray, lung_share: np.ndarray) -> float | None:
    """Height of the lowest slice that shows lungs; None where no slice does, or the lowest one already."""
    seen = heights_mm[lung_share >= LUNG_SHARE]
    return float(seen.min()) if len(seen) and seen.min() > heights_mm.min() else None


@frozen
class LocatorError:
    """How far the locator lies from the key slices of series that it was not fitted on; in mm and in shares.

    `in_tumour`: None where nobody knows the tumour's extent. `flagged`: share below the threshold of certainty.
    """

    n: int
    median_mm: float
    p90_mm: float
    near: float
    in_tumour: float | None
    flagged: float | None
    near_unflagged: float | None
    errors_mm: tuple[float, ...] = ()


def errors_of(
    found: list[Location], keys: list[int], heights: list[np.ndarray], tumours: list[np.ndarray] | None = None
) -> LocatorError:
    """The distribution of the locator's error; signed errors (feet to head) in the order of the series.

    Parameters
    ----------
    found, keys, heights
        Of each series: what the locator says, the key slice's place, the slices' heights in mm.
    tumours : list of numpy.ndarray, optional
        Of each series and slice, whether the tumour is on it.
    """
    signed = np.array([h[one.index] - h[key] for one, key, h in zip(found, keys, heights, strict=True)])
    near = np.array([abs(one.index - key) <= NEAR for one, key in zip(found, keys, strict=True)])
    certain = np.array([one.certain is not False for one in found])
    judged = any(one.certain is not None for one in found)
    inside = None if tumours is None else float(np.mean([t[one.index] for t, one in zip(tumours, found, strict=True)]))
    return LocatorError(
        n=len(found),
        median_mm=float(np.median(np.abs(signed))),
        p90_mm=float(np.quantile(np.abs(signed), 0.9)),
        near=float(near.mean()),
        in_tumour=inside,
        flagged=float((~certain).mean()) if judged else None,
        near_unflagged=float(near[certain].mean()) if judged and certain.any() else None,
        errors_mm=tuple(round(float(e), 1) for e in signed),
    )


def threshold_of(p_near: np.ndarray, near: np.ndarray, wanted: float) -> float:
    """The least certainty above which the share of choices within two slices reaches `wanted`; 1 where none does."""
    order = np.argsort(-p_near)
    shares = np.cumsum(near[order]) / np.arange(1, len(near) + 1)
    enough = np.flatnonzero(shares >= wanted)
    return float(p_near[order[enough[-1]]]) if len(enough) else math.nextafter(1.0, 2.0)
