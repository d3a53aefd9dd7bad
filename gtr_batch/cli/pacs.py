"""`gtr pacs`: talk to the PACS by hand."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from gtr_batch.cli.shell import bars, foreign, out, parse_night, print_json, speaks_plainly
from gtr_batch.writing import make_folder

app = typer.Typer(help="Talk to the PACS.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


@app.command("echo")
@speaks_plainly
def echo(as_json: Json = False) -> None:
    """Ask the PACS whether it answers (C-ECHO, or QIDO-RS of one study)."""
    import time

    from gtr_batch.wiring import open_site

    with open_site() as site:
        started = time.perf_counter()
        site.archive.echo()
        seconds = time.perf_counter() - started
        called, pacs = site.config.pacs.called_ae_title, site.config.pacs
        peer = f"{called} at {pacs.host}:{pacs.port}" if site.config.uses_dimse else site.config.dicomweb.url
    if as_json:
        print_json({"ae_title": called, "seconds": seconds})
    else:
        out.print(f"{peer} answered in {seconds * 1000:.0f} ms")


@app.command("find")
@speaks_plainly
def find(
    night: Annotated[str, typer.Option(help="The evening the night began, YYYY-MM-DD.")],
    as_json: Json = False,
) -> None:
    """List the CT studies of a night's window; UIDs and descriptions, no names."""
    from gtr_batch.night import night_window
    from gtr_batch.wiring import open_site

    when = parse_night(night)
    assert when is not None  # the option is required
    with open_site() as site:
        studies = site.archive.find_studies(*night_window(site.config, when))
    if as_json:
        print_json([{"study_uid": s.study_uid, "study_at": s.study_at, "description": s.description} for s in studies])
        return
    for study in studies:
        out.print(f"{study.study_at}  {foreign(study.study_uid)}  {foreign(study.description)}", highlight=False)
    out.print(f"{len(studies)} studies")


@app.command("get")
@speaks_plainly
def get(
    study_uid: Annotated[str, typer.Argument(help="Study Instance UID.")],
    series_uid: Annotated[str, typer.Argument(help="Series Instance UID.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path(),
    as_json: Json = False,
) -> None:
    """Fetch a series, checked against the instances that C-FIND promises."""
    from gtr_batch.wiring import open_site

    started = datetime.now().astimezone()
    make_folder(folder)
    with open_site() as site, bars() as progress:
        wanted = [i.sop_instance_uid for i in site.archive.find_instances(study_uid, series_uid)]
        task = progress.add_task("retrieve", total=len(wanted))
        paths = site.archive.retrieve(
            study_uid, series_uid, wanted, folder, progress=lambda done, total: progress.update(task, completed=done)
        )
    took: timedelta = datetime.now().astimezone() - started
    if as_json:
        print_json({"instances": len(paths), "folder": str(folder), "seconds": took.total_seconds()})
    else:
        out.print(f"{len(paths)} instances in {foreign(folder)} ({took.total_seconds():.1f} s)")
