"""The training loop: Adam, class-balanced, augmented, stopped early on the validation loss; the same for the same seed.

Paper, Methods: flips, rotation, scaling and intensity perturbation; early stopping on the loss of the validation set.
What is random in an epoch follows from seed, lesson and epoch alone: a training that was killed and taken up again ends
with the weights of one that was not.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from attrs import asdict, evolve, field, frozen
from torch import Tensor, nn
from torch.nn import functional

from gtr_batch.domain.calibration import PSEUDO_COUNT, StagePriors, calibrated
from gtr_batch.domain.staging import StageProbabilities, vote
from gtr_batch.errors import ModelArtefactError
from gtr_batch.training import distributed
from gtr_batch.training.augment import augment, sample
from gtr_batch.training.checkpoint import Checkpoint
from gtr_batch.training.loader import prefetched


@frozen(eq=False)
class PreparedSlices:
    """Patients with three prepared slices each.

    `slices` (patients, 3, size, size), float16 or float32, z-scored, in the order below, key, above, possibly memory-
    mapped; `stages` (patients,), positions 0 to 3; `centres` (patients, 2), row and column about which a training
    window lies, default the middle; `lesions` (patients, 3, size, size), bool, the outlined tumours, where an objective
    asks for them.
    """

    slices: np.ndarray = field(repr=False)
    stages: np.ndarray = field(repr=False)
    centres: np.ndarray | None = field(default=None, repr=False)
    lesions: np.ndarray | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.stages)


@frozen
class Settings:
    """One lesson. `window` (rows, columns) is the part of a slice that is shown, None all of it."""

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
    lesson: int = 0
    seconds: float = 0.0


EpochProgress = Callable[[Epoch], None]


@frozen(eq=False)
class Answered:
    """What a batch was shown and answered: logits (n, 4), stages (n,), and what else an objective may price.

    `cells`: the last layer's output, (n, D, rows, columns); `head`: the linear head's weights, (4, D); `lesions`: the
    outlined tumours as they were shown, (n, 1, rows, columns), 0 to 1, None where the cohort has none.
    """

    logits: Tensor
    stages: Tensor
    cells: Tensor
    head: Tensor
    lesions: Tensor | None


Objective = Callable[[Answered], Tensor]


def train(
    network: nn.Module,
    cohort: PreparedSlices,
    validation: PreparedSlices,
    settings: Settings | Sequence[Settings],
    progress: EpochProgress | None = None,
    *,
    device: str = "cpu",
    checkpoint: Checkpoint | None = None,
    objective: Objective | None = None,
) -> list[Epoch]:
    """Train a network in place, lesson by lesson; each ends with the weights of its epoch that validated best.

    Parameters
    ----------
    network : Module
        Slices (n, 3, rows, columns) to logits (n, 4); moved to `device`. Between lessons of different windows it must
        have a head ``fc`` (see `widen`).
    cohort, validation : PreparedSlices
        No patient may be in both.
    settings : Settings, or several
        One a lesson. The paper's recipe is one lesson on whole slices.
    progress : callable, optional
        Called after each epoch.
    device : str
        On CUDA: bfloat16 where it is safe (autocast), channels last, pinned memory. Where `torch.distributed` is set
        up, each process takes its share of every batch.
    checkpoint : Checkpoint, optional
        Written after each epoch; where it holds one, the training is taken up there.
    objective : callable, optional
        The loss of a batch; default cross-entropy. Its network must have ``layer4`` and ``fc``. Epochs are chosen by
        the cross-entropy of the validation patients whatever it is.

    Returns
    -------
    list of Epoch

    Raises
    ------
    ModelArtefactError
        The loss is not finite.
    StorageFull, ConfigError
        See `Checkpoint`.
    """
    lessons = [settings] if isinstance(settings, Settings) else list(settings)
    network.to(device, memory_format=torch.channels_last if device.startswith("cuda") else torch.preserve_format)
    cohort = _laid_on(cohort, device)
    epochs: list[Epoch] = []
    kept = checkpoint.load() if checkpoint else None
    distributed.together()  # nobody writes before everybody has read
    if checkpoint is not None and distributed.first():
        checkpoint.reserve(4 * sum(t.numel() * t.element_size() for t in network.state_dict().values()))
    if kept is not None:
        epochs = [Epoch(**e) for e in kept["epochs"]]
    for number, lesson in enumerate(lessons):
        if kept is not None and number < kept["lesson"]:
            continue
        here = kept if kept is not None and number == kept["lesson"] else None
        if here is None and number and lessons[number - 1].window != lesson.window:
            widen(network, cohort, lessons[number - 1].window, lesson, device)
        _teach(network, cohort, validation, lesson, number, epochs, here, progress, device, checkpoint, objective)
    return epochs


def _teach(  # noqa: PLR0917 - the inner half of `train`
    network: nn.Module,
    cohort: PreparedSlices,
    validation: PreparedSlices,
    settings: Settings,
    lesson: int,
    epochs: list[Epoch],
    kept: dict[str, Any] | None,
    progress: EpochProgress | None,
    device: str,
    checkpoint: Checkpoint | None,
    objective: Objective | None,
) -> None:
    learner = distributed.wrapped(network, device)
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * math.ceil(len(cohort) * settings.slices_a_patient / settings.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps, settings.warmup))
    best_loss, best_weights, first = math.inf, None, 1
    prior = _log_prior_ratio(cohort.stages, validation.stages)
    if kept is not None:
        network.load_state_dict(kept["network"])
        optimiser.load_state_dict(kept["optimiser"])
        schedule.load_state_dict(kept["schedule"])
        best_loss, best_weights, first = kept["best_loss"], kept["best_weights"], kept["epoch"] + 1
    for number in range(first, settings.epochs + 1):
        if _exhausted(epochs, lesson, settings.patience):
            break
        began = time.monotonic()
        torch.manual_seed(_seed(settings, lesson, number, 0))  # dropout
        network.train()
        losses = []
        for images, stages, lesions in _shown(cohort, settings, _rngs(settings, lesson, number), device):
            with (
                torch.autocast("cuda", torch.bfloat16, enabled=device.startswith("cuda")),
                _last_layer(network) as cells,
            ):
                logits = learner(images)
            if objective is None:
                loss = functional.cross_entropy(logits.float(), stages, label_smoothing=settings.label_smoothing)
            else:
                head: Any = network.fc
                loss = objective(Answered(logits.float(), stages, cells[-1].float(), head.weight, lesions))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.detach())
        train_loss = distributed.mean(float(torch.stack(losses).mean()), device)
        if not math.isfinite(train_loss):
            raise ModelArtefactError(
                f"the loss of epoch {number} is not finite: the learning rate {settings.learning_rate:g} is too large, "
                "or a slice holds values that are not numbers; the epoch before it is in the checkpoint"
            )
        # The question early stopping asks: does a patient never seen lose less than in any epoch before?
        answers = predict(network, validation, settings.window, device=device) + prior
        loss_now = float(
            functional.cross_entropy(
                torch.from_numpy(answers.reshape(-1, 4)), torch.from_numpy(np.repeat(validation.stages, 3)).long()
            )
        )
        better = loss_now < best_loss
        if better:
            best_loss, best_weights = loss_now, copy.deepcopy(network.state_dict())
        accuracy = float((voted(answers) == validation.stages).mean())
        epochs.append(Epoch(number, train_loss, loss_now, accuracy, better, lesson, time.monotonic() - began))
        if checkpoint is not None and distributed.first():
            checkpoint.save(
                {
                    "lesson": lesson,
                    "epoch": number,
                    "network": network.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "schedule": schedule.state_dict(),
                    "best_loss": best_loss,
                    "best_weights": best_weights,
                    "epochs": [asdict(e) for e in epochs],
                }
            )
        if progress is not None and distributed.first():
            progress(epochs[-1])
    if best_weights is not None:
        network.load_state_dict(best_weights)


def _exhausted(epochs: list[Epoch], lesson: int, patience: int) -> bool:
    """Whether the last `patience` epochs of this lesson brought nothing better."""
    mine = [e for e in epochs if e.lesson == lesson]
    return bool(mine) and mine[-1].number - max((e.number for e in mine if e.best), default=0) >= patience


def _seed(settings: Settings, *what: int) -> int:
    return int(np.random.SeedSequence([settings.seed, *what]).generate_state(1)[0])


def _rngs(settings: Settings, lesson: int, epoch: int) -> tuple[np.random.Generator, np.random.Generator]:
    """One for whom an epoch shows, one for how."""
    return np.random.default_rng([settings.seed, lesson, epoch, 1]), np.random.default_rng(
        [settings.seed, lesson, epoch, 2]
    )


def _rate(step: int, steps: int, warmup: float) -> float:
    """Learning rate as a share of the largest: 1) a linear rise, so that Adam's moments settle; 2) a cosine to zero."""
    done = step / max(steps, 1)
    if done < warmup:
        return (step + 1) / (warmup * steps + 1)
    return 0.5 * (1 + math.cos(math.pi * min((done - warmup) / (1 - warmup), 1.0)))


