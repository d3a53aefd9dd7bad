"""Candidates in a row before the gate: a chain of champions, each a little worse, and many looks at one holdout."""

from __future__ import annotations

import attrs
import numpy as np
from attrs import frozen

from gtr_batch.config import GovernanceConfig
from gtr_batch.domain.gate import Verdict
from gtr_batch.governance.criteria import Answers, Paired, redrawn, worst
from gtr_batch.governance.gate import criteria_of
from gtr_batch.governance.looks import level_of
from gtr_batch.metrics.noninferiority import ALPHA
from gtr_batch.simulation.worlds.successors import Patients, SharedPatients

FIRST = 0.92  # true accuracy of the first champion


@frozen
class Chain:
    """True accuracies of a chain's champions, the first one first: promoted was who passed the gate."""

    accuracies: tuple[float, ...]

    @property
    def lost(self) -> float:
        """How far the last champion's true accuracy lies below the best one's."""
        return max(self.accuracies) - self.accuracies[-1]


def chain_of_champions(
    world: SharedPatients,
    settings: GovernanceConfig,
    seed: int,
    *,
    steps: int,
    worse: float,
    hold_former: bool,
    draws: int,
) -> Chain:
    """Candidates, each worse than the champion of its day by `worse`, on one holdout; who passes is promoted.

    `hold_former`: whether the gate holds them against earlier champions, too.
    """
    patients = Patients(world, seed)
    accuracies, champion = [FIRST], _answers(patients, FIRST)
    former: dict[str, Answers] = {}
    for step in range(steps):
        accuracy = accuracies[-1] - worse
        candidate = _answers(patients, accuracy)
        paired = _paired(patients, candidate, champion)
        if passes(attrs.evolve(paired, former=former if hold_former else {}), settings, seed=seed, draws=draws):
            former[f"champion {step}"] = champion
            champion = candidate
            accuracies.append(accuracy)
    return Chain(tuple(accuracies))


def looks_that_pass(
    world: SharedPatients, settings: GovernanceConfig, seed: int, *, looks: int, worse: float, spend: bool, draws: int
) -> int:
    """How many candidates in a row, each worse than the same champion by `worse`, pass on the same holdout.

    `spend`: whether each look is judged at what the ones before left; else all are at the usual 5%.
    """
    patients = Patients(world, seed)
    champion, passed = _answers(patients, FIRST), 0
    for number in range(1, looks + 1):
        level = level_of(number, settings.error_budget) if spend else ALPHA
        paired = _paired(patients, _answers(patients, FIRST - worse), champion)
        passed += passes(paired, settings, level=level, seed=seed, draws=draws)
    return passed


def passes(paired: Paired, settings: GovernanceConfig, *, level: float = ALPHA, seed: int, draws: int) -> bool:
    """Whether a candidate passes every criterion that rests on all patients."""
    found = criteria_of(paired, settings, redrawn(paired, draws, seed), level=level, seed=seed)
    return worst(c.verdict for c in found) is Verdict.PASS


def _answers(patients: Patients, accuracy: float) -> Answers:
    p = patients.asked(accuracy)
    return Answers(p.argmax(axis=1), p)


def _paired(patients: Patients, candidate: Answers, champion: Answers) -> Paired:
    return Paired(patients.stages, np.arange(len(patients.stages)).astype(str), candidate, champion)
