"""`gtr demo retraining`: a model's whole life in the synthetic hospital, through the real Airflow."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtr_batch.cli.demo_start import counting, end, play, start_hospital, step, tasks_of
from gtr_batch.cli.shell import speaks_plainly

if TYPE_CHECKING:
    from gtr_batch.simulation.demos.demo import Demo
    from gtr_batch.simulation.demos.story import Story

app = typer.Typer()


@app.command("retraining")
@speaks_plainly
def retraining(
    folder: Annotated[Path, typer.Option(help="Where the demo lives.")] = Path(".demo-retraining"),
    patients: Annotated[int, typer.Option(help="Operated patients of the year.")] = 280,
) -> None:
    """Train, judge, approve, promote, refuse, replay, roll back, withdraw; 0 only if all went as it should."""
    play(folder, lambda at: _governed(at, patients))


def _governed(folder: Path, patients: int) -> bool:
    from gtr_batch.simulation.demos import governance as plot
    from gtr_batch.simulation.demos import training as demo_training
    from gtr_batch.simulation.demos.story import Story

    began = time.monotonic()
    story = Story()
    demo = start_hospital(
        folder,
        lambda demo: _admit(demo, patients),
        settings=demo_training.SETTINGS + plot.SETTINGS,
        artefact=folder / "last-years-model",
    )
    _night(demo, story, demo.night)
    plot.show_night(demo, story)
    with tasks_of("retraining") as progress:
        state = plot.run_with_approval(
            demo,
            "retraining",
            {"why": "demo"},
            progress,
            meanwhile=lambda: plot.think(demo, story),
            timeout_s=1800,
        )
    story.need(state == "success", f"retraining: {state}")
    if state == "success":
        _after(demo, story)
    return end(began, not story.wrong, "all went as it should", "NOT all went as it should", story)


def _admit(demo: Demo, patients: int) -> None:
    """Last year's model, a year of patients, two nights' studies."""
    from gtr_batch.simulation.demos import governance as plot
    from gtr_batch.simulation.demos import training as demo_training
    from gtr_batch.simulation.hospital.year import Year
    from gtr_batch.wiring import refresh_ehr

    plot.make_last_years_model(demo)
    with counting("a year of patients") as progress:
        demo_training.prepare(demo, Year(patients=patients), progress)
    with step("two nights' patients"):
        demo.admit(None, None)
        plot.admit_next_night(demo)
        refresh_ehr(folder=demo.folder / "ehr")


def _night(demo: Demo, story: Story, night: date) -> None:
    with tasks_of(f"nightly_staging {night}") as progress:
        state = demo.run("nightly_staging", {"night": str(night)}, progress, timeout_s=900)
    story.need(state == "success", f"nightly_staging of {night}: {state}")


def _after(demo: Demo, story: Story) -> None:
    """What follows the promotion."""
    from gtr_batch.simulation.demos import governance as plot

    champion = plot.show_promotion(demo, story)
    with step("a worse candidate before the gate"):
        plot.refuse_a_worse_one(demo, story, champion)
    _night(demo, story, plot.next_night(demo))
    plot.show_next_night(demo, story, champion)
    with tasks_of("restage") as progress:
        state = plot.run_with_approval(
            demo,
            "restage",
            {"nights": [str(demo.night)], "model": champion},
            progress,
            meanwhile=lambda: None,
            timeout_s=600,
        )
    story.need(state == "success", f"restage: {state}")
    plot.show_replay(demo, story, champion)
    with step("rollback, withdrawal, notices"):
        plot.undo(demo, story, champion, demo.folder / "notices")
