"""How a candidate is trained: the paper's recipe, or lessons for small machines."""

from __future__ import annotations

from typing import Any

from gtr_batch.config import TrainingConfig
from gtr_batch.errors import ConfigError
from gtr_batch.ports import ModelShelf
from gtr_batch.training.loop import Settings


def lessons_of(settings: TrainingConfig, outlined: bool) -> list[Settings]:
    """The lessons that the settings ask for.

    ``paper``: one lesson on whole slices, Adam at `learning_rate`, stopped after `patience` epochs without a better
    validation loss. ``lessons``: first windows about the outlined lesion, where an image costs a twelfth and there is
    little else to look at, then ever wider ones, then whole slices; for small networks on small machines.

    Raises
    ------
    ConfigError
        ``lessons`` where the lesions were not outlined.
    """
    common: dict[str, Any] = {"batch": settings.batch, "patience": settings.patience, "seed": settings.seed}
    if settings.recipe == "paper":
        return [Settings(epochs=settings.epochs, learning_rate=settings.learning_rate, weight_decay=0.0, **common)]
    if not outlined:
        raise ConfigError(
            "training.recipe is 'lessons', which looks at windows about the lesion first, but more than half of the "
            "cohort has no outlined lesion (SEG or RTSTRUCT); use 'paper'"
        )
    rate, epochs = settings.learning_rate, settings.epochs
    return [
        Settings(epochs=epochs, learning_rate=rate, window=(64, 64), slices_a_patient=2, **common),
        Settings(epochs=max(1, epochs // 4), learning_rate=rate / 2, window=(96, 96), **common),
        Settings(epochs=max(1, epochs // 5), learning_rate=rate / 2.5, window=(144, 144), **common),
        Settings(epochs=max(1, epochs // 5), learning_rate=rate / 3, **common),
    ]


def start_network(settings: TrainingConfig, shelf: ModelShelf) -> Any:
    """The network that training begins with: random, ImageNet's weights, or the champion's.

    Raises
    ------
    ConfigError
        ImageNet's weights are asked for and no file is named.
    ModelArtefactError
        The file or the champion does not fit.
    """
    from gtr_batch.stage.artefact import load_artefact
    from gtr_batch.stage.network import GTRNet

    if settings.start == "champion":
        artefact = load_artefact(shelf.champion())
        if artefact.manifest.backbone != settings.backbone:
            raise ConfigError(
                f"training.start is 'champion', a {artefact.manifest.backbone}, and training.backbone is "
                f"{settings.backbone}: they must be the same"
            )
        return artefact.network.requires_grad_(True)
    if settings.start == "random":
        return GTRNet(settings.backbone, dropout=0.2)
    if settings.imagenet is None:
        raise ConfigError(
            "training.start is 'imagenet' and training.imagenet names no file: give torchvision's state dict of "
            f"{settings.backbone}, or set training.start to 'random' or 'champion'; see docs/training.md"
        )
    return GTRNet(settings.backbone, weights=settings.imagenet)
