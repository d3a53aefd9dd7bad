"""The GPU's half in one run: staging with heat maps, preparation with N4, copies; nothing where there is no CUDA.

Stage + CAM is measured as a night runs it (`stage_shard`'s pass: host arrays in, host arrays out) against the bare
forward pass of the same network on slices that lie on the card, in the same precision. Answers are compared with the
CPU's on the same slices. Preparation starts from a decoded volume, as the night's step does, and ends with the slices
in host memory. Medians; interleaved where two are compared.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

CASES = (1, 16)  # in a batch, three slices each


def measure() -> list[dict[str, Any]]:
    """Rows of ``bench.json``; none without CUDA."""
    import torch

    if not torch.cuda.is_available():
        return []
    return [*_staging(), *_answers(), *_preparation()]


def _row(name: str, ours: float, theirs: float, ratio: float, target: float | None, unit: str) -> dict[str, Any]:
    return {"name": name, "ours": ours, "theirs": theirs, "ratio": ratio, "target": target, "unit": unit}


def _staging() -> list[dict[str, Any]]:
    """Slices a second, ours against the bare forward pass, in full float32 and in bfloat16."""
    import numpy as np
    import torch

    from gtr_batch.explain import GradCamForward
    from gtr_batch.stage.network import GTRNet
    from gtr_batch.stage.predict import _same_answer_everywhere

    torch.manual_seed(0)
    network = GTRNet("resnet152").eval().cuda().to(memory_format=torch.channels_last)
    forward = GradCamForward(network)
    rows = []
    for cases in CASES:
        host = np.random.default_rng(0).normal(size=(3 * cases, 224, 224)).astype(np.float32)
        fixed = torch.from_numpy(host).cuda()[:, None].expand(-1, 3, -1, -1)
        fixed = fixed.contiguous(memory_format=torch.channels_last)

        def ours(host: Any = host) -> Any:
            x = torch.from_numpy(host).cuda()[:, None].expand(-1, 3, -1, -1)
            return forward(
                x.contiguous(memory_format=torch.channels_last), lambda logits: [int(r.argmax()) for r in logits]
            )

        def bare(fixed: Any = fixed) -> None:
            with torch.inference_mode():
                network(fixed)
            torch.cuda.synchronize()

        for precision in ("float32", "bfloat16"):
            around = {
                "float32": nullcontext,
                "bfloat16": lambda: torch.autocast("cuda", torch.bfloat16),
            }[precision]

            def timed(work: Callable[[], Any], around: Any = around) -> float:
                with _same_answer_everywhere(), around():
                    torch.cuda.synchronize()
                    began = time.perf_counter()
                    work()
                    torch.cuda.synchronize()
                    return time.perf_counter() - began

            for _ in range(3):
                timed(ours), timed(bare)
            pairs = [(timed(ours), timed(bare)) for _ in range(15)]
            rows.append(
                _row(
                    f"GPU, stage + CAM, {3 * cases} slices, {precision}: as fast as the bare forward pass, or faster",
                    3 * cases / statistics.median(o for o, _ in pairs),
                    3 * cases / statistics.median(b for _, b in pairs),
                    statistics.median(b / o for o, b in pairs),
                    0.8,
                    "slices/s",
                )
            )
        copied = statistics.median(_seconds(lambda host=host: torch.from_numpy(host).cuda()) for _ in range(15))
        passed = statistics.median(_seconds(bare) for _ in range(15))
        rows.append(
            _row(
                f"GPU, {3 * cases} slices, copy to the card against the pass",
                copied,
                passed,
                copied / passed,
                None,
                "s",
            )
        )
    return rows


def _answers() -> list[dict[str, Any]]:
    """Largest differences of logits and heat from the CPU's, in full float32 and in bfloat16."""
    import copy

    import numpy as np
    import torch

    from gtr_batch.explain import GradCamForward
    from gtr_batch.stage.network import GTRNet
    from gtr_batch.stage.predict import _same_answer_everywhere

    torch.manual_seed(0)
    cpu = GTRNet("resnet152").eval()
    gpu = copy.deepcopy(cpu).cuda()
    x = torch.randn(12, 1, 224, 224, generator=torch.Generator().manual_seed(1)).expand(-1, 3, -1, -1)
    x = x.clone()

    def choose(logits: Any) -> list[int]:
        return [int(row.argmax()) for row in logits]

    _, logits, heat = GradCamForward(cpu)(x, choose)
    rows = []
    for precision in ("float32", "bfloat16"):
        autocast = torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16")
        with _same_answer_everywhere(), autocast:
            _, ours, ours_heat = GradCamForward(gpu)(x.cuda(), choose)
        scale = float(np.abs(logits).max())
        same = int((ours.argmax(1) == logits.argmax(1)).sum())
        rows += [
            _row(
                f"GPU, {precision}: difference of a logit from the CPU's, of the largest ({same}/12 same)",
                float(np.abs(ours - logits).max()),
                scale,
                float(np.abs(ours - logits).max()) / scale,
                1e-4 if precision == "float32" else None,
                "logit",
            ),
            _row(
                f"GPU, {precision}: largest difference of a heat map's pixel from the CPU's",
                float(np.abs(ours_heat - heat).max()),
                1.0,
                float(np.abs(ours_heat - heat).max()),
                1e-2 if precision == "float32" else None,
                "heat",
            ),
        ]
    return rows


def _preparation() -> list[dict[str, Any]]:
    """Seconds a case from the decoded volume to three prepared slices, card against CPU, and the largest difference."""
    import numpy as np

    from gtr_batch.domain.model import PreprocessingContract
    from gtr_batch.preprocess import Volume, prepare_volume
    from tests.phantoms import abdomen_hu

    hu = abdomen_hu(87, 512) + np.linspace(40, -40, 512)
    volume = Volume.from_hu(np.where(hu > -500, hu, -1000).astype(np.int16), (5.0, 0.75, 0.75))
    contract = PreprocessingContract()

    def on(device: str) -> Any:
        return prepare_volume(volume, 40, contract, device=device)[0]

    apart = float(np.abs(on("cuda") - on("cpu")).max())
    pairs = [(_seconds(lambda: on("cuda")), _seconds(lambda: on("cpu"))) for _ in range(5)]
    ours, theirs = (statistics.median(x) for x in zip(*pairs, strict=True))
    return [
        _row(
            "GPU, preparation with N4, 87 slices, against one CPU thread",
            ours,
            theirs,
            ours / theirs,
            None,
            "s",
        ),
        _row("GPU, preparation with N4, seconds a case", ours, 1.0, ours, 0.1, "s"),
        _row("GPU, preparation: largest difference of a prepared slice from the CPU's", apart, 1.0, apart, 1e-3, "SD"),
    ]


def _seconds(work: Callable[[], Any]) -> float:
    import torch

    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


if __name__ == "__main__":
    json.dump(measure(), sys.stdout, indent=1)
