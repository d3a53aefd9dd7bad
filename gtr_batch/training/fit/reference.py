"""What the model's inputs and outputs looked like on the patients it was fitted on: the drift monitor's reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gtr_batch.domain.series_fact import FactKind, referred

COMPONENTS, SAMPLE = 16, 200
_QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


def reference_of(
    features: np.ndarray, probabilities: np.ndarray, slice_votes: np.ndarray, facts: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The reference distributions, JSON-able and bounded.

    Parameters
    ----------
    features : numpy.ndarray
        (patients, D), penultimate, of key slices of patients that the network was not trained on.
    probabilities : numpy.ndarray
        (patients, 4), mean calibrated.
    slice_votes : numpy.ndarray
        (patients, 3), 0 to 3.
    facts : sequence of mapping
        What validation measured of each series.

    Returns
    -------
    dict
        ``n``; ``features``: ``mean`` and ``scale`` (D,), ``components`` (16, D) and ``sample`` (at most 200, 16), the
        standardised features on leading principal components, each in SD. Every second patient makes mean, scale and
        components, the others the sample (``held_out``): along directions that they made themselves, patients spread
        wider than any that come later, and a monitor would call new patients drift. ``headers``: shares of each value;
        ``quality``: quantiles of each measure at ``levels``; ``output``: ``t_stage`` shares, ``mean_probabilities``,
        quantiles of ``confidence`` (largest probability) and ``entropy`` (nats); ``disagreement_share``: of patients
        whose three slices do not all say the same.
    """
    x, held_out = features[::2].astype(np.float64), features[1::2].astype(np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale < 1e-9] = 1.0
    _, values, directions = np.linalg.svd((x - mean) / scale, full_matrices=False)
    k = min(COMPONENTS, int((values > 1e-9).sum()))
    spread = np.maximum(values[:k] / np.sqrt(max(len(x) - 1, 1)), 1e-9)
    components = directions[:k] / spread[:, None]
    sample = ((held_out - mean) / scale) @ components.T
    picked = np.linspace(0, len(sample) - 1, min(SAMPLE, len(sample))).astype(int)
    entropy = -(probabilities * np.log(np.clip(probabilities, 1e-12, 1))).sum(axis=1)
    return {
        "n": len(features),
        "features": {
            "mean": _short(mean),
            "scale": _short(scale),
            "components": [_short(c) for c in components],
            "sample": [_short(row) for row in sample[picked]],
            "held_out": True,
        },
        "headers": {fact.name: _shares(facts, fact.name) for fact in referred(FactKind.NAME)},
        "quality": {fact.name: _quantiles_of(facts, fact.name) for fact in referred(FactKind.NUMBER)},
        "output": {
            "t_stage": _short(np.bincount(probabilities.argmax(axis=1), minlength=4) / len(features)),
            "mean_probabilities": _short(probabilities.mean(axis=0)),
            "confidence": _quantiles(probabilities.max(axis=1)),
            "entropy": _quantiles(entropy),
        },
        "disagreement_share": float((slice_votes != slice_votes[:, :1]).any(axis=1).mean()),
        "levels": list(_QUANTILES),
    }


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{v:.5g}") for v in values]


def _shares(facts: Sequence[Mapping[str, Any]], name: str) -> dict[str, float]:
    counted = Counter(str(f.get(name, "unknown")) for f in facts)
    return {value: count / len(facts) for value, count in sorted(counted.items())}


def _quantiles_of(facts: Sequence[Mapping[str, Any]], name: str) -> list[float] | None:
    known = [float(f[name]) for f in facts if isinstance(f.get(name), int | float)]
    return _quantiles(np.array(known)) if known else None


def _quantiles(values: np.ndarray) -> list[float]:
    return _short(np.quantile(values, _QUANTILES))
