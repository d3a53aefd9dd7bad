"""Staged patients of whom some are operated: the mix, what each of several people sees, who chooses, and the delay.

Nobody in this world knows what an audit does with it. A network's probabilities are calibrated by construction: the
stage is drawn from them (or, from a day on, from them with all cumulative odds times an odds ratio).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from attrs import evolve, field, frozen
from scipy.special import expit, logit

DAYS_A_MONTH = 365.25 / 12
_CHEMOTHERAPY_FIRST = (0.85, 0.85, 0.50, 0.30)
_USUAL = (0.80, 0.92, 0.88, 0.72)


@frozen
class Selection:
    """Chance of a pT for each of T1 to T4 of whatever decides: the ``truth``, the radiologist's ``cT``, the ``uT`` of
    an endosonographer (the cT where there is none), or the ``model``'s likeliest stage. `later` holds from mid-history.
    """

    by: str = "truth"
    chances: tuple[float, float, float, float] = (0.9, 0.9, 0.9, 0.9)
    later: tuple[float, float, float, float] | None = None


SELECTIONS: Mapping[str, Selection] = {
    "none": Selection(),
    "usual": Selection("truth", _USUAL),
    "chemotherapy-first": Selection("truth", _CHEMOTHERAPY_FIRST),
    "strong": Selection("truth", (0.85, 0.80, 0.30, 0.20)),
    "by-cT": Selection("cT", _CHEMOTHERAPY_FIRST),
    "by-uT": Selection("uT", _CHEMOTHERAPY_FIRST),
    "changing": Selection("truth", (0.9, 0.9, 0.9, 0.9), _CHEMOTHERAPY_FIRST),
    "by-model": Selection("model", _CHEMOTHERAPY_FIRST),
}


@frozen
class OperatedWorld:
    """Who comes, what is seen of them, and who is operated.

    `mix`: stages of those staged. `spread`: noise of what the network sees, in stages (0.62: an accuracy of 0.69 with
    the usual mix). `odds_ratio` of pathology against the probabilities from day `begins` on. `labelled_a_month`: as
    many patients are staged as give so many pT in the long run; 0: `staged_a_month` holds.
    """

    selection: Selection = field(factory=Selection)
    months: int = 24
    staged_a_month: float = 60.0
    labelled_a_month: float = 0.0
    odds_ratio: float = 1.0
    begins: int = 0
    mix: tuple[float, float, float, float] = (0.22, 0.18, 0.32, 0.28)
    spread: float = 0.62
    shared: float = 0.3  # how far a radiologist's errors follow the network's, which looks at the same CT
    with_uT: float = 0.6


@frozen(eq=False)
class OperatedPatients:
    """One history, patient by patient in the order of the days: `stage`, `cT`, `uT` (-1: none) 0 to 3; `reported`: day
    of the pT, counted as `day` is; -1 for those who never have one."""

    day: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    stage: np.ndarray = field(repr=False)
    cT: np.ndarray = field(repr=False)
    uT: np.ndarray = field(repr=False)
    operated: np.ndarray = field(repr=False)
    reported: np.ndarray = field(repr=False)


def draw_patients(world: OperatedWorld, seed: int) -> OperatedPatients:
    """One history of a world."""
    rng = np.random.default_rng([seed, 7013])
    days = round(world.months * DAYS_A_MONTH)
    staged = world.staged_a_month
    if world.labelled_a_month:
        staged = world.labelled_a_month / _share_operated(world)
    n = int(rng.poisson(staged * days / DAYS_A_MONTH))
    day = np.sort(rng.integers(0, days, n))
    p = seen_by_network(world, rng, n)
    truth = with_odds_ratio(p, np.where(day >= world.begins, world.odds_ratio, 1.0))
    stage = drawn_stages(truth, rng)
    ct = _reader(rng, stage, p, 0.55, world.shared)
    ut = np.where(rng.random(n) < world.with_uT, _reader(rng, stage, p, 0.45, 0.0), -1)
    chance = _chances(world.selection, day, days, (stage, ct, ut, p.argmax(axis=1)))
    chosen = rng.random(n) < chance
    operated = day + rng.integers(8, 40, n)
    reported = operated + rng.integers(7, 22, n)
    return OperatedPatients(day, p, stage, ct, ut, np.where(chosen, operated, -1), np.where(chosen, reported, -1))


def seen_by_network(world: OperatedWorld, rng: np.random.Generator, n: int) -> np.ndarray:
    """Calibrated probabilities (n, 4) of a network that sees each stage with noise and knows the mix."""
    mix = np.asarray(world.mix)
    sees = rng.choice(4, n, p=mix) + world.spread * rng.normal(size=n)
    log = np.log(mix) - ((sees[:, None] - np.arange(4)) / world.spread) ** 2 / 2
    p = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def with_odds_ratio(probabilities: np.ndarray, odds_ratio: np.ndarray | float) -> np.ndarray:
    """The odds of lying above each stage, times an odds ratio: (n, 4)."""
    below = np.clip(probabilities.cumsum(axis=1)[:, :-1], 1e-12, 1 - 1e-12)
    moved = expit(logit(below) - np.log(np.broadcast_to(odds_ratio, len(below)))[:, None])
    return np.diff(np.column_stack([np.zeros(len(below)), moved, np.ones(len(below))]), axis=1)


def drawn_stages(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A stage for each row, 0 to 3."""
    return np.minimum((rng.random(len(probabilities))[:, None] > probabilities.cumsum(axis=1)).sum(axis=1), 3)


def _reader(rng: np.random.Generator, stage: np.ndarray, p: np.ndarray, noise: float, shared: float) -> np.ndarray:
    expected = p @ np.arange(4)
    sees = stage + shared * (expected - stage) + noise * rng.normal(size=len(stage))
    return np.clip(np.rint(sees), 0, 3).astype(int)


def _chances(selection: Selection, day: np.ndarray, days: int, seen: tuple[np.ndarray, ...]) -> np.ndarray:
    stage, ct, ut, model = seen
    decides = {"truth": stage, "cT": ct, "uT": np.where(ut < 0, ct, ut), "model": model}[selection.by]
    first = np.asarray(selection.chances)[decides]
    if selection.later is None:
        return first
    return np.where(day < days / 2, first, np.asarray(selection.later)[decides])


def _share_operated(world: OperatedWorld) -> float:
    """By a large draw: the share of the staged who get a pT, before anything shifts."""
    many = draw_patients(evolve(world, labelled_a_month=0.0, staged_a_month=2000.0, months=10, odds_ratio=1.0), 0)
    return max(float((many.operated >= 0).mean()), 1e-3)


def months_to_days(months: float) -> int:
    """Days of so many months."""
    return math.floor(months * DAYS_A_MONTH)
