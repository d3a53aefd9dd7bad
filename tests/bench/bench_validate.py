"""Intake and validation of a case of three phases against plain pydicom that decodes the same slices, in one run.

``theirs``: ``dcmread(path).pixel_array`` of every slice that ours looks at: the least that any judgement of them costs.
``ours``: `read_probe` of three series and the choice among them, then `validate_shard` of the chosen one; what the
probes showed is handed on, as the night does it. No PACS and no database. Validation is of a shard of `SHARD` cases,
since one Great Expectations run serves a shard; what is told is one case's share. Seconds are of processor time: the
median of rounds that take turns, files in the page cache, imports done.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIMIT_S = 0.8  # that intake and validation of a case may cost
SHARD = 8
PHASES = 3
ROUNDS = 3


def measure(folder: Path) -> list[dict[str, Any]]:
    """Rows of ``bench.json``; `folder` holds one CT series, which stands for each of the phases."""
    paths = _by_number(folder)
    ours(folder, paths)  # warm: lazy imports, page cache
    seconds = [(_seconds(lambda: ours(folder, paths)) / SHARD, _seconds(lambda: theirs(paths))) for _ in range(ROUNDS)]
    ours_s = statistics.median(ours_s for ours_s, _ in seconds)
    theirs_s = statistics.median(theirs_s for _, theirs_s in seconds)
    what = f"intake + validation, {PHASES} phases, {len(paths)} slices"
    return [
        {
            "name": f"{what}, against pydicom's decoding of them",
            "ours": ours_s,
            "theirs": theirs_s,
            "ratio": statistics.median(ours_s / theirs_s for ours_s, theirs_s in seconds),
            "target": None,
            "unit": "s CPU",
        },
        {
            "name": f"{what}, against what a case may cost",
            "ours": ours_s,
            "theirs": LIMIT_S,
            "ratio": ours_s / LIMIT_S,
            "target": 1.0,
            "unit": "s CPU",
        },
    ]


def ours(folder: Path, paths: list[Path]) -> None:
    """Intake and validation of a shard of equal cases."""
    import structlog

    from gtr_batch.config import ValidateConfig
    from gtr_batch.domain.series import SeriesEvidence, SeriesRecord
    from gtr_batch.intake import read_probe, select_portal_venous
    from gtr_batch.validate import CaseFiles, validate_shard

    config, cases = ValidateConfig(), []
    with structlog.testing.capture_logs():
        for case in range(SHARD):
            read = [read_probe(_probes(paths), instances=len(paths)) for _ in range(PHASES)]
            records = [SeriesRecord("1.2.3", f"1.2.3.{phase}", "CT") for phase in range(PHASES)]
            select_portal_venous([SeriesEvidence(r, *probe) for r, probe in zip(records, read, strict=True)], config)
            cases.append(CaseFiles(f"case-{case}", folder, measured=read[-1].measured))
        validate_shard(cases, config)


def theirs(paths: list[Path]) -> None:
    """The probes of three series and all slices of one."""
    import pydicom

    for path in [*_probes(paths) * PHASES, *paths]:
        _ = pydicom.dcmread(path).pixel_array


def _probes(paths: list[Path]) -> list[Path]:
    from gtr_batch.intake import probe_indices

    return [paths[place] for place in probe_indices(len(paths))]


def _by_number(folder: Path) -> list[Path]:
    import pydicom

    def number(path: Path) -> int:
        return int(pydicom.dcmread(path, stop_before_pixels=True).get("InstanceNumber") or 0)

    return sorted(sorted(folder.glob("*.dcm")), key=number)


def _seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    json.dump(measure(Path(sys.argv[1])), sys.stdout, indent=2)
