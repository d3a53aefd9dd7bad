"""Networks that follow one another and see the same patients: a chain of champions, or candidates in a row.

Nobody in this world knows what a gate asks. Each network has noise of its own and noise that all share, and its
probabilities follow from both, so they are calibrated: of a worse one they are only less certain.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from attrs import frozen
from scipy.optimize import brentq

from gtr_batch.simulation.worlds.holdouts import Eye, Mix, rates_of


@frozen
class SharedPatients:
    """So many patients, with stages in the shares `mix`.

    `fourth`: where T4 lies, with T1 to T3 at 0, 1 and 2; `shared`: share of the noise's variance that all networks have
    in common. At an accuracy of 0.92 and 0.7 shared, a tenth of the answers of two networks differ in being right.
    """

    patients: int
    mix: Mix = (0.25, 0.25, 0.25, 0.25)
    fourth: float = 3.4
    shared: float = 0.7


class Patients:
    """One drawing of them; networks are asked one after the other."""

    def __init__(self, world: SharedPatients, seed: int) -> None:
        self._world = world
        self._rng = np.random.default_rng([seed, 9203])
        self.stages = self._rng.choice(4, world.patients, p=np.asarray(world.mix) / sum(world.mix))
        self._common = self._rng.normal(size=world.patients)

    def asked(self, accuracy: float) -> np.ndarray:
        """What a new network of this true accuracy says: (n, 4)."""
        world, eye = self._world, _eye(round(accuracy, 6), self._world.fourth, self._world.mix)
        own = self._rng.normal(size=world.patients)
        noise = np.sqrt(world.shared) * self._common + np.sqrt(1 - world.shared) * own
        return eye.probabilities(eye.centres[self.stages] + eye.noise * noise, world.mix)


@lru_cache(maxsize=64)
def _eye(accuracy: float, fourth: float, mix: Mix) -> Eye:
    def excess(noise: float) -> float:
        return rates_of(Eye(noise, fourth), mix)[0] - accuracy

    return Eye(float(brentq(excess, 0.08, 3.0, xtol=1e-4)), fourth)
