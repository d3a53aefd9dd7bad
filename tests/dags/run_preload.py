"""Import Airflow as its scheduler does, and fork; tells, as JSON, what was imported before and works after the fork."""

from __future__ import annotations

import json
import multiprocessing
import sys
import threading

import psutil

sys.argv = ["airflow", "scheduler", "--skip-serve-logs"]

import airflow.settings  # noqa: E402 - Airflow reads the command line, and imports its local settings, here


def in_a_task(answer: multiprocessing.SimpleQueue) -> None:
    """What only a healthy fork can do: OpenMP's, OpenBLAS's and autograd's threads are its own."""
    import numpy as np
    import torch

    torch.set_num_threads(2)
    x = torch.ones(4, 3, 64, 64, requires_grad=True)
    torch.nn.functional.conv2d(x, torch.ones(8, 3, 3, 3)).sum().backward()
    product = np.ones((300, 300)) @ np.ones((300, 300))
    answer.put({"gradient": float(x.grad[0, 0, 32, 32]), "product": float(product[0, 0]), "cuda": _cuda()})


def _cuda() -> list[bool]:
    import torch

    return [torch.cuda.is_initialized(), torch.cuda._is_in_bad_fork()]


def main() -> None:
    from gtr_airflow import preload

    there = [name for name in preload.LIBRARIES if name in sys.modules]
    found = {
        "there": there,
        "missing": sorted(set(preload.LIBRARIES) - set(there)),
        "local_settings": str(sys.modules["airflow_local_settings"].__file__),
        "threads": [thread.name for thread in threading.enumerate()],
        "sockets": len(psutil.Process().net_connections("all")),
        "ours": sorted(name for name in sys.modules if name.startswith("gtr_batch.night")),
    }
    if "torch" in there:
        found["cuda"] = _cuda()
        context = multiprocessing.get_context("fork")
        answer = context.SimpleQueue()
        child = context.Process(target=in_a_task, args=[answer])
        child.start()
        child.join()
        found["task"] = answer.get() if child.exitcode == 0 else None
    print(json.dumps(found))


if __name__ == "__main__":
    assert airflow.settings
    main()
