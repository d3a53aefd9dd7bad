"""A network whose probabilities do not mean what they say: too sure, for another mix of stages, torn between two."""

from __future__ import annotations

import numpy as np


def answers(
    n: int,
    seed: int,
    *,
    mix: tuple[float, float, float, float] = (0.15, 0.15, 0.35, 0.35),
    noise: float = 1.0,
    sharpness: float = 2.0,
    torn: float = 0.25,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw patients and what the network says of them.

    Parameters
    ----------
    n, seed : int
    mix : tuple of float
        How often the stages are; the network takes them for equally frequent.
    noise : float
        Of the place on the axis of stages where the network sees the tumour, SD.
    sharpness : float
        What the logits are multiplied with: 1 would be calibrated where the stages are equally frequent.
    torn : float
        Share of patients in whom the network sees a second thing two stages off, nearly as clearly.

    Returns
    -------
    probabilities (n, 4), stages (n,) 0 to 3
    """
    rng = np.random.default_rng(seed)
    stages = rng.choice(4, n, p=mix)
    axis = np.arange(4)
    seen = stages + rng.normal(0, noise, n)
    likelihood = np.exp(-((axis - seen[:, None]) ** 2) / (2 * noise**2))
    other = np.where(stages < 2, stages + 2, stages - 2) + rng.normal(0, noise, n)
    second = np.exp(-((axis - other[:, None]) ** 2) / (2 * noise**2)) * rng.uniform(0.5, 1.5, (n, 1))
    likelihood = np.where(rng.random((n, 1)) < torn, likelihood + second, likelihood)
    p = likelihood**sharpness
    return p / p.sum(axis=1, keepdims=True), stages
