"""The audit's half: `gtr audit metrics` of a million rows, against its target in seconds of a core.

The table is simulated: patients with one or more rows, a stage each, probabilities that mean something. The command
runs in a process of its own with the default thousand draws.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROWS, PATIENTS = 1_000_000, 700_000
TARGET_S = 10.0


def measure() -> list[dict[str, Any]]:
    """Rows of ``bench.json``; see `tests.bench.bench_stage.measure`."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "rows.csv"
        write_table(table)
        command = [sys.executable, "-c", "from gtr_batch.cli import app; app()", "audit", "metrics"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [*command, "--table", str(table), "--label", "label", "--patient", "patient"],
            capture_output=True,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return [
        {
            "name": f"`gtr audit metrics` of {ROWS:,} rows, against its target",
            "ours": seconds,
            "theirs": TARGET_S,
            "ratio": seconds / TARGET_S,
            "target": 1.0,
            "unit": "s of a core",
        }
    ]


def write_table(path: Path, rows: int = ROWS, patients: int = PATIENTS, seed: int = 1) -> None:
    """A CSV as `gtr audit metrics` reads it."""
    rng = np.random.default_rng(seed)
    label = rng.integers(4, size=rows)
    p = rng.dirichlet(np.ones(4), size=rows)
    p[np.arange(rows), label] += 0.5
    p = (p / p.sum(axis=1, keepdims=True)).round(6)
    p[:, 3] = 1 - p[:, :3].sum(axis=1)
    columns = np.column_stack([label, p, rng.integers(patients, size=rows)])
    with path.open("w") as file:
        file.write("label,p1,p2,p3,p4,patient\n")
        np.savetxt(file, columns, fmt=["%d", *["%.6f"] * 4, "P%07d"], delimiter=",")
