"""Sets of neighbouring stages that hold the true one with a stated probability.

A set is an interval of the four stages: T1 and T3 without T2 makes no sense to a surgeon. Of the ten intervals it is
the shortest whose probability is more than a threshold, and of equally short ones the most probable; all four stages
where no shorter one will do. It need not hold the likeliest stage: of 0.40, 0.02, 0.30, 0.28 more than half lies in
T3-T4.

The threshold comes from patients whose stage is known (split conformal). The score of a stage is the probability of the
longest best interval that does not hold it: at any threshold from there on the set holds it. So the sets of new
patients, exchangeable with those, hold the true stage with at least the stated probability, whether the probabilities
are calibrated or not.

References
----------
Vovk, Gammerman, Shafer 2005; intervals of ordered classes: Xu, Guo, Wei, UAI 2023; Lu et al., MICCAI 2022 (whose sets
grow from the likeliest class by the likelier neighbour, and are longer).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from attrs import frozen

from gtr_batch.domain.staging import STAGES, StageProbabilities, StageSet


@frozen
class ConformalSets:
    """What an artefact needs to make sets: the threshold, and the coverage that it was fitted for on `n` patients."""

    threshold: float
    coverage: float
    n: int = 0

    def __attrs_post_init__(self) -> None:
        if not (0 <= self.threshold <= 1 and 0 < self.coverage < 1):
            raise ValueError(f"threshold {self.threshold} and coverage {self.coverage} are not of 0 to 1")

    def of(self, probabilities: StageProbabilities) -> StageSet:
        """The set of one patient."""
        first, last = shortest_interval(probabilities.values, self.threshold)
        return StageSet(STAGES[first], STAGES[last], self.coverage)


def best_intervals(probabilities: Sequence[float]) -> list[tuple[int, int, float]]:
    """Of each length from 1 on the most probable interval: first and last position, probability; the lower on a tie."""
    n = len(probabilities)
    best = []
    for length in range(1, n + 1):
        sums = [math.fsum(probabilities[k : k + length]) for k in range(n - length + 1)]
        first = max(range(len(sums)), key=lambda k: sums[k])
        best.append((first, first + length - 1, sums[first]))
    return best


def shortest_interval(probabilities: Sequence[float], threshold: float) -> tuple[int, int]:
    """First and last position of the shortest interval whose probability is more than `threshold`; never empty."""
    *shorter, whole = best_intervals(probabilities)
    for first, last, probability in shorter:
        if probability > threshold:
            return first, last
    return whole[:2]


def nonconformity(probabilities: Sequence[float], true: int) -> float:
    """Probability of the longest best interval that does not hold the true position; 0 where each holds it."""
    outside = (p for first, last, p in best_intervals(probabilities)[:-1] if not first <= true <= last)
    return max(outside, default=0.0)
