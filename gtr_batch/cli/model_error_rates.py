"""`gtr model error-rates`: how often the gate errs, by simulation."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from gtr_batch.cli.shell import err, out, print_json, speaks_plainly

app = typer.Typer()


@app.command("error-rates")
@speaks_plainly
def error_rates(
    patients: Annotated[int | None, typer.Option(help="Patients of a holdout; default: what the margin needs.")] = None,
    runs: Annotated[int, typer.Option(help="Holdouts to simulate, of each kind.")] = 200,
    champion: Annotated[float, typer.Option(help="The champion's true accuracy.")] = 0.92,
    processes: Annotated[int, typer.Option(help="Holdouts to judge at once.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Simulate holdouts with equal models, and with a candidate that is worse by the margin; how often does it pass?"""
    from gtr_batch.config import load
    from gtr_batch.errors import InputRefused
    from gtr_batch.governance import error_rates as simulation
    from gtr_batch.metrics.noninferiority import exact_power, patients_needed

    settings = load().governance
    margin, discordance = settings.accuracy_margin, settings.assumed_discordance
    n = patients or patients_needed(margin, discordance)
    found: list[dict[str, Any]] = []
    for difference in (0.0, -margin):
        world = simulation.World(n, difference, champion, discordance)
        with err.status(f"{runs} holdouts of {n} patients, difference {difference:+.3f}"):
            try:
                rates = simulation.error_rates(world, settings, runs=runs, processes=processes)
            except ValueError as wrong:
                raise InputRefused(f"no such two models: {wrong}") from wrong
        found.append({**rates, "accuracy_exact": exact_power(n, margin, discordance, difference)})
    if as_json:
        print_json(found)
        return
    out.print(
        f"margin {margin:g}, {discordance:.0%} of pairs differ, {n} patients, {runs} runs of each", highlight=False
    )
    table = Table("candidate", "accuracy criterion passes", "exactly", "gate passes", "cannot tell", "fails", box=None)
    for row in found:
        name = f"worse by {margin:g}" if row["difference"] else "as good"
        table.add_row(
            name,
            _share(row["accuracy"], row["accuracy_95"]),
            f"{row['accuracy_exact']:.3f}",
            _share(row["pass"], row["pass_95"]),
            f"{row['cannot tell']:.3f}",
            f"{row['fail']:.3f}",
        )
    out.print(table)
    for row in found:
        name = f"worse by {margin:g}" if row["difference"] else "as good"
        each = ", ".join(f"{k.replace('_', ' ')} {v:.3f}" for k, v in row["criteria"].items())
        out.print(f"{name}: passes each criterion: {each}", highlight=False)


def _share(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"
