"""`gtr case`: what a person decides about one case, with name and reason."""

from __future__ import annotations

from typing import Annotated

import typer

from gtr_batch.cli.shell import out, print_json, speaks_plainly

app = typer.Typer(help="Single cases: what a person decides about them, with name and reason.")
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


@app.callback()
def cases() -> None:
    """Single cases."""


@app.command("reopen")
@speaks_plainly
def reopen(
    case: Annotated[str, typer.Argument(help="The case id, as `gtr status --json` lists it.")],
    by: Annotated[str, typer.Option(help="Your name.")],
    why: Annotated[str, typer.Option(help="Why; kept permanently.")],
    as_json: Json = False,
) -> None:
    """Take back a refusal: the case is retrieved and judged anew by the next run."""
    from gtr_batch.governance.reopening import reopen as taken_back
    from gtr_batch.wiring import open_site

    with open_site() as site:
        opened = taken_back(site, case, by=by, why=why)
    if as_json:
        print_json({"case_id": opened.case_id, "night": str(opened.night), "state": str(opened.state)})
    else:
        out.print(
            f"case {opened.case_id} is reopened: run its night again (`gtr night --night {opened.night}`); a "
            "night that still looks back on it takes it too",
            highlight=False,
        )
