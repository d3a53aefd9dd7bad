"""`gtr model`: which artefacts there are and what they say of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gtr_batch.cli import model_import
from gtr_batch.cli.shell import out, print_json, speaks_plainly

app = typer.Typer(help="Model artefacts.", no_args_is_help=True)
app.command("import")(model_import.import_model)
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


def _described(folder: Path, champion: bool) -> dict[str, Any]:
    from gtr_batch.stage import read_manifest

    manifest, version = read_manifest(folder)
    return {
        "version": version,
        "name": manifest.name,
        "champion": champion,
        "backbone": manifest.backbone,
        "demo": manifest.demo,
        "folder": str(folder),
        "metrics": dict(manifest.metrics),
    }


@app.command("list")
@speaks_plainly
def list_models(as_json: Json = False) -> None:
    """List the artefacts on the shelf, champion first."""
    from gtr_batch.config import load
    from gtr_batch.wiring import FolderShelf

    shelf = FolderShelf(load().stage.artefact)
    rows = [_described(folder, n == 0) for n, folder in enumerate(shelf.all())]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        mark = "champion" if row["champion"] else ""
        note = " (demo, not for patients)" if row["demo"] else ""
        out.print(f"{row['version'][:12]}  {row['name']}{note}  {row['backbone']}  {mark}", highlight=False)


@app.command("show")
@speaks_plainly
def show(
    folder: Annotated[Path | None, typer.Argument(help="Artefact folder; default: the champion.")] = None,
    as_json: Json = False,
) -> None:
    """Check an artefact's weights against its manifest and show what it says."""
    from gtr_batch.config import load
    from gtr_batch.nomogram import check_model
    from gtr_batch.stage import read_manifest, verify

    folder = folder or load().stage.artefact
    version = verify(folder)
    manifest, _ = read_manifest(folder)
    check_model(manifest.nomogram)
    if as_json:
        print_json({"version": version, **manifest.to_json()})
        return
    contract, nomogram = manifest.contract, manifest.nomogram
    low, high = contract.window_hu
    n4 = f"N4 at shrink {contract.n4.shrink}" if contract.n4 else "no N4"
    for name, value in {
        "version": version,
        "name": manifest.name + (" (demo, not for patients)" if manifest.demo else ""),
        "intended use": manifest.intended_use,
        "network": f"{manifest.architecture}, {manifest.backbone}, {manifest.feature_count} features, weights verified",
        "contract": f"{contract.spacing_mm:g} mm, {low:g} to {high:g} HU, {n4}, {contract.size} x {contract.size}",
        "temperature": f"{manifest.temperature:.3f}",
        "rad-score": f"{len(manifest.rad_score.selected)} features selected",
        "nomogram": f"{nomogram.name}; thresholds {', '.join(f'{t:.2f}' for t in nomogram.thresholds)}",
        "key slice": "automatic locator fitted" if manifest.key_slice_locator else "no automatic locator",
        "metrics": ", ".join(f"{k} {v}" for k, v in manifest.metrics.items()),
    }.items():
        out.print(f"[bold]{name:>14}[/]  {value}", highlight=False)
