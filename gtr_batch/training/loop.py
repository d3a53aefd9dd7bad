"""The training loop: Adam, class-balanced, augmented, stopped early on the validation loss; the same for the same seed.

Paper, Methods: flips, rotation, scaling and intensity perturbation; early stopping on the loss of the validation set.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from attrs import field, frozen
from torch import Tensor, nn
from torch.nn import functional

from gtr_batch.domain.staging import StageProbabilities, vote


@frozen(eq=False)
class Cohort:
    """Patients with three prepared slices each.

    `slices` (patients, 3, size, size), float16 or float32, z-scored, in the order below, key, above; `stages`
    (patients,), positions 0 to 3; `centres` (patients, 2), row and column about which a training window lies, default
    the middle.
    """

    slices: np.ndarray = field(repr=False)
    stages: np.ndarray = field(repr=False)
    centres: np.ndarray | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.stages)


@frozen
class Settings:
    """How to train. `window` (rows, columns) is the part of a slice that is shown, None all of it."""

    epochs: int = 30
    batch: int = 32
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    patience: int = 10
    warmup: float = 0.1  # share of the steps in which the learning rate rises
    window: tuple[int, int] | None = None
    slices_a_patient: int = 1  # of the three, an epoch
    seed: int = 0


@frozen
class Epoch:
    """What one epoch came to."""

    number: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float  # of patients, after the vote
    best: bool


Tell = Callable[[Epoch], None]


def train(
    network: nn.Module, cohort: Cohort, validation: Cohort, settings: Settings, tell: Tell | None = None
) -> list[Epoch]:
    """Train a network in place; it ends with the weights of the epoch that validated best.

    Parameters
    ----------
    network : Module
        Slices (n, 3, rows, columns) to logits (n, 4).
    cohort, validation : Cohort
        No patient may be in both.
    settings : Settings
    tell : callable, optional
        Called after each epoch.

    Returns
    -------
    list of Epoch
    """
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * math.ceil(len(cohort) * settings.slices_a_patient / settings.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps, settings.warmup))
    best_loss, best_weights, epochs = math.inf, None, []
    for number in range(1, settings.epochs + 1):
        network.train()
        losses = []
        for images, stages in batches(cohort, settings, rng):
            loss = functional.cross_entropy(network(images), stages, label_smoothing=settings.label_smoothing)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        # The question early stopping asks: does a patient never seen lose less than in any epoch before?
        logits = predict(network, validation, settings.window)
        loss_now = float(
            functional.cross_entropy(
                torch.from_numpy(logits.reshape(-1, 4)), torch.from_numpy(np.repeat(validation.stages, 3)).long()
            )
        )
        better = loss_now < best_loss
        if better:
            best_loss, best_weights = loss_now, copy.deepcopy(network.state_dict())
        accuracy = float((voted(logits) == validation.stages).mean())
        epochs.append(Epoch(number, float(np.mean(losses)), loss_now, accuracy, better))
        if tell is not None:
            tell(epochs[-1])
        last_best = max(e.number for e in epochs if e.best)
        if number - last_best >= settings.patience:
            break
    if best_weights is not None:
        network.load_state_dict(best_weights)
    return epochs


def _rate(step: int, steps: int, warmup: float) -> float:
    """Learning rate as a share of the largest: 1) a linear rise, so that Adam's moments settle; 2) a cosine to zero."""
    done = step / max(steps, 1)
    if done < warmup:
        return (step + 1) / (warmup * steps + 1)
    return 0.5 * (1 + math.cos(math.pi * min((done - warmup) / (1 - warmup), 1.0)))


