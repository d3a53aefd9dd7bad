"""Training on CUDA: it learns what it learns on the CPU, and a checkpoint from one goes on on the other."""

from __future__ import annotations

import pytest
import torch

from gtr_batch.training.checkpoint import Checkpoint
from gtr_batch.training.loop import Settings, predict, train, voted
from tests.unit.training.small import Small, squares

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_learns_on_the_gpu_what_it_learns_on_the_cpu():
    network, unseen = Small(), squares(40, 9)

    train(
        network,
        squares(80, 1),
        squares(20, 2),
        Settings(epochs=40, batch=16, learning_rate=0.03, patience=40),
        device="cuda",
    )

    assert (voted(predict(network, unseen, device="cuda")) == unseen.stages).mean() > 0.9


def test_a_training_goes_on_on_another_device(tmp_path):
    lesson = Settings(epochs=2, batch=8, learning_rate=0.01)
    train(Small(), squares(16, 1), squares(8, 2), lesson, device="cuda", checkpoint=Checkpoint(tmp_path, "me"))

    epochs = train(Small(), squares(16, 1), squares(8, 2), lesson, checkpoint=Checkpoint(tmp_path, "me"))

    assert len(epochs) == 2
