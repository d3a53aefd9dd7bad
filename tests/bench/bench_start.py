"""What a process costs before it works: imports of a task, the memory that forked tasks share, the start of `gtr`.

``ours``: a task that is forked from a parent with the libraries (`gtr_airflow.preload`); ``theirs``: the same imports
in an interpreter of its own. Seconds are of a processor (user and system), whatever else the machine does. Memory is
the proportional set size (PSS) of each of `TASKS` processes that live at once: what is shared counts once, by shares.
For the start of `gtr`, ``theirs`` is the target, in seconds of a processor.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TASKS = 4
RUNS = 3
_SITE = "from gtr_batch import night, wiring\nimport gtr_batch.db, gtr_batch.pacs"
#: What each task imports by the end of its work, beside a site.
IMPORTS = {
    "query_pacs": "",
    "validate": "import gtr_batch.validate.pixels, gtr_batch.validate.expectations, great_expectations",
    "preprocess": "import gtr_batch.preprocess.prepare, gtr_batch.stage.network",
    "stage": "import gtr_batch.stage.network, pytorch_grad_cam",
    "nomogram": "import gtr_batch.nomogram, gtr_batch.stage",
    "report": "import gtr_batch.report, gtr_batch.preprocess, gtr_batch.explain, matplotlib.font_manager",
}
COMMANDS = {
    "gtr --help": (["--help"], 0.3),
    "gtr status, without a night": (["status"], 1.0),
}

_CHILD = """
import json, os, resource, sys
def used():
    one = resource.getrusage(resource.RUSAGE_SELF)
    return one.ru_utime + one.ru_stime
def pss_mb():
    with open("/proc/self/smaps_rollup") as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
def task(code, to, wait):
    before = used() if to != 1 else 0.0
    exec(code)
    spent = used() - before
    os.write(to, b"x")          # all tasks live before any is measured
    os.read(wait, 1)
    return {"cpu_s": spent, "pss_mb": pss_mb()}
"""


def measure() -> list[dict[str, Any]]:
    """Rows of ``bench.json``; see `tests.bench.bench_stage.measure`."""
    rows = []
    forked, fresh = _forked(), _fresh()
    for step in IMPORTS:
        rows.append(_row(f"imports of `{step}`, forked against fresh", forked[step][0], fresh[step][0], "s of a core"))
    rows.append(
        _row(
            f"memory of a task, {TASKS} at once, forked against fresh",
            statistics.mean(mb for _, mb in forked.values()),
            statistics.mean(mb for _, mb in fresh.values()),
            "MB",
        )
    )
    rows += [_command(name, arguments, target) for name, (arguments, target) in COMMANDS.items()]
    return rows


def _row(name: str, ours: float, theirs: float, unit: str, target: float | None = None) -> dict[str, Any]:
    return {"name": name, "ours": ours, "theirs": theirs, "ratio": ours / theirs, "target": target, "unit": unit}


def _environ() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins")])
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GTR_")}
    return {**kept, "PYTHONPATH": path, "GX_ANALYTICS_ENABLED": "False", "OMP_NUM_THREADS": "1"}


def _forked() -> dict[str, tuple[float, float]]:
    """CPU seconds and PSS of each step's imports in forks of one parent, `TASKS` at a time."""
    script = f"""{_CHILD}
import gc
from gtr_airflow.preload import import_libraries
import_libraries()
gc.freeze()                     # as LocalExecutor and the Celery provider do
found, steps = {{}}, json.loads(sys.argv[1])
for at in range(0, len(steps), {TASKS}):
    pipes = []
    for name, code in steps[at:at + {TASKS}]:
        out, ready, go = os.pipe(), os.pipe(), os.pipe()
        if not (child := os.fork()):
            os.write(out[1], json.dumps(task(code, ready[1], go[0])).encode())
            os.read(go[0], 1)
            os._exit(0)
        pipes.append((name, child, out, ready, go))
    for _, _, _, ready, _ in pipes: os.read(ready[0], 1)
    for *_, go in pipes: os.write(go[1], b"x")
    for name, _, out, _, _ in pipes: found[name] = json.loads(os.read(out[0], 1000))
    for *_, go in pipes: os.write(go[1], b"x")
    for _, child, *_ in pipes: os.waitpid(child, 0)
print(json.dumps(found))
"""
    steps = [(name, f"{_SITE}\n{code}") for name, code in IMPORTS.items()]
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(steps)], env=_environ(), capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: (one["cpu_s"], one["pss_mb"]) for name, one in found.items()}


def _fresh() -> dict[str, tuple[float, float]]:
    """The same in interpreters of their own."""
    names, found = list(IMPORTS), {}
    for at in range(0, len(names), TASKS):
        live = []
        for name in names[at : at + TASKS]:
            code = f"{_SITE}\n{IMPORTS[name]}"
            script = f"{_CHILD}\nprint(json.dumps(task({code!r}, 1, 0)), flush=True)\nos.read(0, 1)"
            live.append(
                subprocess.Popen(
                    [sys.executable, "-c", script], env=_environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
        pipes = [(one.stdin, one.stdout) for one in live]
        for _, said in pipes:
            said.read(1)  # ready
        for told, _ in pipes:
            told.write(b"x")
            told.flush()
        for name, (_, said) in zip(names[at : at + TASKS], pipes, strict=True):
            one = json.loads(said.readline())
            found[name] = (one["cpu_s"], one["pss_mb"])
        for one in live:
            one.communicate(b"x")
    return found


def _command(name: str, arguments: list[str], target: float) -> dict[str, Any]:
    """CPU seconds of a command, the median of `RUNS`, against its target."""
    command = [sys.executable, "-c", "from gtr_batch.cli import app; app()", *arguments]
    seconds = []
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=_environ(), capture_output=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return _row(f"`{name}`, against its target", statistics.median(seconds), target, "s of a core", 1.0)
