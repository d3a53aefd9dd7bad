"""`gtr leak-check`: does a table's split keep patients apart?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gtr_batch.cli.shell import RED, err, out, print_json, speaks_plainly

app = typer.Typer()


@app.command("leak-check")
@speaks_plainly
def leak_check(
    table: Annotated[Path, typer.Option(help="CSV with one row a slice or a patient.")],
    label: Annotated[str, typer.Option(help="Column that holds the stage.")],
    split: Annotated[str, typer.Option(help="Column that holds the split.")],
    patient: Annotated[str | None, typer.Option(help="Column that names the patient.")] = None,
    patient_pattern: Annotated[
        str | None,
        typer.Option(help="Instead: a regular expression with one group that finds the patient in a row's name."),
    ] = None,
    image: Annotated[str | None, typer.Option(help="Column that names a row.")] = None,
    clinical: Annotated[Path | None, typer.Option(help="CSV with the clinical rows.")] = None,
    key: Annotated[str | None, typer.Option(help="Column that joins the two tables.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Find patients, labels and rows that stand in more than one split. Exit status 1 when something leaks.

    patients_in_both: patients with rows in more than one split. rows_affected: rows of the smallest split whose patient
    is in another one too. conflicting_labels: patients with more than one label. straddling_duplicate_groups: groups of
    identical rows in more than one split. discordant_patients: patients whose clinical rows disagree.
    """
    from gtr_batch.training.leaks import check_table, read_table

    with err.status("reading and comparing"):
        found = check_table(
            read_table(table),
            label=label,
            split=split,
            patient=patient,
            pattern=patient_pattern,
            image=image,
            clinical=read_table(clinical) if clinical else None,
            key=key,
        )
    if as_json:
        print_json(found.to_json())
    else:
        for sentence in found.sentences():
            out.print(sentence, highlight=False)
    if found.leaks:
        raise typer.Exit(RED)
