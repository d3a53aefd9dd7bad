"""`gtr audit`: metrics of any table, the monthly audit, its monitors and their proof by simulation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gtr_batch.cli import audit_run, audit_simulate
from gtr_batch.cli.shell import bars, out, print_json, speaks_plainly

app = typer.Typer(help="The audit: metrics, monitors, alarms, reports that can be made again.", no_args_is_help=True)
app.add_typer(audit_simulate.app)
app.add_typer(audit_run.app)
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


@app.callback()
def audit() -> None:
    """Is the model still what it was? Every command leaves the night's results alone."""


@app.command("metrics")
@speaks_plainly
def metrics(
    table: Annotated[Path, typer.Option(help="CSV with one row a staged case.")],
    label: Annotated[str, typer.Option(help="Column of the pathological stage: 0-3, 1-4 or T1-T4.")],
    probabilities: Annotated[
        str | None,
        typer.Option(help="Columns of P(T1)..P(T4), comma-separated. Default: p1,p2,p3,p4 or p_t1,...,p_t4."),
    ] = None,
    patient: Annotated[str | None, typer.Option(help="Column of the patient. Default: every row is a patient.")] = None,
    predicted: Annotated[
        str | None, typer.Option(help="Column of the stage that was given. Default: the most likely stage.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="zero-based or one-based, where labels are only 1, 2 and 3 and could be either.")
    ] = None,
    draws: Annotated[int, typer.Option(min=0, help="Draws of the patient-cluster bootstrap; 0: none.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    as_json: Json = False,
) -> None:
    """Print every metric of a table with its interval. Keys: docs/audit-metrics.md."""
    from attrs import evolve

    from gtr_batch.audit.evaluation import evaluate
    from gtr_batch.audit.found.filed import evaluation_to_json
    from gtr_batch.audit.table import read_metric_table
    from gtr_batch.cli.audit_metrics import show_metrics

    with bars() as progress:
        task = progress.add_task("metrics", total=draws + 2)
        read = read_metric_table(
            table, label=label, probabilities=probabilities, patient=patient, predicted=predicted, labels=labels
        )
        progress.advance(task)
        found = evaluate(
            read.labels,
            read.probabilities,
            predicted=read.predicted,
            patients=read.patients,
            draws=draws,
            seed=seed,
            progress=lambda done: progress.update(task, completed=done + 1),
        )
        progress.update(task, completed=draws + 2)
    found = evolve(found, sentences=(*read.sentences, *found.sentences))
    if as_json:
        print_json({**evaluation_to_json(found), "labels_read_as": read.reading})
    else:
        show_metrics(out, found, read.reading)
