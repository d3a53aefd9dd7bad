"""The patient-cluster bootstrap for many statistics at once: how often each patient is drawn, not which rows.

A redrawn cohort is a vector of counts, and accuracy, kappa and AUC are sums over it: a thousand cohorts of a thousand
patients are one matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gtr_batch.metrics.classification import CLASSES

_CELLS = 4_000_000  # draws times rows that are held at once


def redrawn_counts(patients: int, rows: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks (some draws, patients) of how often each patient is drawn, `draws` in all; the same for the same seed."""
    rng = np.random.default_rng(seed)
    block = max(1, min(draws, _CELLS // max(rows, 1)))
    for first in range(0, draws, block):
        n = min(block, draws - first)
        drawn = rng.integers(patients, size=(n, patients)) + np.arange(n)[:, None] * patients
        yield np.bincount(drawn.ravel(), minlength=n * patients).reshape(n, patients).astype(float)


def confusion_by_patient(labels: np.ndarray, predicted: np.ndarray, patient: np.ndarray, patients: int) -> np.ndarray:
    """(patients, 16): each patient's own confusion table, rows true, columns predicted."""
    cell = np.asarray(patient) * 16 + np.asarray(labels) * 4 + np.asarray(predicted)
    return np.bincount(cell, minlength=patients * 16).reshape(patients, 16).astype(float)


def kappas_of(tables: np.ndarray) -> np.ndarray:
    """Quadratic weighted kappa of many confusion tables (k, 4, 4); NaN where label or answer never varies."""
    distance = (np.arange(4)[:, None] - np.arange(4)[None, :]) ** 2
    total = tables.sum(axis=(1, 2))
    seen = (distance * tables).sum(axis=(1, 2))
    by_chance = np.einsum("ka,ab,kb->k", tables.sum(axis=2), distance.astype(float), tables.sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(by_chance > 0, 1 - seen * total / by_chance, np.nan)


class WeightedAuc:
    """One-vs-rest AUC of each stage under any counts of the rows, ties counting half.

    Parameters
    ----------
    labels : numpy.ndarray
        (n,), 0 to 3.
    probabilities : numpy.ndarray
        (n, 4).
    """

    def __init__(self, labels: np.ndarray, probabilities: np.ndarray) -> None:
        self._parts = []
        for k in range(len(CLASSES)):
            order = np.argsort(probabilities[:, k], kind="stable")
            said = probabilities[order, k]
            starts = np.flatnonzero(np.r_[True, said[1:] != said[:-1]]) if len(said) else np.zeros(0, int)
            self._parts.append((order, starts, (labels == k)[order]))

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """(draws, n) counts of the rows to (draws, 5): T1 to T4 and their mean; NaN where a stage is lacking."""
        found = np.empty((len(counts), len(CLASSES) + 1))
        for k, (order, starts, positive) in enumerate(self._parts):
            drawn = counts[:, order]
            of_positive = np.add.reduceat(drawn * positive, starts, axis=1)
            of_negative = np.add.reduceat(drawn * ~positive, starts, axis=1)
            below = np.cumsum(of_negative, axis=1) - of_negative / 2
            pairs = of_positive.sum(axis=1) * of_negative.sum(axis=1)
            with np.errstate(divide="ignore", invalid="ignore"):
                found[:, k] = np.where(pairs > 0, (of_positive * below).sum(axis=1) / pairs, np.nan)
        found[:, -1] = found[:, :-1].mean(axis=1)
        return found
