"""`gtr fit-nomogram`: rad-score and nomogram from tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gtr_batch.cli.shell import err, foreign, out, print_json, speaks_plainly
from gtr_batch.writing import make_folder

app = typer.Typer()


@app.command("fit-nomogram")
@speaks_plainly
def fit_nomogram(
    features: Annotated[Path, typer.Option(help="CSV: key and numeric deep features.")],
    clinical: Annotated[Path, typer.Option(help="CSV: key, tumour size (cm), differentiation, Lauren type.")],
    labels: Annotated[Path, typer.Option(help="CSV: key and stage.")],
    key: Annotated[str, typer.Option(help="Column that joins the three tables.")] = "image_name",
    label: Annotated[str, typer.Option(help="The stage: 0-3, 1-4 or T1-T4.")] = "label",
    patient_pattern: Annotated[
        str | None, typer.Option(help="Regular expression with one group that finds the patient in the key.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed for drawing the folds.")] = 0,
    to: Annotated[Path | None, typer.Option("--out", help="Folder for the drawn nomogram (SVG and PDF).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Fit rad-score (LASSO, patients in one fold) and nomogram (proportional odds); say whether it may be used."""
    from gtr_batch.nomogram.drawing import draw_nomogram
    from gtr_batch.training.tables import fit_tables

    with err.status("fitting"):
        found = fit_tables(features, clinical, labels, key=key, label=label, pattern=patient_pattern, folds_seed=seed)
    if to is not None and found.nomogram is not None:
        make_folder(to)
        draw_nomogram(found.nomogram, to / "nomogram.svg", to / "nomogram.pdf")
    if as_json:
        print_json(found.to_json())
        return
    out.print(f"{found.rows} rows of {found.patients} patients; rad-score: {len(found.selected)} features")
    for row in found.fit.rows():
        out.print(
            f"  {row['term']:<26} {row['coefficient']:7.3f}  ({row['low']:.3f} to {row['high']:.3f})  p {row['p']:.2g}",
            highlight=False,
        )
    for name, threshold in zip(("T1|T2", "T2|T3", "T3|T4"), found.fit.thresholds, strict=True):
        out.print(f"  {foreign(name):<26} {threshold:7.3f}", highlight=False)
    odds = found.fit.proportional_odds
    out.print(
        f"  proportional odds (Brant): p {odds['p']:.2g}"
        if odds["p"] is not None
        else "  proportional odds: not testable"
    )
    for sentence in (*found.warnings, *([found.refused] if found.refused else [])):
        out.print(f"[yellow]{foreign(sentence)}[/]", highlight=False)
