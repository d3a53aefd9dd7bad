"""The training itself, from files of a run's folder to files of it: in this process, or in one process a GPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from safetensors.torch import load_file, save

from gtr_batch.loopback import free_port
from gtr_batch.stage.network import GTRNet
from gtr_batch.training import distributed
from gtr_batch.training.checkpoint import Checkpoint
from gtr_batch.training.loop import PreparedSlices, Settings, train
from gtr_batch.writing import write_bytes, write_text, write_with

START, NETWORK, EPOCHS = "start.safetensors", "network.safetensors", "epochs.json"


def prepare(folder: Path, network: Any, splits: dict[str, PreparedSlices]) -> None:
    """Lay down what the processes read: the weights to begin with, and the splits' labels and centres."""
    _save(network, folder / START)
    for name, one in splits.items():
        _save_labels(folder / f"{name}-labels.npz", one)


@attrs.frozen
class Job:
    """What is trained, how, on what; `folder` is the run's, where `prepare` was called and the splits' slices lie."""

    folder: str
    backbone: str
    lessons: list[Settings]
    identity: str
    devices: list[str]
    dropout: float = 0.5


def work(rank: int, job: Job, each: Callable[[Any], None] | None = None) -> None:
    """Train as process `rank` of as many as there are devices; the first one writes, and tells `each` epoch."""
    root = Path(job.folder)
    network = GTRNet(job.backbone, dropout=job.dropout)
    network.load_state_dict(load_file(root / START))
    epochs = train(
        network,
        _split(root, "train"),
        _split(root, "validation"),
        job.lessons,
        each,
        device=job.devices[rank],
        checkpoint=Checkpoint(root / "checkpoint", job.identity),
    )
    if distributed.first():
        _save(network, root / NETWORK)
        write_text(root / EPOCHS, json.dumps([attrs.asdict(e) for e in epochs], indent=1) + "\n")


def run(job: Job, each: Callable[[Any], None] | None = None) -> list[dict[str, Any]]:
    """Train on the job's devices, one process each, and return the epochs; with one device, in this process.

    `each` hears of every epoch with one device only: other processes cannot call back.
    """
    if len(job.devices) == 1:
        work(0, job, each)
    else:
        distributed.spawn(work, len(job.devices), free_port(), job)
    epochs: list[dict[str, Any]] = json.loads((Path(job.folder) / EPOCHS).read_text())
    return epochs


def devices_of(setting: str) -> list[str]:
    """Every GPU where the settings allow them, else the CPU."""
    if setting.startswith("cuda") and torch.cuda.device_count() > 1:
        return [f"cuda:{k}" for k in range(torch.cuda.device_count())]
    return [setting]


def _split(root: Path, name: str) -> PreparedSlices:
    with np.load(root / f"{name}-labels.npz", allow_pickle=False) as kept:
        labels = {k: kept[k] for k in kept.files}
    return PreparedSlices(np.load(root / f"{name}.npy", mmap_mode="r"), labels["stages"], labels.get("centres"))


def _save(network: Any, path: Path) -> None:
    write_bytes(path, save({k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}))


def _save_labels(path: Path, split: PreparedSlices) -> None:
    labels: dict[str, Any] = {"stages": split.stages}
    if split.centres is not None:
        labels["centres"] = split.centres
    write_with(path, lambda file: np.savez(file, **labels))
