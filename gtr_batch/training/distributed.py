"""Several processes, one a GPU, that train one network: each takes its share of every batch."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed as dist
from torch import nn


def active() -> bool:
    """Whether there are several processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def first() -> bool:
    """Whether this is the process that writes and tells."""
    return not active() or dist.get_rank() == 0


def together() -> None:
    """Wait until all processes are here."""
    if active():
        dist.barrier()


def wrapped(network: nn.Module, device: str) -> nn.Module:
    """The network that forward passes go through; gradients are averaged over the processes."""
    if not active():
        return network
    ids = [torch.device(device).index or 0] if device.startswith("cuda") else None
    return nn.parallel.DistributedDataParallel(network, device_ids=ids)


def share(count: int) -> slice:
    """Which of `count` images of a batch this process takes; every process the same number."""
    if not active():
        return slice(0, count)
    world = dist.get_world_size()
    return slice(dist.get_rank(), count - count % world, world)


def mean(value: float, device: str) -> float:
    """Mean over the processes."""
    if not active():
        return value
    total = torch.tensor(value, dtype=torch.float64, device=device if device.startswith("cuda") else "cpu")
    dist.all_reduce(total)
    return float(total) / dist.get_world_size()


def spawn(work: Callable[..., None], processes: int, port: int, *arguments: Any) -> None:
    """Run ``work(rank, *arguments)`` in processes of this machine that know one another (NCCL, else gloo)."""
    torch.multiprocessing.spawn(_process, (work, processes, port, arguments), nprocs=processes)


def _process(rank: int, work: Callable[..., None], processes: int, port: int, arguments: tuple[Any, ...]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    cuda = torch.cuda.is_available() and torch.cuda.device_count() >= processes
    if cuda:
        torch.cuda.set_device(rank)
    dist.init_process_group("nccl" if cuda else "gloo", rank=rank, world_size=processes)
    try:
        work(rank, *arguments)
    finally:
        dist.destroy_process_group()
