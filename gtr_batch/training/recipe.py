"""How a candidate is trained: the paper's recipe, or lessons for small machines."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gtr_batch.config import TrainingConfig
from gtr_batch.errors import ConfigError
from gtr_batch.logs import get_logger
from gtr_batch.ports import ModelStore
from gtr_batch.training.loop import Settings

if TYPE_CHECKING:
    from gtr_batch.stage.network import GTRNet


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
    lesson = partial(Settings, batch=settings.batch, patience=settings.patience, seed=settings.seed)
    if settings.recipe == "paper":
        return [lesson(epochs=settings.epochs, learning_rate=settings.learning_rate, weight_decay=0.0)]
    if not outlined:
        raise ConfigError(
            "training.recipe is 'lessons', which looks at windows about the lesion first, but more than half of the "
            "cohort has no outlined lesion (DICOM Segmentation); use 'paper'"
        )
    rate, epochs = settings.learning_rate, settings.epochs
    return [
        lesson(epochs=epochs, learning_rate=rate, window=(64, 64), slices_a_patient=2),
        lesson(epochs=max(1, epochs // 4), learning_rate=rate / 2, window=(96, 96)),
        lesson(epochs=max(1, epochs // 5), learning_rate=rate / 2.5, window=(144, 144)),
        lesson(epochs=max(1, epochs // 5), learning_rate=rate / 3),
    ]


def start_network(settings: TrainingConfig, model_store: ModelStore) -> GTRNet:
    """The network that training begins with: random, ImageNet's weights, or the champion's.

    Raises
    ------
    ConfigError
        ImageNet's weights are asked for, no file is named and they cannot be fetched.
    ModelArtefactError
        The file or the champion does not fit.
    """
    from gtr_batch.stage.artefact import load_artefact
    from gtr_batch.stage.network import GTRNet

    if settings.start == "champion":
        artefact = load_artefact(model_store.champion())
        if artefact.manifest.backbone != settings.backbone:
            raise ConfigError(
                f"training.start is 'champion', a {artefact.manifest.backbone}, and training.backbone is "
                f"{settings.backbone}: they must be the same"
            )
        return artefact.network.requires_grad_(True)
    if settings.start == "random":
        return GTRNet(settings.backbone, dropout=0.2)
    network = GTRNet(settings.backbone)
    given = (settings.imagenet, "") if settings.imagenet else _from_torchvision(settings.backbone)
    digest = network.load_imagenet(*given)
    get_logger("training").info("training.starts_from", weights=given[0].name, sha256=digest)
    return network


def _from_torchvision(backbone: str) -> tuple[Path, str]:
    """ImageNet's weights as torchvision fetches them, and what the SHA-256 of the file begins with, by its name.

    torchvision compares the two when it fetches the file, not when it finds one: whoever loads it has to.

    Raises
    ------
    ConfigError
        This machine is not online, or torchvision has none of this depth.
    """
    import torch
    from torchvision.models import get_model_weights

    where = "give training.imagenet torchvision's state dict, or set training.start to 'random' or 'champion'"
    try:
        weights = get_model_weights(backbone).IMAGENET1K_V1
    except (ValueError, AttributeError) as err:
        raise ConfigError(f"torchvision has no ImageNet weights of {backbone}; {where}; see docs/training.md") from err
    try:
        weights.get_state_dict(check_hash=True, progress=False)
    except (OSError, RuntimeError) as err:  # offline; a digest that does not match
        raise ConfigError(
            f"ImageNet's weights of {backbone} are not here and cannot be fetched ({type(err).__name__}); {where}; "
            "see docs/training.md"
        ) from err
    name = weights.url.rsplit("/", 1)[-1]
    return Path(torch.hub.get_dir()) / "checkpoints" / name, Path(name).stem.rsplit("-", 1)[-1]
