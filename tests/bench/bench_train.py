"""Training of GTRNet on ResNet-152 against bare torchvision ResNet-152 steps, in one run.

``ours``: the loop's own batches (memory-mapped slices, prefetching, augmentation) through forward, backward and Adam.
``theirs``: torchvision's ResNet-152, the same batch size, tensors in memory, no augmentation. Rates in images a second;
interleaved pairs, the ratio the median of the pairs' ratios.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

TARGET = 0.9
BATCH, PAIRS = 8, 3


def measure() -> list[dict[str, Any]]:
    """One row of ``bench.json``."""
    import numpy as np
    import torch
    from torch.nn import functional
    from torchvision.models import resnet152

    from gtr_batch.stage.network import GTRNet
    from gtr_batch.training.loop import PreparedSlices, Settings, _rngs, batches

    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch = 64 if device == "cuda" else BATCH
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "slices.npy"
        shown = batch * (16 if device == "cuda" else 1)  # on a GPU one batch is over before the next is fetched
        np.save(path, np.random.default_rng(0).normal(size=(shown, 3, 224, 224)).astype(np.float16))
        cohort = PreparedSlices(np.load(path, mmap_mode="r"), np.arange(shown) % 4)
        settings = Settings(batch=batch)

        def step(network: Any, optimiser: Any, images: Any, stages: Any) -> None:
            with torch.autocast("cuda", torch.bfloat16, enabled=device == "cuda"):
                loss = functional.cross_entropy(network(images).float(), stages)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            if device == "cuda":
                torch.cuda.synchronize()

        layout = torch.channels_last if device == "cuda" else torch.contiguous_format
        ours, theirs = (
            n.to(device, memory_format=layout).train() for n in (GTRNet("resnet152"), resnet152(num_classes=4))
        )
        adams = [torch.optim.Adam(n.parameters(), lr=1e-4) for n in (ours, theirs)]
        fixed = torch.randn(batch, 3, 224, 224, device=device).contiguous(memory_format=layout)
        labels = torch.arange(batch, device=device) % 4
        epoch = iter(range(1000))

        def our_rate() -> float:
            began = time.perf_counter()
            for images, stages in batches(cohort, settings, _rngs(settings, 0, next(epoch)), device):
                step(ours, adams[0], images, stages)
            return shown / (time.perf_counter() - began)

        def their_rate() -> float:
            began = time.perf_counter()
            for _ in range(shown // batch):
                step(theirs, adams[1], fixed, labels)
            return shown / (time.perf_counter() - began)

        our_rate(), their_rate()  # warm
        pairs = [(our_rate(), their_rate()) for _ in range(PAIRS if device == "cpu" else 20)]
    return [
        {
            "name": f"training, ResNet-152, batch {batch}, {device}: faster or as fast as bare steps",
            "ours": statistics.median(o for o, _ in pairs),
            "theirs": statistics.median(t for _, t in pairs),
            "ratio": statistics.median(o / t for o, t in pairs),
            "target": TARGET,
            "unit": "images/s",
        }
    ]
