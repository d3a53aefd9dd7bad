"""`gtr model canary`: stage a model's own phantom series here, or record what it gives."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from gtr_batch.cli.model_options import Json
from gtr_batch.cli.shell import foreign, out, print_json, speaks_plainly

app = typer.Typer()


@app.command("canary")
@speaks_plainly
def canary(
    version: Annotated[str, typer.Argument(help="Version or its first digits.")],
    record: Annotated[
        bool, typer.Option("--record", help="Take what this machine gives as the answer to be met from now on.")
    ] = False,
    by: Annotated[str, typer.Option(help="Your name; needed to record.")] = "",
    why: Annotated[str, typer.Option(help="The reason; needed to record.")] = "",
    as_json: Json = False,
) -> None:
    """Stage a model's phantom series on this machine, and say how far its answer lies from the recorded one."""
    from gtr_batch.access import refusals_noted
    from gtr_batch.domain.model_json import to_json
    from gtr_batch.governance.canary import record as run_record
    from gtr_batch.governance.registry import find
    from gtr_batch.night.canary.gate import run
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        chosen = find(gov.registry, version)
        if record:
            with refusals_noted(gov.night.trail, "model.canary", "model", chosen, by=by):
                event = run_record(gov, chosen, by=by, why=why)
        else:
            gov.night.check_running()
            assert gov.night.canaries is not None  # every site with a database has one
            event = run(gov.night, gov.night.canaries, chosen, None)
    if as_json:
        print_json(to_json(event))
        return
    out.print(f"{foreign(event.sentence)} ({event.seconds:.1f} s)", highlight=False)
    if event.deviations:
        table = Table("quantity", "away", "at most", box=None)
        for one in event.deviations:
            table.add_row(one.quantity, one.words or f"{one.found:.3g}", f"{one.allowed:.3g}")
        out.print(table)
