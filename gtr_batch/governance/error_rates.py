"""How often the gate errs: complete holdouts are simulated in which the truth is known, and the gate judges each.

Two models see the same patients. What each sees is the patient's stage with noise of its own; from that follow, without
further assumption, calibrated probabilities, a vote, neighbouring errors. How much noise gives the accuracies, how much
of it both models share gives the share of pairs that differ. Only the worse model's accuracy is worse: its
probabilities mean what they say, so the calibration criteria are right to pass it, and what refuses it is that it errs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from typing import Any

import attrs
import numpy as np
from attrs import frozen
from scipy.optimize import brentq
from scipy.stats import norm

from gtr_batch.config import GovernanceConfig
from gtr_batch.domain.gate import Interval, Verdict
from gtr_batch.governance.criteria import CANNOT_TELL, FAIL, PASS, Answers, Paired, redrawn, worst
from gtr_batch.governance.gate import criteria_of
from gtr_batch.governance.looks import level_of
from gtr_batch.metrics.intervals import wilson

# Where the stages lie on the axis that a model sees: T4 stands apart, so that the cap on its under-staging can be met.
CENTRES = np.array([0.0, 1.0, 2.0, 3.4])
_EDGES = (CENTRES[:-1] + CENTRES[1:]) / 2
_MANY = 100_000  # patients that a share is measured on


@frozen
class World:
    """A holdout of `patients`, an equal part of each stage.

    `difference`: the candidate's true accuracy less the champion's; `discordance`: share of patients whom exactly one
    of the two stages rightly. `mix` and `t4` (share of T4 that the champion stages lower) are for worlds other than
    this module's own, which has stages in equal parts.
    """

    patients: int
    difference: float = 0.0
    champion: float = 0.92
    discordance: float = 0.1
    mix: tuple[float, float, float, float] | None = None
    t4: float | None = None


@frozen
class AsDrawn:
    """A world as its holdouts turned out, on average: both accuracies, and the share of pairs that differ."""

    candidate: float
    champion: float
    discordance: float


@frozen
class ErrorRates:
    """Shares of `runs` holdouts of a `world` by the gate's verdict.

    `passes_95` and `accuracy_passes_95` are Wilson's intervals; `accuracy_passes` is the share that passes the
    criterion of accuracy alone, `criteria` the share that passes each.
    """

    world: World
    runs: int
    passes: float
    fails: float
    cannot_tell: float
    passes_95: Interval | None
    accuracy_passes: float
    accuracy_passes_95: Interval | None
    criteria: Mapping[str, float]
    drawn: AsDrawn


Draw = Callable[[World, int], Paired]  # a holdout of a world, by its seed

_How = tuple[int, Draw, float]  # bootstrap draws, whence a holdout comes, and the level of the look

# Verdict of the gate, of each criterion, and the world as this holdout turned out.
Judged = tuple[Verdict, dict[str, Verdict], tuple[float, float, float]]


def simulate(world: World, seed: int) -> Paired:
    """One holdout of this world."""
    rng = np.random.default_rng(seed)
    return _drawn(world, rng, world.patients)


def error_rates(
    world: World,
    settings: GovernanceConfig | None = None,
    *,
    runs: int = 1000,
    draws: int = 400,
    seed: int = 0,
    processes: int = 1,
    draw: Draw | None = None,
    look: int = 1,
) -> ErrorRates:
    """Let the whole gate judge `runs` holdouts of a world.

    Parameters
    ----------
    settings : GovernanceConfig, optional
        Of the gate; default its own defaults. What is asked of the shadow is left out: it is no matter of chance.
    runs, draws, seed : int
        Holdouts; bootstrap draws in each; the first holdout's seed.
    processes : int
        So many holdouts are judged at once.
    draw : callable, optional
        Another world's holdouts; default `simulate`.
    look : int
        Which look at a holdout it is: the gate judges at the level that is left for it.

    Returns
    -------
    ErrorRates
    """
    judged = settings or GovernanceConfig()
    how = (draws, draw or simulate, level_of(look, judged.error_budget))
    found = list(_judged(world, judged, range(seed, seed + runs), how, processes))
    count = {word: sum(verdict is word for verdict, _, _ in found) for word in Verdict}
    passed = {name: sum(each[name] is PASS for _, each, _ in found) for name in found[0][1]}
    candidate, champion, differ = np.mean([turned_out for _, _, turned_out in found], axis=0)
    return ErrorRates(
        world=world,
        runs=runs,
        passes=count[PASS] / runs,
        fails=count[FAIL] / runs,
        cannot_tell=count[CANNOT_TELL] / runs,
        passes_95=wilson(count[PASS], runs),
        accuracy_passes=passed["accuracy"] / runs,
        accuracy_passes_95=wilson(passed["accuracy"], runs),
        criteria={name: n / runs for name, n in passed.items()},
        drawn=AsDrawn(float(candidate), float(champion), float(differ)),
    )


def to_json(rates: ErrorRates) -> dict[str, Any]:
    """JSON-able, the world's fields beside the shares: ``pass``, ``fail`` and ``cannot tell``."""
    return {
        **attrs.asdict(rates.world),
        "runs": rates.runs,
        "pass": rates.passes,
        "fail": rates.fails,
        "cannot tell": rates.cannot_tell,
        "pass_95": rates.passes_95,
        "accuracy": rates.accuracy_passes,
        "accuracy_95": rates.accuracy_passes_95,
        "criteria": dict(rates.criteria),
        "drawn": attrs.asdict(rates.drawn),
    }


