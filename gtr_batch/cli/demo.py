"""`gtr demo`: a night of the synthetic hospital, from PACS to PACS, through the real Airflow."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from gtr_batch.cli.shell import RED, bars, err, out, speaks_plainly
from gtr_batch.cli.table import show_night

app = typer.Typer(help="A night of the synthetic hospital through the real Airflow.", no_args_is_help=True)
Folder = Annotated[Path, typer.Option(help="Where the demo lives.")]
Ct = Annotated[Path | None, typer.Option(help="Folder of a real CT series: one more patient of the night.")]
Key = Annotated[str | None, typer.Option(help="Its key slice: a SOP Instance UID or an instance number.")]
Artefact = Annotated[Path | None, typer.Option(help="Another model artefact than the demo's own.")]
HERE = Path(".demo")


@app.command()
@speaks_plainly
def run(folder: Folder = HERE, ct: Ct = None, key_slice: Key = None, artefact: Artefact = None) -> None:
    """Set everything up, run the night, print its cases, stop everything; 0 only if every case ended as it should."""
    from gtr_batch.simulation.demos.demo import stop

    try:
        right = _night(folder.resolve(), ct, key_slice, artefact)
    finally:
        stop(folder.resolve())
    raise typer.Exit(0 if right else RED)


@app.command("training")
@speaks_plainly
def training(
    folder: Folder = Path(".demo-training"),
    patients: Annotated[int, typer.Option(help="Operated patients of the year.")] = 280,
) -> None:
    """Simulate a year of operated patients, run the retraining DAG, open the holdout; 0 if better than untrained."""
    from gtr_batch.simulation.demos.demo import stop

    folder = folder.resolve()
    try:
        right = _training(folder, patients)
    finally:
        stop(folder)
    raise typer.Exit(0 if right else RED)


@app.command()
@speaks_plainly
def up(folder: Folder = HERE, ct: Ct = None, key_slice: Key = None, artefact: Artefact = None) -> None:
    """The same, and stay up for a look around; `gtr demo down` ends it."""
    from gtr_batch.simulation.demos.demo import stop

    folder = folder.resolve()
    done = False
    try:
        right = _night(folder, ct, key_slice, artefact)
        done = True
    finally:
        if not done:
            stop(folder)
    where(folder)
    raise typer.Exit(0 if right else RED)


@app.command()
@speaks_plainly
def down(folder: Folder = HERE) -> None:
    """Stop what `up` started, and only that."""
    from gtr_batch.simulation.demos.demo import stop

    out.print(f"{stop(folder.resolve())} processes stopped")


@app.command()
@speaks_plainly
def where(folder: Folder = HERE) -> None:
    """Address and password of a demo that is up, and what to try."""
    import json

    from gtr_batch.simulation.demos.demo import running

    folder = folder.resolve()
    if not running(folder):
        err.print(f"no demo is up in {folder}; `make up` starts one")
        raise typer.Exit(RED)
    started = json.loads((folder / "started.json").read_text())
    password = json.loads((folder / "airflow" / "passwords.json").read_text())["admin"]
    out.print(f"Airflow:  {started['url']}  user admin, password {password}", highlight=False)
    out.print(f"try:      GTR_CONFIG={folder / 'gtr.toml'} gtr status | gtr doctor | gtr pacs echo", highlight=False)
    out.print("stop:     make down")


def _night(folder: Path, ct: Path | None, key_slice: str | None, artefact: Path | None) -> bool:
    from gtr_batch.simulation.demos.demo import ARTEFACT, Demo
    from gtr_batch.simulation.demos.showcase import show_results

    began = time.monotonic()
    demo = Demo(folder, artefact=artefact or ARTEFACT)
    demo.clear()
    with step("PostgreSQL and its schema"):
        demo.start_database()
    with step("Airflow's own database"):
        demo.prepare_airflow()
    with step("Airflow: API server, scheduler, DAG processor, triggerer"):
        demo.start_airflow()  # it comes up while the patients are made
    with step("the night's patients"):
        demo.admit(ct, key_slice)
    with bars() as progress:
        task = progress.add_task("to the PACS", total=None)
        demo.start_pacs(lambda done, total: progress.update(task, completed=done, total=total))
    with step("DAGs parsed"):
        demo.wait_for_airflow()
    for dag_id, conf in (("ehr_refresh", {}), ("nightly_staging", {"night": str(demo.night)})):
        with bars() as progress:
            state = demo.run(dag_id, conf, TaskProgress(progress, dag_id), timeout_s=420)
        colour = "green" if state == "success" else "red"
        out.print(f"[{colour}]{dag_id}: {state}[/]")
        if state != "success" and dag_id == "ehr_refresh":
            return False
    os.environ.update(demo.environ)
    rows, wrong = _rows(demo)
    show_night(out, demo.night, rows)
    out.print(demo.agreement(rows), highlight=False)
    for line in show_results(demo, rows):
        out.print(line, highlight=False)
    for sentence in wrong:
        err.print(f"[bold red]not as it should be:[/] {sentence}", highlight=False)
    took = time.monotonic() - began
    verdict = (
        "every case ended as it should" if not wrong and state == "success" else "NOT every case ended as it should"
    )
    out.print(f"{verdict}; {took // 60:.0f} min {took % 60:.0f} s", highlight=False)
    return not wrong and state == "success"


def _training(folder: Path, patients: int) -> bool:
    from gtr_batch.simulation.demos import training as demo_training
    from gtr_batch.simulation.demos.demo import Demo
    from gtr_batch.simulation.hospital.year import Year

    began = time.monotonic()
    demo = Demo(folder)
    demo.clear()
    with step("PostgreSQL and its schema"):
        demo.start_database(demo_training.SETTINGS.format(folder=folder))
    with step("Airflow's own database"):
        demo.prepare_airflow()
    demo.start_airflow()  # it comes up while the patients are made
    year = Year(patients=patients)
    with bars() as progress:
        task = progress.add_task("a year of patients", total=None)
        demo_training.prepare(demo, year, lambda done, total: progress.update(task, completed=done, total=total))
    with bars() as progress:
        task = progress.add_task("the oldest to the PACS", total=None)
        demo.start_pacs(lambda done, total: progress.update(task, completed=done, total=total))
    with step("DAGs parsed"):
        demo.wait_for_airflow()
    with bars() as progress:
        found = demo_training.run(demo, TaskProgress(progress, "retraining"))
    if found.state != "success" or found.holdout is None:
        err.print(f"[bold red]retraining: {found.state}[/]; see {demo.stack.url if demo.stack else folder}")
        return False
    holdout = found.holdout
    own, twin = holdout.accuracy_ci or (0.0, 1.0), holdout.untrained_ci or (0.0, 1.0)
    better = own[0] > twin[1]
    for line in (
        f"candidate {found.version[:12]} of cohort {found.cohort[:12]}",
        f"sealed holdout, {holdout.n} patients that no training saw ({holdout.origins}):",
        f"  accuracy {holdout.accuracy:.3f} ({own[0]:.3f} to {own[1]:.3f})",
        f"  untrained twin {holdout.untrained_accuracy:.3f} ({twin[0]:.3f} to {twin[1]:.3f}); chance 0.25",
        f"  quadratic kappa {holdout.quadratic_kappa:.3f}; confusion {[list(row) for row in holdout.confusion]}",
        f"report: {found.report}",
    ):
        out.print(line, highlight=False)
    took = time.monotonic() - began
    verdict = "better than untrained, and not by chance" if better else "NOT better than untrained beyond chance"
    out.print(f"{verdict}; {took // 60:.0f} min {took % 60:.0f} s", highlight=False)
    return better


def _rows(demo: Any) -> tuple[list[dict[str, Any]], list[str]]:
    from gtr_batch.night.close import case_rows
    from gtr_batch.wiring import open_site

    with open_site() as site:
        rows = case_rows(site, demo.night)
    return rows, demo.judge(rows)


@contextmanager
def step(what: str) -> Iterator[None]:
    """A line when a longer piece of work begins and its seconds when it is done."""
    started = time.monotonic()
    with err.status(what):
        yield
    out.print(f"  {what}: {time.monotonic() - started:.1f} s", highlight=False)


class TaskProgress:
    """A bar for the run, and a line for each task that ends."""

    def __init__(self, progress: Progress, dag_id: str) -> None:
        self._progress = progress
        self._bar = progress.add_task(dag_id, total=None)
        self._told: set[tuple[str, int]] = set()

    def __call__(self, instances: list[dict[str, Any]]) -> None:
        ended = [i for i in instances if i["state"] in ("success", "failed", "skipped", "upstream_failed")]
        for i in ended:
            key = (i["task_id"], i["map_index"])
            if key not in self._told:
                self._told.add(key)
                shard = f" shard {i['map_index'] + 1}" if i["map_index"] >= 0 else ""
                took = f"{i['duration']:.1f} s" if i.get("duration") else ""
                self._progress.console.print(f"  {i['task_id']}{shard}: {i['state']} {took}", highlight=False)
        self._progress.update(self._bar, completed=len(ended), total=len(instances) or None)
