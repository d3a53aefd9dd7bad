"""The split's slices on disk: what numpy reads back, and a full disk that says so."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save, save_file

from gtr_batch.training.slices import write_array
from gtr_batch.writing import write_with

LIMITED = f"""
import resource, signal, sys
from functools import partial
from pathlib import Path
import numpy as np
from gtr_batch.errors import StorageFull
from gtr_batch.training.slices import write_array
from gtr_batch.writing import write_with
signal.signal({int(signal.SIGXFSZ)}, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_with(Path(sys.argv[1]), partial(write_array, np.zeros(9999)))
except StorageFull as err:
    print("full:", err)
"""


@pytest.mark.parametrize(
    "array", [np.arange(24, dtype=np.float16).reshape(2, 3, 4), np.eye(4).T[::2], np.zeros((0, 3))]
)
def test_an_array_is_written_with_the_bytes_that_numpy_writes(array):
    ours, theirs = io.BytesIO(), io.BytesIO()

    write_array(array, ours)
    np.save(theirs, np.ascontiguousarray(array))

    assert ours.getvalue() == theirs.getvalue()


def test_an_array_that_does_not_fit_on_the_disk_is_storage_full(tmp_path):
    """numpy's own writing loses the reason, so that a full disk would look like a fault of ours."""
    path = tmp_path / "train.npy"
    write_with(path, partial(write_array, np.arange(3)))

    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True)

    assert done.stdout.startswith("full:")
    assert [p.name for p in tmp_path.iterdir()] == ["train.npy"]
    np.testing.assert_array_equal(np.load(path), np.arange(3))


def test_weights_are_written_with_the_bytes_that_the_format_s_own_writer_gives(tmp_path):
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(2, dtype=torch.float16)}
    save_file(tensors, tmp_path / "theirs")

    (tmp_path / "ours").write_bytes(save(tensors))

    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert load_file(tmp_path / "ours").keys() == tensors.keys()
