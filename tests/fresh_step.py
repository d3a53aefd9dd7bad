"""``python -m tests.fresh_step STEP NIGHT SHARD``: one step in a process that has imported nothing, as a task's is.

Settings come from the environment. The last line on standard output is JSON: what the step returned, the modules that
were imported by its end, and what the process cost.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

PATH = (
    "query_pacs",
    "intake",
    "canary",
    "retrieve",
    "validate",
    "preprocess",
    "stage",
    "nomogram",
    "report",
    "deliver",
    "close_night",
)
NIGHT_ONLY = ("query_pacs", "canary", "close_night")  # the others are given studies or a shard too


def in_fresh_process(
    step: str, night: date, shard: Sequence[Any], environ: Mapping[str, str], *options: str
) -> dict[str, Any]:
    """Run a step in a fresh interpreter (`options` are Python's); returns its JSON line and ``stderr``.

    Raises
    ------
    RuntimeError
        It failed; with the end of what it wrote.
    """
    command = [sys.executable, *options, "-m", "tests.fresh_step", step, str(night), json.dumps(list(shard))]
    done = subprocess.run(command, cwd=ROOT, env=dict(environ), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{step}: {done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "stderr": done.stderr}


def night_in_fresh_processes(night: date, environ: Mapping[str, str], *options: str) -> dict[str, dict[str, Any]]:
    """A night of one shard, each step of `PATH` by `in_fresh_process`; what each said, by its name."""
    seen: dict[str, dict[str, Any]] = {}
    handed: Sequence[Any] = ()
    for step in PATH:
        seen[step] = in_fresh_process(step, night, handed, environ, *options)
        if step == "query_pacs":
            handed = seen[step]["returned"]
        elif step == "intake":
            [handed] = seen[step]["returned"]
    return seen


def _run(step: str, night: date, shard: list[Any]) -> object:
    from gtr_batch import night as steps
    from gtr_batch import wiring

    with wiring.open_site() as site:
        if step in NIGHT_ONLY:
            return getattr(steps, step)(site, night)
        return getattr(steps, step)(site, night, shard)


def main() -> None:
    """Run the step that the command line names."""
    began = time.perf_counter()
    returned = _run(sys.argv[1], date.fromisoformat(sys.argv[2]), json.loads(sys.argv[3]))
    used = resource.getrusage(resource.RUSAGE_SELF)
    [peak] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line[:6] == "VmHWM:"]
    print(
        json.dumps(
            {
                "returned": returned,
                "modules": sorted(sys.modules),
                "cpu_s": used.ru_utime + used.ru_stime,
                "wall_s": time.perf_counter() - began,
                "peak_mb": int(peak) / 1024,
            },
            default=str,
        )
    )


if __name__ == "__main__":
    main()