def _judged(world: World, settings: GovernanceConfig, seeds: range, how: _How, processes: int) -> Iterator[Judged]:
    jobs = (itertools.repeat(world), itertools.repeat(settings), seeds, itertools.repeat(how))
    if processes <= 1:
        yield from map(_one, *jobs)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_one, *jobs, chunksize=16)


def _one(world: World, settings: GovernanceConfig, seed: int, how: _How) -> Judged:
    draws, draw, level = how
    paired = draw(world, seed)
    found = criteria_of(paired, settings, redrawn(paired, draws, seed), level=level, seed=seed)
    right, was = (a.votes == paired.stages for a in (paired.candidate, paired.champion))
    turned_out = float(right.mean()), float(was.mean()), float((right != was).mean())
    return worst(c.verdict for c in found), {c.name: c.verdict for c in found}, turned_out


def _drawn(world: World, rng: np.random.Generator, n: int) -> Paired:
    noise = noise_of(round(world.champion + world.difference, 9)), noise_of(world.champion)
    shared = _shared(noise, world.discordance)
    stages = np.arange(n) % 4
    candidate, champion = (
        Answers(votes, probabilities) for votes, probabilities in _seen(rng.normal(size=(3, n)), stages, noise, shared)
    )
    return Paired(stages, np.array([f"s{k}" for k in range(n)]), candidate, champion)


def _seen(
    drawn: np.ndarray, stages: np.ndarray, noise: tuple[float, float], shared: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What each model makes of the patients: votes (n,) and probabilities (n, 4)."""
    for own, size in zip(drawn[1:], noise, strict=True):
        seen = CENTRES[stages] + size * (np.sqrt(shared) * drawn[0] + np.sqrt(1 - shared) * own)
        log = -(((seen[:, None] - CENTRES) / size) ** 2) / 2
        p = np.exp(log - log.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        yield p.argmax(axis=1), p


@lru_cache(maxsize=64)
def noise_of(accuracy: float) -> float:
    """How much noise leaves a model with this accuracy."""
    bounds = np.concatenate([[-np.inf], _EDGES, [np.inf]])

    def excess(size: float) -> float:
        inside = norm.cdf((bounds[1:] - CENTRES) / size) - norm.cdf((bounds[:-1] - CENTRES) / size)
        return float(inside.mean()) - accuracy

    return float(brentq(excess, 0.02, 20.0))


@lru_cache(maxsize=64)
def _shared(noise: tuple[float, float], discordance: float) -> float:
    """How much of the noise both models share, for this share of pairs that differ."""
    rng = np.random.default_rng(1)
    stages, drawn = np.arange(_MANY) % 4, rng.normal(size=(3, _MANY))

    def excess(shared: float) -> float:
        (one, _), (other, _) = _seen(drawn, stages, noise, shared)
        return float(((one == stages) != (other == stages)).mean()) - discordance

    least, most = excess(1.0), excess(0.0)
    if least > 0 or most < 0:
        raise ValueError(
            f"between these accuracies {discordance + least:.3f} to {discordance + most:.3f} of pairs differ"
        )
    return float(brentq(excess, 0.0, 1.0, xtol=1e-3))
