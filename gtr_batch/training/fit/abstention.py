"""When the model gives no stage: what its patients look like, and how far others lie from that."""

from __future__ import annotations

import numpy as np

from gtr_batch.domain.abstention import AbstentionRule, FeatureReference, feature_distances

DIRECTIONS = 16


def fit_abstention(
    features: np.ndarray, held_out: np.ndarray, tumour_scores: np.ndarray | None = None
) -> AbstentionRule:
    """The rule of a manifest.

    Parameters
    ----------
    features : numpy.ndarray
        (patients, D), penultimate, of key slices; they make mean, scale and directions.
    held_out : numpy.ndarray
        (patients, D), of others, whom neither the network nor the line above has seen: their distances are what a new
        patient's is ranked among.
    tumour_scores : numpy.ndarray, optional
        (patients,), the largest score of a locator that was not fitted on the patient over the whole series.
    """
    if len(features) < 2 or not len(held_out):
        reference = None
    else:
        reference = _reference(np.asarray(features, float))
        distances = feature_distances(np.asarray(held_out, float), reference)
        reference = FeatureReference(
            reference.mean, reference.scale, reference.components, reference.residual, _short(np.sort(distances))
        )
    scores = np.zeros(0) if tumour_scores is None else np.asarray(tumour_scores, float)
    return AbstentionRule(reference, _short(np.sort(scores[np.isfinite(scores)])))


def _reference(x: np.ndarray) -> FeatureReference:
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale < 1e-9] = 1.0
    z = (x - mean) / scale
    _, values, directions = np.linalg.svd(z, full_matrices=False)
    k = min(DIRECTIONS, int((values > 1e-9).sum()), max(1, len(x) // 2))
    spread = np.maximum(values[:k] / np.sqrt(len(x) - 1), 1e-9)
    rest = float((values[k:] ** 2).sum()) / (len(x) - 1) / max(z.shape[1] - k, 1)
    components = [_short(row) for row in directions[:k] / spread[:, None]]
    return FeatureReference(_short(mean), _short(scale), components, max(rest, 1e-6), ())


def _short(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{v:.5g}") for v in values)
