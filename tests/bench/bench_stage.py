"""Stage + Grad-CAM on a CPU against bare forward passes of the same slices, in one run.

``theirs``: torchvision's ResNet-152 in inference mode, as most would run it; and, where it is installed, OpenVINO's
pass of GTRNet in float32 with as many threads.
``ours``: GTRNet on ResNet-152 through `stage_shard`'s forward pass with heat maps (logits, features, vote's class,
CAM), and its bare forward pass. Random weights: the arithmetic is the same. Times are medians over interleaved pairs,
the ratio the median of the pairs' ratios; peak memory is that of a process which does nothing else. With OpenVINO it is
CPU time that is compared: nothing else on the machine changes it much.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TARGET = 1.25
NOT_SLOWER = 1.0
PAIRS = {3: 9, 48: 2}  # slices in a batch (1 case, 16 cases): pairs measured
ROOT = Path(__file__).resolve().parents[2]


def measure() -> list[dict[str, Any]]:
    """Rows of ``bench.json``: name, ours, theirs, ratio, target (None where none is set), unit."""
    rows = []
    for slices, pairs in PAIRS.items():
        name = f"stage + CAM, {slices} slices, against bare ResNet-152"
        rows.append(_pairs(name, _ours(slices), _theirs(slices), pairs, TARGET))
    for slices, pairs in PAIRS.items() if has_openvino() else ():
        theirs = _openvino(slices)
        name = f"forward pass, {slices} slices, against OpenVINO's"
        rows.append(_pairs(name, _bare(slices), theirs, pairs, NOT_SLOWER, time.process_time))
        name = f"stage + CAM, {slices} slices, against OpenVINO's bare forward pass"
        rows.append(_pairs(name, _ours(slices), theirs, pairs, None, time.process_time))
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


def notes() -> list[str]:
    """The CPU's instructions, and what could not be compared."""
    import torch

    known = Path("/proc/cpuinfo")
    flags = set(known.read_text().split()) if known.exists() else set()
    wide = [f for f in ("avx2", "avx512f", "avx512_vnni", "amx_tile", "amx_bf16") if f in flags]
    used, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    told = [f"torch uses {used}, the CPU has {', '.join(wide) or 'none that we know of'}; {threads} threads"]
    return told if has_openvino() else [*told, "OpenVINO is not installed: the forward pass is not compared with it"]


def has_openvino() -> bool:
    """It is no dependency: who wants the comparison installs it."""
    return importlib.util.find_spec("openvino") is not None


def _pairs(
    name: str,
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    pairs: int,
    target: float | None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    ours(), theirs()  # warm: lazy imports, memory pools
    seconds = [(_seconds(theirs, clock), _seconds(ours, clock)) for _ in range(pairs)]
    return {
        "name": name,
        "ours": statistics.median(o for _, o in seconds),
        "theirs": statistics.median(t for t, _ in seconds),
        "ratio": statistics.median(o / t for t, o in seconds),
        "target": target,
        "unit": "s" if clock is time.perf_counter else "CPU s",
    }


def _slices(count: int) -> Any:
    import torch

    return torch.randn(count, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def _ours(slices: int) -> Callable[[], Any]:
    from gtr_batch.explain import GradCamForward
    from gtr_batch.stage.network import GTRNet

    forward, x = GradCamForward(GTRNet("resnet152").ready_for_inference()), _slices(slices)
    return lambda: forward(x, lambda logits: [int(row.argmax()) for row in logits])


def _bare(slices: int) -> Callable[[], Any]:
    from gtr_batch.stage.network import GTRNet

    return _inferred(GTRNet("resnet152").ready_for_inference(), slices)


def _theirs(slices: int) -> Callable[[], Any]:
    from torchvision.models import resnet152

    return _inferred(resnet152(num_classes=4).eval(), slices)


def _inferred(network: Any, slices: int) -> Callable[[], Any]:
    import torch

    x = _slices(slices)

    def forward() -> Any:
        with torch.inference_mode():
            return network(x)

    return forward


def _openvino(slices: int) -> Callable[[], Any]:
    """OpenVINO's pass of GTRNet; where the CPU has AMX it would take bfloat16 if it were not told otherwise."""
    import openvino
    import torch

    from gtr_batch.stage.network import GTRNet

    x = _slices(slices)
    model = openvino.convert_model(GTRNet("resnet152").eval(), example_input=x[:3])
    model.reshape({0: list(x.shape)})
    how = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,
    }
    request, given = openvino.Core().compile_model(model, "CPU", how).create_infer_request(), {0: x.numpy()}
    return lambda: request.infer(given)


def _seconds(work: Callable[[], Any], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start


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
        print(json.dumps({"notes": notes(), "rows": measure()}, indent=1))
