"""`gtr ehr`: the extracts of the hospital's record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gtr_batch.cli.shell import bars, out, print_json, speaks_plainly

app = typer.Typer(help="EHR extracts.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


@app.command("load")
@speaks_plainly
def load(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of the extracts; default: the setting ehr.folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Load the EHR extracts of a folder; a bad file changes nothing."""
    from gtr_batch.wiring import refresh_ehr

    with bars() as progress:
        task = progress.add_task("ehr", total=None)
        found = refresh_ehr(
            folder=folder, progress=lambda done, total: progress.update(task, completed=done, total=total)
        )
    if as_json:
        print_json(found)
        return
    if found["second_chance"]:
        out.print(
            f"{found['second_chance']} refused studies of patients with new rows: judged anew by a night that looks "
            "back on them, or when their night is run again",
            highlight=False,
        )
    for file in found["files"]:
        counts = ", ".join(f"{file[what]} {what}" for what in ("inserted", "updated", "unchanged"))
        out.print(f"{file['file']:<16} {file['rows']} rows: {counts}", highlight=False)
        for value in file["set_aside"]:
            out.print(f"  loaded as unknown: {value}", highlight=False)
