"""The automatic key-slice locator: fitted on marked series, its error measured on series that it was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from attrs import field, frozen

from gtr_batch.domain.locating import (
    NEAR,
    Location,
    LocatorError,
    errors_of,
    locate,
    log_posterior,
    lung_base_mm,
    threshold_of,
)
from gtr_batch.domain.model import KeySliceLocator
from gtr_batch.training.fit.temperature import surprise_at

SMOOTHING_MM = 8.0
MARK_MM = 6.0  # so far from a mark along z a slice still shows the tumour about as large
PENALTY = 0.02  # inverse of the strength of the ridge
FOLDS = 5
WANTED_NEAR = 0.85  # share within two slices of the choices that are not flagged


@frozen(eq=False)
class MarkedSeries:
    """One series: penultimate features (slices, D), heights in mm from feet to head, shares of lung, the marked slice.

    `areas_mm2`: the tumour's cross-section on each slice, None where nobody knows.
    """

    features: np.ndarray = field(repr=False)
    heights_mm: np.ndarray = field(repr=False)
    lung_share: np.ndarray = field(repr=False)
    key_index: int
    areas_mm2: np.ndarray | None = field(default=None, repr=False)


def fit_locator(series: Sequence[MarkedSeries], seed: int = 0) -> KeySliceLocator:
    """Logistic regression of "near the key slice" on the features of axial slices, both classes weighing the same.

    Near: at least half of the largest cross-section where that is known, else within `MARK_MM` of the mark.
    """
    from sklearn.linear_model import LogisticRegression

    x = np.concatenate([one.features for one in series]).astype(np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale < 1e-9] = 1.0
    fitted = LogisticRegression(C=PENALTY, class_weight="balanced", max_iter=2000, random_state=seed)
    fitted.fit((x - mean) / scale, np.concatenate([_near(one) for one in series]))
    height_mm, height_sd_mm = _heights(series)
    return KeySliceLocator(
        feature_mean=mean.tolist(),
        feature_scale=scale.tolist(),
        coefficients=fitted.coef_[0].tolist(),
        intercept=float(fitted.intercept_[0]),
        smoothing_mm=SMOOTHING_MM,
        height_mm=height_mm,
        height_sd_mm=height_sd_mm,
    )


def fit_and_measure(
    series: Sequence[MarkedSeries], seed: int = 0, measured: int | None = None
) -> tuple[KeySliceLocator, LocatorError | None, np.ndarray]:
    """The locator of all series, with temperature and threshold, and its error, cross-fitted in five folds.

    The error is that on the first `measured` series (default: all), None where that is none. The third is the largest
    score of any slice of each series, before smoothing, by the locator of its fold.

    Temperature and threshold are chosen on the scores of the series that each fold's locator was not fitted on; the
    error is that of the same series, so the share that is flagged is a little optimistic.
    """
    folds = min(FOLDS, len(series))
    fitted = [fit_locator([s for k, s in enumerate(series) if k % folds != fold], seed) for fold in range(folds)]
    unseen = [fitted[k % folds] for k in range(len(series))]
    temperature = _temperature(series, unseen)
    unseen = [attrs.evolve(locator, temperature=temperature) for locator in unseen]
    found = [located(locator, one) for locator, one in zip(unseen, series, strict=True)]
    near = np.array([abs(f.index - s.key_index) <= NEAR for f, s in zip(found, series, strict=True)])
    threshold = threshold_of(np.array([f.p_near for f in found]), near, WANTED_NEAR)
    judged = [attrs.evolve(f, certain=f.p_near >= threshold) for f in found]
    locator = attrs.evolve(fit_locator(series, seed), temperature=temperature, threshold=threshold)
    best = [float(_scores(one, s).max()) for one, s in zip(unseen, series, strict=True)]
    n = len(series) if measured is None else measured
    return locator, error_on(series[:n], judged[:n]) if n else None, np.array(best)


def located(locator: KeySliceLocator, one: MarkedSeries) -> Location:
    """What a locator says of a series."""
    found = locate(_log_p(locator, one), one.heights_mm, locator.threshold)
    assert found is not None  # the features of a network that was trained are finite
    return found


def error_on(series: Sequence[MarkedSeries], found: Sequence[Location]) -> LocatorError:
    """The error of these answers on these series."""
    tumours = [s.areas_mm2 > 0 for s in series if s.areas_mm2 is not None]
    return errors_of(
        list(found),
        [s.key_index for s in series],
        [s.heights_mm for s in series],
        tumours if len(tumours) == len(series) else None,
    )


def _near(one: MarkedSeries) -> np.ndarray:
    if one.areas_mm2 is not None:
        near: np.ndarray = one.areas_mm2 > 0.5 * one.areas_mm2.max()
        return near
    return np.abs(one.heights_mm - one.heights_mm[one.key_index]) <= MARK_MM


def _log_p(locator: KeySliceLocator, one: MarkedSeries) -> np.ndarray:
    return log_posterior(locator, _scores(locator, one), one.heights_mm, one.lung_share)


def _scores(locator: KeySliceLocator, one: MarkedSeries) -> np.ndarray:
    standard = (one.features.astype(np.float64) - locator.feature_mean) / np.array(locator.feature_scale)
    scores: np.ndarray = locator.intercept + standard @ np.array(locator.coefficients)
    return scores


def _heights(series: Sequence[MarkedSeries]) -> tuple[float, float]:
    """How far above the lungs' lowest slice the marks lie: mean and SD; 0, 0 where too few show lungs."""
    bases = [(s, lung_base_mm(s.heights_mm, s.lung_share)) for s in series]
    above = [float(s.heights_mm[s.key_index]) - base for s, base in bases if base is not None]
    return (float(np.mean(above)), max(float(np.std(above)), 10.0)) if len(above) >= 8 else (0.0, 0.0)


def _temperature(series: Sequence[MarkedSeries], unseen: Sequence[KeySliceLocator]) -> float:
    """The most probable temperature, given the slices within two of unseen marks."""

    def surprise(temperature: float) -> float:
        total = surprise_at(temperature)
        for locator, one in zip(unseen, series, strict=True):
            log_p = _log_p(attrs.evolve(locator, temperature=temperature), one)
            within = slice(max(one.key_index - NEAR, 0), one.key_index + NEAR + 1)
            total -= float(np.logaddexp.reduce(log_p[within]) - np.logaddexp.reduce(log_p))
        return total

    grid = np.geomspace(0.25, 8, 26)
    return float(grid[int(np.argmin([surprise(float(t)) for t in grid]))])
