"""Preprocessing against the plain full-volume SimpleITK pipeline, same real series, one run.

``theirs``: read, clamp, resample to 1 mm, window, shrink 4, Otsu, N4, full-size field, divide, resize, z-score.
``ours``: `prepare_case`, which gives the same three slices. Both with files in the page cache and imports done.
Seconds of ours are the median of runs before and after theirs; peak memory is that of a process that does nothing else,
its imports included (torch alone is about 300 MB of ours).
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TARGET = 12.0  # times faster
ROOT = Path(__file__).resolve().parents[2]


def measure(folder: Path) -> list[dict[str, Any]]:
    """Rows of ``bench.json``: name, ours, theirs, ratio, target (None where none is set), unit.

    `folder` holds one CT series and nothing else of DICOM; its middle slice is taken for the key slice.
    """
    key = _middle(folder)
    ours(folder, key)  # warm: lazy imports, page cache
    before = [_seconds(lambda: ours(folder, key)) for _ in range(3)]
    theirs_s = _seconds(lambda: theirs(folder, key))
    after = [_seconds(lambda: ours(folder, key)) for _ in range(3)]
    ours_s = statistics.median(before + after)
    ours_mb, theirs_mb = (_peak_memory_mb(which, folder) for which in ("ours", "theirs"))
    return [
        {
            "name": "preprocessing, times faster than plain full-volume SimpleITK",
            "ours": ours_s,
            "theirs": theirs_s,
            "ratio": theirs_s / ours_s,
            "target": TARGET,
            "unit": "s",
        },
        {
            "name": "preprocessing, peak memory of the process",
            "ours": ours_mb,
            "theirs": theirs_mb,
            "ratio": ours_mb / theirs_mb,
            "target": None,
            "unit": "MB",
        },
    ]


def ours(folder: Path, key: str) -> Any:
    """Three slices by the contract, as the service prepares them."""
    from gtr_batch.domain.model import PreprocessingContract
    from gtr_batch.preprocess import prepare_case

    return prepare_case(folder, key, PreprocessingContract())[0]


def theirs(folder: Path, key: str) -> Any:
    """The same three slices by whole volumes."""
    import numpy as np
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    names = reader.GetGDCMSeriesFileNames(str(folder))
    reader.SetFileNames(names)
    reader.MetaDataDictionaryArrayUpdateOn()
    image = sitk.Clamp(sitk.Cast(reader.Execute(), sitk.sitkFloat32), sitk.sitkFloat32, -1024, 1024)
    index = [reader.GetMetaData(i, "0008|0018").strip("\0 ") for i in range(len(names))].index(key)
    spacing, origin = image.GetSpacing(), list(image.GetOrigin())
    first = index * spacing[2] - math.floor(index * spacing[2] + 1e-4)  # the grid passes through the key slice
    origin[2] += first
    lengths = [(n - 1) * mm for n, mm in zip(image.GetSize(), spacing, strict=True)]
    lengths[2] -= first
    size = [math.floor(length + 1e-4) + 1 for length in lengths]
    iso = sitk.Resample(image, size, sitk.Transform(), sitk.sitkLinear, origin, [1, 1, 1], image.GetDirection(), -1024)
    volume = sitk.IntensityWindowing(iso, -125, 225, 1, 256)
    small = sitk.Shrink(volume, [4, 4, 4])
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.Execute(small, sitk.OtsuThreshold(small, 0, 1, 200))
    corrected = sitk.Divide(volume, sitk.Exp(n4.GetLogBiasFieldAsImage(volume)))
    planes = [round(i * spacing[2] - first) for i in (index - 1, index, index + 1)]
    return np.stack([_network_input(sitk.GetArrayFromImage(corrected[:, :, plane])) for plane in planes])


def _network_input(plane: Any) -> Any:
    import torch

    resized = torch.nn.functional.interpolate(
        torch.from_numpy(plane)[None, None], (224, 224), mode="bilinear", antialias=True, align_corners=False
    )[0, 0]
    return ((resized - resized.mean()) / resized.std(correction=0)).numpy()


def _middle(folder: Path) -> str:
    from gtr_batch.preprocess import read_series

    uids = read_series(folder).sop_instance_uids
    return uids[len(uids) // 2]


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _peak_memory_mb(which: str, folder: Path) -> float:
    """Peak resident memory of a fresh process that prepares one case (VmHWM: ru_maxrss would remember its parent's)."""
    code = (
        "import sys; from pathlib import Path; from tests.bench import bench_preprocess as b;"
        f"b.{which}(Path(sys.argv[1]), sys.argv[2]);"
        "print(next(x.split()[1] for x in open('/proc/self/status') if x.startswith('VmHWM')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), _middle(folder)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1]) / 1024


if __name__ == "__main__":
    json.dump(measure(Path(sys.argv[1])), sys.stdout, indent=2)
