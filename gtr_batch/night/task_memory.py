"""A limit of the memory that a task of the night may take: what a file makes a decoder ask for ends one case alone."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gtr_batch.config import Config

GB = 1024**3
_GPU_DRIVER = Path("/proc/driver/nvidia/version")


@contextmanager
def limited_memory(config: Config) -> Iterator[None]:
    """Let this process take no more than `night.task_memory_gb` while the block runs.

    The limit is of private writable memory (``RLIMIT_DATA``), and not of address space, of which libraries reserve far
    more than they use. None is set where the setting is 0, and where the task computes on a GPU, whose driver maps the
    card's memory too. What asks for more gets a `MemoryError`, which fails its case and no other.
    """
    wanted = int(config.night.task_memory_gb * GB)
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if wanted <= 0 or on_gpu(config.stage.device):
        yield
        return
    known = [limit for limit in (wanted, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(known), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def on_gpu(device: str) -> bool:
    """Whether this device setting means a GPU here; without torch, which takes 4 s to import."""
    return device == "cuda" or (device == "auto" and _GPU_DRIVER.exists())
