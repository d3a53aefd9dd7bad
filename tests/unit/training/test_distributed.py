"""Two processes train the network that one would, within rounding."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from gtr_batch.stage.network import GTRNet
from gtr_batch.training import distributed, worker
from gtr_batch.training.loop import Settings, train
from tests.adapters.pacs.peers import a_free_port
from tests.unit.training.small import Small, squares

LESSON = Settings(epochs=2, batch=8, learning_rate=0.01)


def together(rank: int, folder: str) -> None:
    """One of two processes; the first keeps the weights."""
    torch.set_num_threads(1)
    network = Small()
    train(network, squares(16, 1), squares(8, 2), LESSON)
    if rank == 0:
        torch.save(network.state_dict(), f"{folder}/weights.pt")


def test_a_run_on_two_devices_writes_network_and_epochs_once(tmp_path):
    torch.manual_seed(0)
    splits = {"train": squares(16, 1, 64), "validation": squares(8, 2, 64)}
    for name, one in splits.items():
        np.save(tmp_path / f"{name}.npy", one.slices.astype(np.float16))
    worker.prepare(tmp_path, GTRNet("resnet10"), splits)
    job = worker.Job(str(tmp_path), "resnet10", [LESSON], "me", ["cpu", "cpu"])

    epochs = worker.run(job)
    again = worker.run(job)

    assert [e["number"] for e in epochs] == [1, 2]
    assert again == epochs  # taken up where it ended: nothing is trained
    assert (tmp_path / "network.safetensors").exists()


def test_two_processes_take_halves_of_every_batch_that_make_a_whole():
    assert [list(range(8))[distributed.share(8)]] == [list(range(8))]


def test_two_processes_end_with_the_same_kind_of_network(tmp_path):
    """Each augments its half of a batch by itself, so the weights are alike and not equal."""
    alone = Small()
    train(alone, squares(16, 1), squares(8, 2), LESSON)

    distributed.spawn(together, 2, a_free_port(), str(tmp_path))

    shared = torch.load(tmp_path / "weights.pt", weights_only=True)
    for name, tensor in alone.state_dict().items():
        assert nn.functional.cosine_similarity(tensor.flatten(), shared[name].flatten(), dim=0) > 0.98