def batches(cohort: Cohort, settings: Settings, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch's augmented batches, each stage as often as the others; (n, 3, rows, columns) and (n,)."""
    counts = np.bincount(cohort.stages, minlength=4)
    weights = 1.0 / counts[cohort.stages]
    total = len(cohort) * settings.slices_a_patient
    if (counts == counts[0]).all():
        order = np.concatenate([rng.permutation(len(cohort)) for _ in range(settings.slices_a_patient)])
    else:
        order = rng.choice(len(cohort), total, p=weights / weights.sum())
    for start in range(0, total, settings.batch):
        chosen = order[start : start + settings.batch]
        if len(chosen) < 2:  # batch norm has nothing to say of one image
            continue
        role = rng.choice(3, len(chosen), p=(0.25, 0.5, 0.25))
        images = torch.from_numpy(cohort.slices[chosen, role].astype(np.float32))[:, None]
        centres = None if cohort.centres is None else cohort.centres[chosen]
        yield (
            augment(images, centres, settings.window, rng).expand(-1, 3, -1, -1),
            torch.from_numpy(cohort.stages[chosen]).long(),
        )


def augment(
    images: Tensor, centres: np.ndarray | None, window: tuple[int, int] | None, rng: np.random.Generator
) -> Tensor:
    """Flip, rotate, scale and shift each image, perturb its intensities; shape (n, 1, rows, columns).

    Flips are left-right, rotation up to 12 degrees, scale 0.9 to 1.12, shift up to 8 pixels.
    """
    n = len(images)
    angle = np.radians(rng.uniform(-12, 12, n))
    scale = rng.uniform(0.9, 1.12, n)
    flip = np.stack([np.ones(n), np.where(rng.uniform(size=n) < 0.5, -1.0, 1.0)], axis=1)
    shift = rng.uniform(-8, 8, (n, 2))
    moved = _sample(images, window, centres, angle=angle, scale=scale, flip=flip, shift=shift)
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, (n, 1, 1, 1)).astype(np.float32))
    offset = torch.from_numpy(rng.uniform(-0.15, 0.15, (n, 1, 1, 1)).astype(np.float32))
    noise = torch.from_numpy(rng.standard_normal(tuple(moved.shape), dtype=np.float32))
    return moved * gain + offset + 0.04 * noise


def _sample(
    images: Tensor,
    window: tuple[int, int] | None,
    centres: np.ndarray | None,
    *,
    angle: np.ndarray,
    scale: np.ndarray,
    flip: np.ndarray,
    shift: np.ndarray,
) -> Tensor:
    n, _, rows, columns = images.shape
    height, width = window or (rows, columns)
    middle = np.array([[(rows - 1) / 2, (columns - 1) / 2]])
    centre = (middle if centres is None or window is None else centres) + shift
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    # From the window's coordinates (-1..1) to the image's: x is along columns.
    theta = np.zeros((n, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 0, 1] = cos * flip[:, 1] * width / columns, -sin * flip[:, 0] * height / columns
    theta[:, 1, 0], theta[:, 1, 1] = sin * flip[:, 1] * width / rows, cos * flip[:, 0] * height / rows
    theta[:, 0, 2] = (2 * centre[:, 1] + 1) / columns - 1
    theta[:, 1, 2] = (2 * centre[:, 0] + 1) / rows - 1
    grid = functional.affine_grid(torch.from_numpy(theta), [n, 1, height, width], align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


@torch.inference_mode()
def predict(network: nn.Module, cohort: Cohort, window: tuple[int, int] | None = None, batch: int = 48) -> np.ndarray:
    """Logits of all three slices of each patient, (patients, 3, 4), float32."""
    network.eval()
    flat = cohort.slices.reshape(-1, 1, *cohort.slices.shape[2:])
    centres = None if cohort.centres is None else np.repeat(cohort.centres, 3, axis=0)
    parts = []
    for start in range(0, len(flat), batch):
        images = torch.from_numpy(flat[start : start + batch].astype(np.float32))
        if window is not None:
            n = len(images)
            at = None if centres is None else centres[start : start + batch]
            still = {"angle": np.zeros(n), "scale": np.ones(n), "flip": np.ones((n, 2)), "shift": np.zeros((n, 2))}
            images = _sample(images, window, at, **still)
        parts.append(network(images.expand(-1, 3, -1, -1)).float().numpy())
    return np.concatenate(parts).reshape(len(cohort), 3, 4)


def voted(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Position of each patient's stage after the vote of the three slices; logits (patients, 3, 4)."""
    answers = []
    for patient in logits:
        z = patient.astype(np.float64) / temperature
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        stage, _, _ = vote([StageProbabilities(tuple(row)) for row in p])
        answers.append(stage.position)
    return np.array(answers)
