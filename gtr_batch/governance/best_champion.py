"""The best champion there was: margins that each promotion may use up must not add up over a chain of promotions.

A candidate that is worse than the champion by less than the margin may pass, its successor again, and so on. So it is
held against the earlier champions, too, on the same patients and with the same margins, wherever one of them was better
than the present one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import numpy as np

from gtr_batch.config import GovernanceConfig
from gtr_batch.domain.gate import GateCriterion
from gtr_batch.governance.criteria import CANNOT_TELL, T4, Answers, Paired, accuracy, kappa, t4, worst
from gtr_batch.metrics.classification import confusion, kappa_of, kappas_of_redrawn
from gtr_batch.metrics.intervals import redrawn_counts
from gtr_batch.metrics.noninferiority import ALPHA

NAME = "best_champion"
Measure = Callable[[Answers], float]  # larger is better


def best_champion(
    paired: Paired, settings: GovernanceConfig, *, level: float = ALPHA, draws: int, seed: int
) -> GateCriterion | None:
    """Not worse, by the margins of the gate, than the best champion there was; None where there was no other one.

    Accuracy, kappa and T4 staged lower each have their own best champion: the one that did best on these patients.
    Where that is the present one, there is nothing to add to what its own criterion says.
    """
    if not paired.former and not paired.not_asked:
        return None
    found = list(_against_the_best(paired, settings, level, draws, seed)) if len(paired.stages) else []
    sentences = [one.sentence for one in found]
    if paired.former and not found:
        sentences.append(
            f"none of {len(paired.former)} earlier ones did better on these patients than the present one."
        )
    verdicts = [one.verdict for one in found]
    if paired.not_asked:
        names = ", ".join(version[:12] for version in paired.not_asked)
        sentences.append(f"Cannot be asked, since files are gone or changed: {names}.")
        verdicts.append(CANNOT_TELL)
    sentence = f"Best champion: {' '.join(sentences)}"
    if not found:
        return GateCriterion(NAME, worst(verdicts), sentence)
    return attrs.evolve(found[0], name=NAME, verdict=worst(verdicts), sentence=sentence)


def _against_the_best(
    paired: Paired, settings: GovernanceConfig, level: float, draws: int, seed: int
) -> Iterator[GateCriterion]:
    stages, of_t4 = paired.stages, paired.stages == T4
    if best := _better(paired, lambda a: float((a.votes == stages).mean())):
        other, against = best
        drawn = _redrawn_differences(against, draws, seed)[:, 0]
        yield accuracy(against, settings, drawn, level, other)
    if best := _better(paired, lambda a: kappa_of(confusion(stages, a.votes)) or 0.0):
        other, against = best
        drawn = _redrawn_differences(against, draws, seed)[:, 1]
        yield kappa(against, settings, drawn, level, other)
    if of_t4.any() and (best := _better(paired, lambda a: float((a.votes[of_t4] == T4).mean()))):
        other, against = best
        yield t4(against, settings, level, other)


def _better(paired: Paired, measure: Measure) -> tuple[str, Paired] | None:
    """The earlier champion that did best, in words, and the candidate held against it; None: the present one did."""
    if not paired.former:
        return None
    version = max(paired.former, key=lambda v: measure(paired.former[v]))
    if measure(paired.former[version]) <= measure(paired.champion):
        return None
    return f"earlier champion {version[:12]}", attrs.evolve(paired, champion=paired.former[version])


def _redrawn_differences(paired: Paired, draws: int, seed: int) -> np.ndarray:
    """(draws, 2): accuracy and kappa, candidate less champion, on redrawn patients."""
    blocks = []
    for counts in redrawn_counts(paired.subjects, draws, seed):
        right = [counts @ (a.votes == paired.stages) / counts.sum(axis=1) for a in (paired.candidate, paired.champion)]
        agreed = [kappas_of_redrawn(paired.stages, a.votes, counts) for a in (paired.candidate, paired.champion)]
        blocks.append(np.column_stack([right[0] - right[1], agreed[0] - agreed[1]]))
    return np.concatenate(blocks)
