"""Holdouts for the gate's error rates, of worlds with another mix, accuracy and share of T4 staged lower."""

from __future__ import annotations

from gtr_batch.governance.criteria import Paired
from gtr_batch.governance.error_rates import World
from gtr_batch.simulation.hospital.gate_to_monitor import paired_of
from gtr_batch.simulation.worlds.holdouts import HoldoutWorld, draw_holdout

EQUAL = (0.25, 0.25, 0.25, 0.25)


def draw(world: World, seed: int) -> Paired:
    """As `gtr_batch.governance.error_rates.simulate`, from a world that the gate was not tuned to.

    Raises
    ------
    ValueError
        No two networks are like that.
    """
    holdout = HoldoutWorld(
        world.patients,
        world.champion,
        world.difference,
        world.discordance,
        mix=world.mix or EQUAL,
        t4=world.t4,
    )
    return paired_of(draw_holdout(holdout, seed))
