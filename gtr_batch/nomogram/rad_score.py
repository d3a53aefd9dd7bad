"""Rad-score: the LASSO combination of the network's penultimate features, in SD of the training cohort."""

from __future__ import annotations

import math

import numpy as np

from gtr_batch.domain.model import RadScoreModel
from gtr_batch.errors import ModelArtefactError


def rad_score(model: RadScoreModel, features: np.ndarray) -> float:
    """Rad-score of one slice.

    Parameters
    ----------
    model : RadScoreModel
        From the manifest: selected features, their mean and scale, coefficients, and the mean and scale of the raw
        score on the training cohort.
    features : array, (D,)
        Penultimate features of the key slice (the paper's rad-score was fitted on one slice a patient).

    Returns
    -------
    float
        In SD of the training cohort.

    Raises
    ------
    ModelArtefactError
        The model selects features that these are not, or its tuples differ in length.
    ValueError
        Features that are not finite: `stage` lets none through.

    References
    ----------
    Paper, "Nomogram integration and clinical utility": "After extracting deep features from the penultimate network
    layer, we computed a continuous Rad-score for each patient".
    """
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 1:
        raise ValueError(f"features of shape {x.shape}; the rad-score takes one slice, (D,)")
    lengths = {len(model.selected), len(model.feature_mean), len(model.feature_scale), len(model.coefficients)}
    if len(lengths) != 1:
        raise ModelArtefactError("manifest.rad_score: selected, feature_mean, feature_scale and coefficients differ")
    if any(not 0 <= k < x.size for k in model.selected):
        raise ModelArtefactError(f"manifest.rad_score.selected goes beyond the network's {x.size} features")
    chosen = x[list(model.selected)]
    if not np.isfinite(chosen).all():
        raise ValueError("features are not finite")
    standardised = (chosen - np.array(model.feature_mean)) / np.array(model.feature_scale)
    raw = model.intercept + math.fsum(standardised * np.array(model.coefficients))
    answer = (raw - model.score_mean) / model.score_scale
    if not math.isfinite(answer):
        raise ModelArtefactError("manifest.rad_score gives a score that is not finite: a scale is zero")
    return float(answer)
