"""`gtr demo retraining`: a model's whole life in the synthetic hospital, through the real Airflow."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from gtr_batch.cli.demo import TaskProgress, step
from gtr_batch.cli.shell import RED, bars, err, out, speaks_plainly


@speaks_plainly
def retraining(
    folder: Annotated[Path, typer.Option(help="Where the demo lives.")] = Path(".demo-retraining"),
    patients: Annotated[int, typer.Option(help="Operated patients of the year.")] = 280,
) -> None:
    """Train, judge, approve, promote, refuse, replay, roll back, withdraw; 0 only if all went as it should."""
    from gtr_batch.simulation.demos.demo import stop

    folder = folder.resolve()
    try:
        right = _governed(folder, patients)
    finally:
        stop(folder)
    raise typer.Exit(0 if right else RED)


def _governed(folder: Path, patients: int) -> bool:
    from gtr_batch.simulation.demos import governance as plot
    from gtr_batch.simulation.demos.demo import Demo

    began = time.monotonic()
    demo, story = Demo(folder, artefact=folder / "last-years-model"), plot.Story()
    demo.clear()
    _open(demo, patients)
    _night(demo, story, demo.night)
    plot.show_night(demo, story)
    with bars() as progress:
        state = plot.run_with_approval(
            demo,
            "retraining",
            {"why": "demo"},
            TaskProgress(progress, "retraining"),
            meanwhile=lambda: plot.think(demo, story),
            timeout_s=1800,
        )
    story.need(state == "success", f"retraining: {state}")
    if state == "success":
        _after(demo, story)
    for line in story.lines:
        out.print(line, highlight=False)
    for sentence in story.wrong:
        err.print(f"[bold red]{sentence}[/]", highlight=False)
    took = time.monotonic() - began
    verdict = "all went as it should" if not story.wrong else "NOT all went as it should"
    out.print(f"{verdict}; {took // 60:.0f} min {took % 60:.0f} s", highlight=False)
    return not story.wrong


def _open(demo: Any, patients: int) -> None:
    """The hospital: its database, its Airflow, a year of patients, two nights' studies in the PACS."""
    from gtr_batch.simulation.demos import governance as plot
    from gtr_batch.simulation.demos import training as demo_training
    from gtr_batch.simulation.hospital.year import Year
    from gtr_batch.wiring import refresh_ehr

    with step("PostgreSQL and its schema"):
        demo.start_database(demo_training.SETTINGS.format(folder=demo.folder) + plot.SETTINGS)
    with step("Airflow's own database"):
        demo.prepare_airflow()
    demo.start_airflow()  # it comes up while the patients are made
    plot.make_last_years_model(demo)
    with bars() as progress:
        task = progress.add_task("a year of patients", total=None)
        demo_training.prepare(
            demo, Year(patients=patients), lambda done, total: progress.update(task, completed=done, total=total)
        )
    with step("two nights' patients"):
        demo.admit(None, None)
        plot.admit_next_night(demo)
        refresh_ehr(folder=demo.folder / "ehr")
    with bars() as progress:
        task = progress.add_task("to the PACS", total=None)
        demo.start_pacs(lambda done, total: progress.update(task, completed=done, total=total))
    with step("DAGs parsed"):
        demo.wait_for_airflow()


def _night(demo: Any, story: Any, night: Any) -> None:
    with bars() as progress:
        task_progress = TaskProgress(progress, f"nightly_staging {night}")
        state = demo.run("nightly_staging", {"night": str(night)}, task_progress, timeout_s=900)
    story.need(state == "success", f"nightly_staging of {night}: {state}")


def _after(demo: Any, story: Any) -> None:
    """What follows the promotion."""
    from gtr_batch.simulation.demos import governance as plot

    champion = plot.show_promotion(demo, story)
    with step("a worse candidate before the gate"):
        plot.refuse_a_worse_one(demo, story, champion)
    _night(demo, story, plot.next_night(demo))
    plot.show_next_night(demo, story, champion)
    with bars() as progress:
        state = plot.run_with_approval(
            demo,
            "restage",
            {"nights": [str(demo.night)], "model": champion},
            TaskProgress(progress, "restage"),
            meanwhile=lambda: None,
            timeout_s=600,
        )
    story.need(state == "success", f"restage: {state}")
    plot.show_replay(demo, story, champion)
    with step("rollback, withdrawal, notices"):
        plot.undo(demo, story, champion, demo.folder / "notices")
