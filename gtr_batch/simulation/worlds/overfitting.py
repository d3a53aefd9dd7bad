"""A network that learns its training patients by heart: one hidden layer, many inputs of which one says anything.

Its penultimate features part the stages of those whom it was trained on far better than of anybody else: what is fitted
on them promises more than it keeps.
"""

from __future__ import annotations

import numpy as np
from attrs import field, frozen


@frozen
class Overfitting:
    """The world. `inputs` a patient has, of which the first is the stage times `apart` plus unit noise; `hidden` units;
    `steps` of Adam, each on all patients; without regularisation or an early end."""

    mix: tuple[float, float, float, float] = (0.15, 0.15, 0.35, 0.35)
    apart: float = 0.8
    inputs: int = 60
    hidden: int = 128
    steps: int = 300
    rate: float = 0.01


@frozen(eq=False)
class Patients:
    """`inputs` (n, d) and `stages` (n,) 0 to 3."""

    inputs: np.ndarray = field(repr=False)
    stages: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.stages)

    def of(self, rows: np.ndarray) -> Patients:
        """Some of them."""
        return Patients(self.inputs[rows], self.stages[rows])


@frozen(eq=False)
class Network:
    """A trained network: weights and biases of both layers."""

    first: np.ndarray = field(repr=False)
    first_bias: np.ndarray = field(repr=False)
    second: np.ndarray = field(repr=False)
    second_bias: np.ndarray = field(repr=False)

    def features(self, patients: Patients) -> np.ndarray:
        """Penultimate features, (n, hidden)."""
        return np.maximum(patients.inputs @ self.first + self.first_bias, 0.0)

    def logits(self, patients: Patients) -> np.ndarray:
        """Logits of the four stages, (n, 4)."""
        return self.features(patients) @ self.second + self.second_bias


def drawn(world: Overfitting, patients: int, rng: np.random.Generator) -> Patients:
    """Draw patients."""
    stages = rng.choice(4, patients, p=world.mix)
    inputs = rng.normal(size=(patients, world.inputs))
    inputs[:, 0] += world.apart * stages
    return Patients(inputs, stages)


def trained(world: Overfitting, patients: Patients, rng: np.random.Generator) -> Network:
    """Train on these patients, each stage weighing as much as the others."""
    shapes = ((world.inputs, world.hidden), (world.hidden,), (world.hidden, 4), (4,))
    weights = [rng.normal(0, np.sqrt(2 / world.inputs), shapes[0]), np.zeros(shapes[1])]
    weights += [rng.normal(0, np.sqrt(1 / world.hidden), shapes[2]), np.zeros(shapes[3])]
    mean, square = [np.zeros(s) for s in shapes], [np.zeros(s) for s in shapes]
    each = 1.0 / np.bincount(patients.stages, minlength=4)[patients.stages]
    each /= each.sum()
    for step in range(1, world.steps + 1):
        network = Network(*weights)
        hidden = network.features(patients)
        z = hidden @ network.second + network.second_bias
        wrong = np.exp(z - z.max(axis=1, keepdims=True))
        wrong /= wrong.sum(axis=1, keepdims=True)
        wrong[np.arange(len(patients)), patients.stages] -= 1.0
        wrong *= each[:, None]
        back = (wrong @ network.second.T) * (hidden > 0)
        slopes = [patients.inputs.T @ back, back.sum(axis=0), hidden.T @ wrong, wrong.sum(axis=0)]
        for k, slope in enumerate(slopes):  # Adam
            mean[k] = 0.9 * mean[k] + 0.1 * slope
            square[k] = 0.999 * square[k] + 0.001 * slope**2
            now = (mean[k] / (1 - 0.9**step)) / (np.sqrt(square[k] / (1 - 0.999**step)) + 1e-8)
            weights[k] = weights[k] - world.rate * now
    return Network(*weights)
