"""`gtr demo training`: a year of operated patients, a retraining through the real Airflow, the sealed holdout."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtr_batch.cli.demo_start import counting, end, play, show_wrong, start_hospital, tasks_of
from gtr_batch.cli.shell import out, speaks_plainly

if TYPE_CHECKING:
    from gtr_batch.domain.gate import HoldoutEvaluation
    from gtr_batch.simulation.demos.demo import Demo
    from gtr_batch.simulation.demos.training import Outcome

app = typer.Typer()


@app.command("training")
@speaks_plainly
def training(
    folder: Annotated[Path, typer.Option(help="Where the demo lives.")] = Path(".demo-training"),
    patients: Annotated[int, typer.Option(help="Operated patients of the year.")] = 280,
    mix: Annotated[str, typer.Option(help="Percent of T1/T2/T3/T4.")] = "15/15/35/35",
) -> None:
    """Simulate a year of operated patients, run the retraining DAG, open the holdout; 0 if better than untrained."""
    play(folder, lambda at: _trained(at, patients, mix))


def _trained(folder: Path, patients: int, mix: str) -> bool:
    from gtr_batch.simulation.demos import training as demo_training
    from gtr_batch.simulation.hospital.mix import parse_mix
    from gtr_batch.simulation.hospital.year import Year

    began, year = time.monotonic(), Year(patients=patients, mix=parse_mix(mix))

    def admit(demo: Demo) -> None:
        with counting("a year of patients") as progress:
            demo_training.prepare(demo, year, progress)

    demo = start_hospital(folder, admit, settings=demo_training.SETTINGS, pacs="the oldest to the PACS")
    with tasks_of("retraining") as progress:
        found = demo_training.run(demo, progress)
    if found.state != "success" or found.holdout is None:
        show_wrong([f"retraining: {found.state}; see {demo.stack.url if demo.stack else folder}"])
        return False
    for line in in_words(found, found.holdout):
        out.print(line, highlight=False)
    well, ill = "better than untrained, and not by chance", "NOT better than untrained beyond chance"
    return end(began, found.better, well, ill)


def in_words(found: Outcome, holdout: HoldoutEvaluation) -> list[str]:
    """What the sealed holdout says of the candidate and of its untrained twin."""
    (low, high), (untrained_low, untrained_high) = holdout.accuracy_ci or (0.0, 1.0), holdout.untrained_ci or (0.0, 1.0)
    commonest = max(sum(row) for row in holdout.confusion) / max(holdout.n, 1)
    return [
        f"candidate {found.version[:12]} of cohort {found.cohort[:12]}",
        f"sealed holdout, {holdout.n} patients that no training saw ({holdout.origins}):",
        f"  accuracy {holdout.accuracy:.3f} ({low:.3f} to {high:.3f})",
        f"  untrained twin {holdout.untrained_accuracy:.3f} ({untrained_low:.3f} to {untrained_high:.3f}); "
        f"always the commonest stage {commonest:.3f}",
        f"  quadratic kappa {holdout.quadratic_kappa:.3f}; confusion {[list(row) for row in holdout.confusion]}",
        f"report: {found.report}",
    ]
