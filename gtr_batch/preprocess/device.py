"""What the device must not change: the precision of sums; and what it may refuse: memory."""

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
def gpu_memory() -> Iterator[None]:
    """A full GPU as the transient error that it is."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as err:
        raise GpuOutOfMemory("preprocessing: no free GPU memory for one volume; to be tried again") from err
