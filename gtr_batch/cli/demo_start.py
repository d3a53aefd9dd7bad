"""What the four demos share: how the hospital comes up, how a DAG's run is watched, how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape
from rich.progress import Progress

from gtr_batch.cli.shell import RED, bars, err, out

if TYPE_CHECKING:
    from gtr_batch.simulation.demos.demo import Demo
    from gtr_batch.simulation.demos.story import Story


def play(folder: Path, act: Callable[[Path], bool], *, stay: Callable[[Path], None] | None = None) -> None:
    """Run a demo and stop what it started; the command's exit code is 0 where `act` says that all is well.

    With `stay`, what was started stays up after an act that came to its end, and `stay` says where it is.
    """
    from gtr_batch.simulation.demos.demo import stop

    folder, ended = folder.resolve(), False
    try:
        right = act(folder)
        ended = True
    finally:
        if stay is None or not ended:
            stop(folder)
    if stay is not None:
        stay(folder)
    raise typer.Exit(0 if right else RED)


def start_hospital(
    folder: Path,
    admit: Callable[[Demo], None],
    *,
    settings: str = "",
    artefact: Path | None = None,
    pacs: str = "to the PACS",
) -> Demo:
    """Bring up database, Airflow and PACS in an empty folder.

    Parameters
    ----------
    folder : Path
        Emptied first.
    admit : callable
        Makes the patients, while Airflow comes up.
    settings : str
        TOML beside the demo's own; ``{folder}`` is the folder.
    artefact : Path, optional
        Another model than the demo's own.
    pacs : str
        Title of the bar while the PACS is filled; empty: this demo needs no PACS.

    Raises
    ------
    ConfigError
        A demo of this folder is up, or a server does not start.
    """
    from gtr_batch.simulation.demos.demo import ARTEFACT, Demo

    demo = Demo(folder, artefact=artefact or ARTEFACT)
    demo.clear()
    with step("PostgreSQL and its schema"):
        demo.start_database(settings.format(folder=folder))
    with step("Airflow's own database"):
        demo.prepare_airflow()
    with step("Airflow: API server, scheduler, DAG processor, triggerer"):
        demo.start_airflow()
    admit(demo)
    if pacs:
        with counting(pacs) as progress:
            demo.start_pacs(progress)
    with step("DAGs parsed"):
        demo.wait_for_airflow()
    return demo


def end(began: float, right: bool, well: str, ill: str, story: Story | None = None) -> bool:
    """Print what happened, the verdict and how long it took since `began`, of `time.monotonic`; returns the verdict."""
    for line in story.lines if story else ():
        out.print(escape(line), highlight=False)
    show_wrong(story.wrong if story else ())
    took = time.monotonic() - began
    out.print(f"{well if right else ill}; {took // 60:.0f} min {took % 60:.0f} s", highlight=False)
    return right


def show_wrong(sentences: Sequence[str]) -> None:
    """What is not as it should be, on standard error."""
    for sentence in sentences:
        err.print(f"[bold red]not as it should be:[/] {escape(sentence)}", highlight=False)


@contextmanager
def step(what: str) -> Iterator[None]:
    """A line when a longer piece of work begins and its seconds when it is done."""
    started = time.monotonic()
    with err.status(what):
        yield
    out.print(f"  {what}: {time.monotonic() - started:.1f} s", highlight=False)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of which each (done, total) is told."""
    with bars() as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def tasks_of(title: str) -> Iterator[TaskProgress]:
    """A bar for a DAG's run; gives what its task instances are told to."""
    with bars() as progress:
        yield TaskProgress(progress, title)


class TaskProgress:
    """A bar for the run, and a line for each task that ends."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._bar = progress.add_task(title, total=None)
        self._shown: set[tuple[str, int]] = set()

    def __call__(self, instances: list[dict[str, Any]]) -> None:
        ended = [i for i in instances if i["state"] in ("success", "failed", "skipped", "upstream_failed")]
        for i in ended:
            key = (i["task_id"], i["map_index"])
            if key not in self._shown:
                self._shown.add(key)
                shard = f" shard {i['map_index'] + 1}" if i["map_index"] >= 0 else ""
                took = f"{i['duration']:.1f} s" if i.get("duration") else ""
                self._progress.console.print(f"  {i['task_id']}{shard}: {i['state']} {took}", highlight=False)
        self._progress.update(self._bar, completed=len(ended), total=len(instances) or None)
