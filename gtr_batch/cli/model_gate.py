"""`gtr model judge`: a candidate before the gate, from a shell."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from gtr_batch.cli.model_options import By, Json, Version, Why
from gtr_batch.cli.shell import bars, foreign, out, print_json, speaks_plainly

app = typer.Typer()


@app.command("judge")
@speaks_plainly
def judge(
    version: Version,
    by: By,
    why: Why,
    cohort: Annotated[
        str | None,
        typer.Option(help="Digest of the cohort whose sealed holdout it is judged on; default: the model's own."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Hold a candidate, or a model in shadow, against the champion on the sealed holdout; may be asked again."""
    from gtr_batch.domain.model_json import to_json
    from gtr_batch.governance.card import write_card
    from gtr_batch.governance.criteria import FAIL
    from gtr_batch.governance.evaluation import evaluate
    from gtr_batch.governance.registry import find
    from gtr_batch.wiring import open_governance, open_training

    with bars() as progress:
        bar = progress.add_task("holdout", total=None)

        def report(_: str, done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        with open_governance() as gov, open_training(progress=report) as training:
            chosen = find(gov.registry, version)
            found = evaluate(gov, training, chosen, by=by, why=why, cohort=cohort)
            page = write_card(gov.registry, gov.night.config.training.models, chosen, by=by)
    if as_json:
        print_json(to_json(found))
    else:
        out.print(f"[bold]{found.verdict}[/]: {foreign(found.sentence)}", highlight=False)
        table = Table("criterion", "answer", "", box=None)
        for one in found.criteria:
            table.add_row(one.name.replace("_", " "), one.verdict, foreign(one.sentence))
        out.print(table)
        if found.look is not None:
            out.print(foreign(found.look.sentence), highlight=False)
        out.print(f"{foreign(found.power.sentence)}\ncard: {foreign(page)}", highlight=False)
    if found.verdict is FAIL:
        raise typer.Exit(1)
