"""Holdouts that two networks stage: any mix of stages, accuracy, share of T4 staged lower, and error of calibration.

Nobody in this world knows what a gate asks. A network sees the patient's stage on an axis, with noise of its own and
noise that both share; its probabilities follow from the mix and the noise, so they are calibrated, until an odds ratio
is put between them and the pathology.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from attrs import field, frozen
from scipy.optimize import brentq
from scipy.stats import norm

from gtr_batch.simulation.worlds.operated import with_odds_ratio

_MANY = 60_000
_GRID = np.linspace(-6.0, 14.0, 4001)
Mix = tuple[float, float, float, float]


@frozen
class HoldoutWorld:
    """Of `patients`, with stages in the shares `mix`.

    `champion`: its true accuracy; `difference`: the candidate's less it; `discordance`: share of pairs of which exactly
    one is right (None: as much as two networks differ that share half of their noise); `t4`: share of T4 that the
    champion stages lower, None: as comes of evenly spaced stages. `odds_ratio`: of pathology against what the candidate
    says; `champions_odds_ratio`: against what the champion says.
    """

    patients: int
    champion: float = 0.8
    difference: float = 0.0
    discordance: float | None = None
    mix: Mix = (0.25, 0.25, 0.25, 0.25)
    t4: float | None = None
    odds_ratio: float = 1.0
    champions_odds_ratio: float = 1.0


@frozen(eq=False)
class TwoNetworks:
    """`stages` (n,), 0 to 3, and what each network says of the patients, (n, 4)."""

    stages: np.ndarray = field(repr=False)
    candidate: np.ndarray = field(repr=False)
    champion: np.ndarray = field(repr=False)


@frozen
class Eye:
    """What a network sees: stages lie at 0, 1, 2 and `fourth`, with normal noise of SD `noise`."""

    noise: float
    fourth: float = 3.0

    @property
    def centres(self) -> np.ndarray:
        """(4,)."""
        return np.array([0.0, 1.0, 2.0, self.fourth])

    def probabilities(self, sees: np.ndarray, mix: Mix) -> np.ndarray:
        """Calibrated: Bayes' rule with the mix, (n, 4)."""
        log = np.log(mix) - ((np.asarray(sees)[:, None] - self.centres) / self.noise) ** 2 / 2
        p = np.exp(log - log.max(axis=1, keepdims=True))
        return np.asarray(p / p.sum(axis=1, keepdims=True))


def draw_holdout(world: HoldoutWorld, seed: int) -> TwoNetworks:
    """One holdout."""
    rng = np.random.default_rng([seed, 9109])
    eyes = eyes_of(world)
    stages = rng.choice(4, world.patients, p=np.asarray(world.mix) / sum(world.mix))
    candidate, champion = _answered(rng.normal(size=(3, world.patients)), stages, eyes, _shared(world), world.mix)
    return TwoNetworks(
        stages,
        with_odds_ratio(candidate, 1 / world.odds_ratio) if world.odds_ratio != 1 else candidate,
        with_odds_ratio(champion, 1 / world.champions_odds_ratio) if world.champions_odds_ratio != 1 else champion,
    )


def eyes_of(world: HoldoutWorld) -> tuple[Eye, Eye]:
    """The candidate's and the champion's: the accuracies asked for, and the champion's share of T4 staged lower."""
    champion = _eye(round(world.champion, 6), world.t4, world.mix)
    return _noise(round(world.champion + world.difference, 6), champion.fourth, world.mix), champion


def rates_of(eye: Eye, mix: Mix) -> tuple[float, float]:
    """Accuracy of the likeliest stage, and the share of T4 that is staged lower: integrated, not drawn."""
    votes = eye.probabilities(_GRID, mix).argmax(axis=1)
    density = norm.pdf(_GRID[None, :], eye.centres[:, None], eye.noise) * (_GRID[1] - _GRID[0])
    right = [float(density[k][votes == k].sum()) for k in range(4)]
    return float(np.dot(mix, right)), 1.0 - right[3]


@lru_cache(maxsize=256)
def _noise(accuracy: float, fourth: float, mix: Mix) -> Eye:
    def excess(noise: float) -> float:
        return rates_of(Eye(noise, fourth), mix)[0] - accuracy

    return Eye(float(brentq(excess, 0.08, 3.0, xtol=1e-4)), fourth)


@lru_cache(maxsize=64)
def _eye(accuracy: float, t4: float | None, mix: Mix) -> Eye:
    if t4 is None:
        return _noise(accuracy, 3.0, mix)

    def excess(fourth: float) -> float:
        return rates_of(_noise(accuracy, fourth, mix), mix)[1] - t4

    # A fourth stage near the third leaves no noise for a high accuracy, one far off none for a low one.
    known: tuple[float, float] | None = None
    for fourth in np.linspace(2.2, 6.0, 39).tolist():
        try:
            found = excess(fourth)
        except ValueError:
            continue
        if known is not None and known[1] * found <= 0:
            return _noise(accuracy, float(brentq(excess, known[0], fourth, xtol=1e-3)), mix)
        known = fourth, found
    raise ValueError(f"no network has an accuracy of {accuracy:g} and stages {t4:g} of T4 lower")


def _answered(
    noise: np.ndarray, stages: np.ndarray, eyes: tuple[Eye, Eye], shared: float, mix: Mix
) -> tuple[np.ndarray, np.ndarray]:
    one, other = (
        eye.probabilities(
            eye.centres[stages] + eye.noise * (np.sqrt(shared) * noise[0] + np.sqrt(1 - shared) * own), mix
        )
        for own, eye in zip(noise[1:], eyes, strict=True)
    )
    return one, other


@lru_cache(maxsize=64)
def _shared(world: HoldoutWorld) -> float:
    """How much of the noise both share, for the share of pairs that differ."""
    if world.discordance is None:
        return 0.5
    rng = np.random.default_rng(1)
    stages, noise, eyes = rng.choice(4, _MANY, p=world.mix), rng.normal(size=(3, _MANY)), eyes_of(world)

    def excess(shared: float) -> float:
        one, other = (p.argmax(axis=1) == stages for p in _answered(noise, stages, eyes, shared, world.mix))
        return float((one != other).mean()) - world.discordance  # type: ignore[operator]

    least, most = excess(1.0), excess(0.0)
    if least > 0 or most < 0:
        low, high = world.discordance + least, world.discordance + most
        raise ValueError(f"between these accuracies {low:.3f} to {high:.3f} of pairs differ")
    return float(brentq(excess, 0.0, 1.0, xtol=1e-3))
