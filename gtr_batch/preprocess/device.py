"""What the device must not change (the precision of sums), how it is shared, and what it may refuse (memory)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gtr_batch.errors import GpuOutOfMemory


@contextmanager
def exact_products() -> Iterator[None]:
    """Matrix products in full float32, also where training has allowed TF32 or bfloat16 for its own."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def one_thread() -> Iterator[None]:
    """CPU work of many small steps on one thread.

    OpenMP's threads meet after every step, and N4 has thousands of them: on an idle machine a second thread saves a
    third of the time, on one with other work every meeting waits for whoever is off the processor. Measured with ten
    runnable processes on two cores: two threads 30 to 58 s (13 s of processor time), one thread 1.8 to 6.9 s (0.9 s).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def gpu_memory() -> Iterator[None]:
    """A full GPU as the transient error that it is."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as err:
        raise GpuOutOfMemory("preprocessing: no free GPU memory for one volume; to be tried again") from err
