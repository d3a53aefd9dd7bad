"""Stage + Grad-CAM against the bare ResNet-152 forward pass of the same slices, in one run.

``theirs``: torchvision's ResNet-152 in inference mode: the least that any staging of these slices costs.
``ours``: GTRNet on ResNet-152 through `stage_shard`'s forward pass with heat maps: logits, features, vote's class, CAM.
Random weights: the arithmetic is the same. Times are medians over interleaved pairs, the ratio the median of the pairs'
ratios; peak memory is that of a process which does nothing else.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TARGET = 1.25
PAIRS = {3: 9, 48: 2}  # slices in a batch (1 case, 16 cases): pairs measured
ROOT = Path(__file__).resolve().parents[2]


def measure() -> list[dict[str, Any]]:
    """Rows of ``bench.json``: name, ours, theirs, ratio, target (None where none is set), unit."""
    rows = []
    for slices, pairs in PAIRS.items():
        ours, theirs = _passes(slices)
        ours(), theirs()  # warm: lazy imports, memory pools
        seconds = [(_seconds(theirs), _seconds(ours)) for _ in range(pairs)]
        rows.append(
            {
                "name": f"stage + CAM, {slices} slices, against bare ResNet-152",
                "ours": statistics.median(o for _, o in seconds),
                "theirs": statistics.median(t for t, _ in seconds),
                "ratio": statistics.median(o / t for t, o in seconds),
                "target": TARGET,
                "unit": "s",
            }
        )
    for slices in PAIRS:
        ours_mb, theirs_mb = (_peak_memory_mb(which, slices) for which in ("ours", "theirs"))
        rows.append(
            {
                "name": f"stage + CAM, {slices} slices, peak memory of the process",
                "ours": ours_mb,
                "theirs": theirs_mb,
                "ratio": ours_mb / theirs_mb,
                "target": None,
                "unit": "MB",
            }
        )
    return rows


def _passes(slices: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    return _ours(slices), _theirs(slices)


def _ours(slices: int) -> Callable[[], Any]:
    import torch

    from gtr_batch.explain import GradCamForward
    from gtr_batch.stage.network import GTRNet

    forward = GradCamForward(GTRNet("resnet152").eval())
    x = torch.randn(slices, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    return lambda: forward(x, lambda logits: [int(row.argmax()) for row in logits])


def _theirs(slices: int) -> Callable[[], Any]:
    import torch
    from torchvision.models import resnet152

    network = resnet152(num_classes=4).eval()
    x = torch.randn(slices, 3, 224, 224, generator=torch.Generator().manual_seed(0))

    def forward() -> Any:
        with torch.inference_mode():
            return network(x)

    return forward


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _peak_memory_mb(which: str, slices: int) -> float:
    done = subprocess.run(
        [sys.executable, __file__, which, str(slices)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1])


def _alone(which: str, slices: int) -> None:
    """One variant in this process; prints its peak resident memory in MB (ru_maxrss would remember the parent's)."""
    work = {"ours": _ours, "theirs": _theirs}[which](slices)
    work()
    status = Path("/proc/self/status").read_text().splitlines()
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _alone(sys.argv[1], int(sys.argv[2]))
    else:
        print(json.dumps(measure(), indent=1))
