"""A training that is killed ends with the weights of one that was not; a full disk costs no epoch."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch

from gtr_batch.errors import ConfigError, ModelArtefactError, StorageFull
from gtr_batch.training.checkpoint import Checkpoint
from gtr_batch.training.loop import Settings, train
from tests.unit.training.small import Small, squares

LESSONS = [Settings(epochs=3, batch=8, learning_rate=0.02), Settings(epochs=3, batch=8, learning_rate=0.01, seed=1)]
SCRIPT = """
import sys, time
from pathlib import Path
from tests.unit.training.small import Small, squares
from tests.unit.training.test_checkpoint import LESSONS
from gtr_batch.training.checkpoint import Checkpoint
from gtr_batch.training.loop import train
import torch
torch.set_num_threads(1)

def progress(epoch):
    print(epoch.lesson, epoch.number, flush=True)
    time.sleep(0.15)  # so that the kill finds an epoch under way

train(Small(), squares(24, 1), squares(8, 2), LESSONS, progress, checkpoint=Checkpoint(Path(sys.argv[1]), "me"))
"""


def weights(network: torch.nn.Module) -> list[torch.Tensor]:
    return [t.detach().clone() for t in network.state_dict().values()]


def test_a_killed_training_ends_like_one_that_was_not(tmp_path):
    torch.set_num_threads(1)
    whole, resumed = Small(), Small()
    history = train(whole, squares(24, 1), squares(8, 2), LESSONS)
    root = Path(__file__).parents[3]
    victim = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    told = [victim.stdout.readline() for _ in range(4)]  # into the second lesson
    victim.send_signal(signal.SIGKILL)
    victim.wait()

    after = train(resumed, squares(24, 1), squares(8, 2), LESSONS, checkpoint=Checkpoint(tmp_path, "me"))

    assert told[-1] == "1 1\n"
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))
    assert [(e.lesson, e.number, e.validation_loss) for e in after] == [
        (e.lesson, e.number, e.validation_loss) for e in history
    ]


def test_a_finished_training_that_is_run_again_trains_nothing(tmp_path):
    first, again, told = Small(), Small(), []
    train(first, squares(16, 1), squares(8, 2), LESSONS, checkpoint=Checkpoint(tmp_path, "me"))

    train(again, squares(16, 1), squares(8, 2), LESSONS, told.append, checkpoint=Checkpoint(tmp_path, "me"))

    assert told == []
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(again), strict=True))


def test_a_torn_slot_is_passed_over(tmp_path):
    kept = Checkpoint(tmp_path, "me")
    kept.save({"lesson": 0, "epoch": 1, "value": torch.ones(3)})
    kept.save({"lesson": 0, "epoch": 2, "value": torch.zeros(3)})
    torn = tmp_path / "slot-1.pt"
    torn.write_bytes(torn.read_bytes()[:-20])

    state = Checkpoint(tmp_path, "me").load()

    assert state["epoch"] == 1


def test_the_slot_after_a_torn_one_is_the_torn_one(tmp_path):
    kept = Checkpoint(tmp_path, "me")
    kept.save({"lesson": 0, "epoch": 1})
    kept.save({"lesson": 0, "epoch": 2})
    (tmp_path / "slot-1.pt").write_bytes(b"torn")
    later = Checkpoint(tmp_path, "me")
    later.load()

    later.save({"lesson": 0, "epoch": 2})

    assert Checkpoint(tmp_path, "me").load()["epoch"] == 2
    (tmp_path / "slot-1.pt").unlink()
    assert Checkpoint(tmp_path, "me").load()["epoch"] == 1


def test_cannot_take_up_another_training(tmp_path):
    Checkpoint(tmp_path, "me").save({"lesson": 0, "epoch": 1})

    with pytest.raises(ConfigError, match="another training"):
        Checkpoint(tmp_path, "somebody else").load()


def test_the_room_is_taken_before_the_first_epoch_and_never_grows(tmp_path):
    sizes = []

    def progress(_epoch):
        sizes.append([(p.name, p.stat().st_size, p.stat().st_blocks) for p in sorted(tmp_path.iterdir())])

    Checkpoint(tmp_path, "me").reserve(4 * sum(t.numel() * 4 for t in Small().state_dict().values()))
    before = [(p.name, p.stat().st_size, p.stat().st_blocks) for p in sorted(tmp_path.iterdir())]
    train(Small(), squares(16, 1), squares(8, 2), LESSONS, progress, checkpoint=Checkpoint(tmp_path, "me"))

    assert all(size == before for size in sizes)


def test_says_that_there_is_no_room_before_anything_is_trained(tmp_path):
    told = []
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024**2, hard))
    try:
        with pytest.raises(StorageFull, match="reserving"):
            train(Small(), squares(16, 1), squares(8, 2), LESSONS, told.append, checkpoint=Checkpoint(tmp_path, "me"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
        signal.signal(signal.SIGXFSZ, before)

    assert told == []


def test_a_loss_that_is_no_number_ends_the_training_in_words():
    sick = squares(16, 1)
    sick = attrs.evolve(sick, slices=np.where(np.arange(16)[:, None, None, None] == 3, np.nan, sick.slices))

    with pytest.raises(ModelArtefactError, match="not finite"):
        train(Small(), sick, squares(8, 2), LESSONS)
