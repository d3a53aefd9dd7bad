"""A network that knows exactly what can be known, in hospitals whose stages come in any mix.

A patient has an extent, normal about its stage's; each of three slices shows it with noise of its own or, with
`alike` = 1, the same. The ideal network has seen every stage equally often: its logits are each slice's exact class
log-likelihoods, which is what cross-entropy comes to in the end with balanced stages. `sharpness` makes it surer than
it may be, as networks that were trained for long are.
"""

from __future__ import annotations

import numpy as np
from attrs import field, frozen

# The mixes of T1..T4 in which the fault was first shown, and the balanced one. East Asian screening programmes find
# about half of their patients at T1; without screening most are T3 or T4.
MIXES: dict[str, tuple[float, float, float, float]] = {
    "15/15/35/35": (0.15, 0.15, 0.35, 0.35),
    "50/15/20/15": (0.50, 0.15, 0.20, 0.15),
    "25/25/25/25": (0.25, 0.25, 0.25, 0.25),
}


@frozen
class IdealNetwork:
    """The world. `mix` of T1..T4; `apart`: SD between the extents of neighbouring stages, the smaller the harder;
    `alike`: correlation of the three slices' noise; `sharpness`: what the exact log-likelihoods are multiplied by;
    `noise`: features that say nothing of the stage, beside the one that does."""

    mix: tuple[float, float, float, float] = (0.25, 0.25, 0.25, 0.25)
    apart: float = 1.5
    alike: float = 1.0
    sharpness: float = 1.0
    noise: int = 0


@frozen(eq=False)
class Answered:
    """Patients and what the network answers: `logits` (n, 3, 4), `stages` (n,) 0 to 3, `features` (n, 1 + noise)."""

    logits: np.ndarray = field(repr=False)
    stages: np.ndarray = field(repr=False)
    features: np.ndarray = field(repr=False)


def answered(world: IdealNetwork, patients: int, rng: np.random.Generator) -> Answered:
    """Draw patients of the hospital and ask the network."""
    stages = rng.choice(4, patients, p=world.mix)
    extents = world.apart * np.arange(4)
    common = rng.normal(size=(patients, 1)) * np.sqrt(world.alike)
    shown = extents[stages][:, None] + common + rng.normal(size=(patients, 3)) * np.sqrt(1 - world.alike)
    logits = -0.5 * world.sharpness * (shown[:, :, None] - extents) ** 2
    features = np.concatenate([shown[:, 1:2], rng.normal(size=(patients, world.noise))], axis=1)
    return Answered(logits, stages, features)
