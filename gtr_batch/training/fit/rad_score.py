"""The rad-score: LASSO over the penultimate features."""

from __future__ import annotations

import numpy as np

from gtr_batch.domain.model import RadScoreModel
from gtr_batch.errors import ModelArtefactError


def fit_rad_score(features: np.ndarray, stages: np.ndarray, groups: np.ndarray, seed: int = 0) -> RadScoreModel:
    """LASSO of the stage (0 to 3) on standardised features of key slices, the penalty chosen over patient-wise folds.

    Parameters
    ----------
    features : numpy.ndarray
        (patients, D).
    stages : numpy.ndarray
        (patients,).
    groups : numpy.ndarray
        (patients,): who must stay in one fold.

    Returns
    -------
    RadScoreModel
        In standard deviations of this cohort; larger is deeper.

    Raises
    ------
    ModelArtefactError
        No feature tells the stages apart.
    """
    from sklearn.linear_model import LassoCV
    from sklearn.model_selection import GroupKFold

    x = features.astype(np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale < 1e-9] = 1.0
    folds = list(GroupKFold(5, shuffle=True, random_state=seed).split(x, stages, groups))
    # Penalties down to a thirtieth of the one that keeps nothing: with more features than patients smaller ones lose.
    lasso = LassoCV(cv=folds, eps=0.03, max_iter=20_000, random_state=seed).fit((x - mean) / scale, stages)
    selected = np.flatnonzero(lasso.coef_)
    if not len(selected):
        raise ModelArtefactError("LASSO kept no feature: the network's features do not tell the stages apart")
    raw = lasso.intercept_ + ((x - mean) / scale) @ lasso.coef_
    return RadScoreModel(
        selected=selected.tolist(),  # type: ignore[arg-type]  # mypy cannot see through attrs' converter=tuple
        feature_mean=mean[selected].tolist(),
        feature_scale=scale[selected].tolist(),
        coefficients=lasso.coef_[selected].tolist(),
        intercept=float(lasso.intercept_),
        score_mean=float(raw.mean()),
        score_scale=float(raw.std()),
    )
