"""The automatic key-slice locator."""

from __future__ import annotations

import numpy as np

from gtr_batch.domain.model import KeySliceLocator


def fit_locator(features: np.ndarray, marked: np.ndarray, seed: int = 0) -> KeySliceLocator:
    """Logistic regression of "a key slice" on the features of axial slices, both classes weighing the same.

    Parameters
    ----------
    features : numpy.ndarray
        (slices, D), of patients that the network was not trained on.
    marked : numpy.ndarray
        (slices,), bool.
    """
    from sklearn.linear_model import LogisticRegression

    x = features.astype(np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale < 1e-9] = 1.0
    fitted = LogisticRegression(C=0.02, class_weight="balanced", max_iter=2000, random_state=seed)
    fitted.fit((x - mean) / scale, marked)
    return KeySliceLocator(
        feature_mean=mean.tolist(),
        feature_scale=scale.tolist(),
        coefficients=fitted.coef_[0].tolist(),
        intercept=float(fitted.intercept_[0]),
    )
