"""``python -m tests.bench [--ct FOLDER] [--out bench.json]``: ratios against the plain way, each taken in one run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import (
    bench_audit,
    bench_gpu,
    bench_pacs,
    bench_preprocess,
    bench_stage,
    bench_start,
    bench_train,
    bench_validate,
)

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "ct" / "tcga_coad_siemens"


def main() -> None:
    """Measure, print and write ``bench.json`` (name, ours, theirs, ratio, target, unit)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ct", type=Path, help="folder of one real CT series; default: real data beside the checkout")
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    given = parser.parse_args()
    console = Console(width=130)
    with tempfile.TemporaryDirectory() as scratch, console.status("intake and validation ...") as status:
        series, what = _series(given.ct, Path(scratch))
        rows = bench_validate.measure(series)
        status.update("preprocessing ...")
        rows += bench_preprocess.measure(series)
        status.update("imports and start-up ...")
        rows += bench_start.measure()
        status.update("audit metrics ...")
        rows += bench_audit.measure()
        status.update("stage + CAM ...")
        rows += bench_stage.measure()
        status.update("training ...")
        rows += bench_train.measure()
        status.update("PACS ...")
        rows += bench_pacs.measure()
        status.update("GPU ...")
        rows += bench_gpu.measure()
    table = Table(title=f"{os.cpu_count()} cores, {platform.machine()}; series: {what}")
    for heading in ("what", "ours", "theirs", "unit", "ratio", "target", ""):
        table.add_column(heading, justify="left" if heading in ("what", "unit", "") else "right")
    for row in rows:
        target = row["target"]
        faster = "faster" in row["name"]
        met = "" if target is None else ("met" if (row["ratio"] >= target) == faster else "[bold red]missed[/]")
        bound = "" if target is None else f"{'>=' if faster else '<='} {target:g}"
        table.add_row(
            row["name"], f"{row['ours']:.2f}", f"{row['theirs']:.2f}", row["unit"], f"{row['ratio']:.2f}", bound, met
        )
    console.print(table)
    for note in bench_stage.notes():
        console.print(note)
    given.out.write_text(json.dumps(rows, indent=1) + "\n")
    console.print(f"written to {given.out}")


def _series(given: Path | None, scratch: Path) -> tuple[Path, str]:
    if given is not None:
        return given, "as given"
    if REAL.is_dir():
        return REAL, "real, tcga_coad_siemens"
    from tests.phantoms import abdomen_hu, write_series

    write_series(scratch / "ct", abdomen_hu(87), thickness_mm=5.0)
    return scratch / "ct", "simple phantom, 87 slices (no real series is here)"


if __name__ == "__main__":
    main()