def batches(
    cohort: PreparedSlices,
    settings: Settings,
    rngs: tuple[np.random.Generator, np.random.Generator],
    device: str = "cpu",
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch's augmented batches, each stage as often as the others; (n, 3, rows, columns) and (n,) on `device`.

    The slices are fetched in a thread of their own while the network works, and augmented on the device.
    """
    for images, stages, _ in _shown(cohort, settings, rngs, device):
        yield images, stages


@contextmanager
def _last_layer(network: nn.Module) -> Iterator[list[Tensor]]:
    """The outputs of ``layer4`` of the forward passes within; none of a network without one."""
    kept: list[Tensor] = []
    layer = getattr(network, "layer4", None)
    hook = layer.register_forward_hook(lambda _m, _i, output: kept.append(output)) if layer is not None else None
    try:
        yield kept
    finally:
        if hook is not None:
            hook.remove()


def _shown(
    cohort: PreparedSlices,
    settings: Settings,
    rngs: tuple[np.random.Generator, np.random.Generator],
    device: str,
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    who, how = rngs
    total = len(cohort) * settings.slices_a_patient
    weights = shown_weights(cohort.stages)
    if (weights == weights[0]).all():
        order = np.concatenate([who.permutation(len(cohort)) for _ in range(settings.slices_a_patient)])
    else:
        order = who.choice(len(cohort), total, p=weights)
    roles = who.choice(3, total, p=(0.25, 0.5, 0.25))

    def fetch() -> Iterator[tuple[Tensor, np.ndarray]]:
        for start in range(0, total, settings.batch):
            chosen = order[start : start + settings.batch]
            mine = distributed.share(len(chosen))
            if len(chosen[mine]) < 2:  # batch norm has nothing to say of one image
                continue
            at = chosen[mine], roles[start : start + settings.batch][mine]
            images = _as_kept(cohort.slices[at])  # float16: half to copy
            if cohort.lesions is not None:
                images = torch.cat((images, _as_kept(cohort.lesions[at]).to(images.dtype)), dim=1)
            pinned = device.startswith("cuda") and not images.is_cuda
            yield (images.pin_memory() if pinned else images), chosen[mine]

    for images, chosen in fetch() if isinstance(cohort.slices, Tensor) else prefetched(fetch()):
        centres = None if cohort.centres is None else cohort.centres[chosen]
        shown = augment(images.to(device, non_blocking=True).float(), centres, settings.window, how)
        stages = torch.from_numpy(cohort.stages[chosen]).long().to(device)
        yield shown[:, :1].expand(-1, 3, -1, -1), stages, None if cohort.lesions is None else shown[:, 1:]


def _as_kept(taken: np.ndarray | Tensor) -> Tensor:
    """Slices or masks (n, rows, columns) as (n, 1, rows, columns), of their own type, where they lie."""
    there = taken if isinstance(taken, Tensor) else torch.from_numpy(np.ascontiguousarray(taken))
    return there[:, None]


def _laid_on(cohort: PreparedSlices, device: str) -> PreparedSlices:
    """The cohort with its slices on a GPU, where a quarter of its free memory holds them; else as it is."""
    if not device.startswith("cuda"):
        return cohort
    needs = cohort.slices.nbytes + (0 if cohort.lesions is None else cohort.lesions.nbytes)
    if needs > torch.cuda.mem_get_info(device)[0] / 4:
        return cohort
    laid = {"slices": torch.from_numpy(np.array(cohort.slices)).to(device)}
    if cohort.lesions is not None:
        laid["lesions"] = torch.from_numpy(np.array(cohort.lesions)).to(device)
    return evolve(cohort, **laid)


def shown_weights(stages: np.ndarray) -> np.ndarray:
    """How often an epoch shows each patient, (n,), summing to 1: each stage that there is as often as the others."""
    weights = 1.0 / np.bincount(stages, minlength=4)[stages]
    return np.asarray(weights / weights.sum())


def shown_shares(stages: np.ndarray) -> np.ndarray:
    """How often an epoch shows each stage, (4,): the prior that the network learns."""
    return np.bincount(stages, shown_weights(stages), minlength=4)


def _log_prior_ratio(trained: np.ndarray, validated: np.ndarray) -> np.ndarray:
    """What turns logits of the mix that training shows into those of the validation patients' mix, (4,), float32."""
    shown, counts = shown_shares(trained), np.bincount(validated, minlength=4)
    here = (counts + PSEUDO_COUNT) / (len(validated) + 4 * PSEUDO_COUNT)
    return np.log(here / np.where(shown > 0, shown, here)).astype(np.float32)


@torch.no_grad()
def widen(
    network: nn.Module, cohort: PreparedSlices, before: tuple[int, int] | None, settings: Settings, device: str = "cpu"
) -> None:
    """Make a network that knows windows of one size ready for larger ones, in place.

    The head sees the mean over all cells of the last layer (32 pixels each), of which the tumour fills the fewer the
    larger the window: weights grow by the ratio, and the bias moves so that no stage is preferred at the start.
    """
    size = cohort.slices.shape[2:]
    old, new = (math.prod(math.ceil(n / 32) for n in window or size) for window in (before, settings.window))
    head: Any = network.fc
    head.weight *= new / old
    network.train()  # batch norms get to know the larger windows
    shown = [network(images) for images, _ in batches(cohort, settings, _rngs(settings, 99, 0), device)]
    head.bias -= torch.cat(shown).mean(dim=0)


def device_of(network: nn.Module) -> str:
    """Where the network lies; ``cpu`` where it has no weights."""
    return str(next(network.parameters(), torch.empty(0)).device)


@torch.inference_mode()
def predict(
    network: nn.Module,
    cohort: PreparedSlices,
    window: tuple[int, int] | None = None,
    batch: int = 48,
    device: str | None = None,
) -> np.ndarray:
    """Logits of all three slices of each patient, (patients, 3, 4), float32; `device`: default where it lies."""
    network.eval()
    device = device or device_of(network)
    flat = cohort.slices.reshape(-1, 1, *cohort.slices.shape[2:])
    centres = None if cohort.centres is None else np.repeat(cohort.centres, 3, axis=0)
    parts = []
    for start in range(0, len(flat), batch):
        images = torch.from_numpy(flat[start : start + batch].astype(np.float32)).to(device)
        if window is not None:
            n = len(images)
            at = None if centres is None else centres[start : start + batch]
            still = {"angle": np.zeros(n), "scale": np.ones(n), "flip": np.ones((n, 2)), "shift": np.zeros((n, 2))}
            images = sample(images, window, at, **still)
        parts.append(network(images.expand(-1, 3, -1, -1)).float().cpu().numpy())
    return np.concatenate(parts).reshape(len(cohort), 3, 4)


@torch.inference_mode()
def penultimate(network: Any, slices: np.ndarray, batch: int = 48, device: str | None = None) -> np.ndarray:
    """Penultimate features (n, D), float32, of slices (n, size, size); `device`: default where it lies."""
    network.eval()
    device = device or device_of(network)
    parts = []
    for start in range(0, len(slices), batch):
        images = torch.from_numpy(slices[start : start + batch].astype(np.float32))[:, None].expand(-1, 3, -1, -1)
        parts.append(network.forward_features(images.to(device)).float().cpu().numpy())
    return np.concatenate(parts)


def voted(logits: np.ndarray, temperature: float = 1.0, priors: StagePriors | None = None) -> np.ndarray:
    """Position of each patient's stage after the vote of the three slices; logits (patients, 3, 4)."""
    p = calibrated(logits, temperature, priors)
    return np.array([vote(list(map(StageProbabilities, patient)))[0].position for patient in p])
