"""From a network's logits to probabilities for this hospital: the stages' shares, and the temperature.

Training shows every stage equally often, so the network answers as if a quarter of all patients had each. What it is
worth is its likelihood: the logits without the prior of training. To that the hospital's own prior is added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import field, frozen

PSEUDO_COUNT = 0.5  # Jeffreys' prior of a multinomial share


@frozen
class StagePriors:
    """Shares of T1..T4: as the training's sampler showed them, and as they are in the hospital's cohort.

    `cohort` is the mean of the Dirichlet posterior: ``(cohort_counts + pseudo_count) / (their sum)``, so that a stage
    which few patients had is never impossible; the counts say how sure it is.
    """

    training: tuple[float, float, float, float] = field(converter=tuple)
    cohort: tuple[float, float, float, float] = field(converter=tuple)
    cohort_counts: tuple[int, int, int, int] = field(converter=tuple)
    pseudo_count: float = PSEUDO_COUNT

    def __attrs_post_init__(self) -> None:
        for name, shares in (("training", self.training), ("cohort", self.cohort)):
            if len(shares) != 4 or not all(0 < s < 1 for s in shares) or abs(math.fsum(shares) - 1) > 1e-6:
                raise ValueError(f"priors.{name} is {list(shares)}, not four shares above 0 that sum to 1")
        if len(self.cohort_counts) != 4 or not all(n >= 0 for n in self.cohort_counts):
            raise ValueError(f"priors.cohort_counts is {list(self.cohort_counts)}, not four counts")
        if not self.pseudo_count > 0:
            raise ValueError(f"priors.pseudo_count is {self.pseudo_count}, not above 0")


def stage_priors(training: Sequence[float], counts: Sequence[int], pseudo_count: float = PSEUDO_COUNT) -> StagePriors:
    """The priors of a cohort.

    Parameters
    ----------
    training : sequence of float
        (4,), how often the sampler showed each stage; sums to 1.
    counts : sequence of int
        (4,), patients of each stage in the cohort.
    pseudo_count : float
        Of the symmetric Dirichlet prior, a stage.
    """
    total = sum(counts) + 4 * pseudo_count
    shares: Any = [(n + pseudo_count) / total for n in counts]
    shown: Any = map(float, training)
    whole: Any = map(int, counts)
    return StagePriors(shown, shares, whole, pseudo_count)


def calibrated(logits: np.ndarray, temperature: float, priors: StagePriors | None = None) -> np.ndarray:
    """Probabilities of logits over the last axis, in float64.

    ``softmax((logits - log training) / temperature + log cohort)``; without known priors ``softmax(logits /
    temperature)``. The temperature stands on the likelihood alone: over the cohort's prior as well, a network that is
    twice too sure would take the prior's square root for the prior (docs/validity.md, section 1).

    References
    ----------
    Saerens, Latinne, Decaestecker, Neural Comput 2002 (prior of training against that of use); Guo et al., ICML 2017
    (temperature)
    """
    z = np.asarray(logits, dtype=np.float64)
    here, shown = (0.0, 0.0) if priors is None else (np.log(priors.cohort), np.log(priors.training))
    z = (z - shown) / temperature + here
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    p: np.ndarray = e / e.sum(axis=-1, keepdims=True)
    return p
