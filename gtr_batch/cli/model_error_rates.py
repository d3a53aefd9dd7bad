"""`gtr model error-rates`: how often the gate errs, by simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from gtr_batch.cli.shell import err, out, print_json, speaks_plainly

if TYPE_CHECKING:
    from gtr_batch.governance.error_rates import ErrorRates

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
    found: list[simulation.ErrorRates] = []
    for difference in (0.0, -margin):
        world = simulation.World(n, difference, champion, discordance)
        with err.status(f"{runs} holdouts of {n} patients, difference {difference:+.3f}"):
            try:
                found.append(simulation.error_rates(world, settings, runs=runs, processes=processes))
            except ValueError as wrong:
                raise InputRefused(f"no such two models: {wrong}") from wrong
    exact = [exact_power(n, margin, discordance, rates.world.difference) for rates in found]
    if as_json:
        print_json([{**simulation.to_json(rates), "accuracy_exact": p} for rates, p in zip(found, exact, strict=True)])
        return
    out.print(
        f"margin {margin:g}, {discordance:.0%} of pairs differ, {n} patients, {runs} runs of each", highlight=False
    )
    table = Table("candidate", "accuracy criterion passes", "exactly", "gate passes", "cannot tell", "fails", box=None)
    for rates, p in zip(found, exact, strict=True):
        table.add_row(
            _name(rates, margin),
            _share(rates.accuracy_passes, rates.accuracy_passes_95),
            f"{p:.3f}",
            _share(rates.passes, rates.passes_95),
            f"{rates.cannot_tell:.3f}",
            f"{rates.fails:.3f}",
        )
    out.print(table)
    for rates in found:
        each = ", ".join(f"{k.replace('_', ' ')} {v:.3f}" for k, v in rates.criteria.items())
        out.print(f"{_name(rates, margin)}: passes each criterion: {each}", highlight=False)


def _name(rates: ErrorRates, margin: float) -> str:
    return f"worse by {margin:g}" if rates.world.difference else "as good"


def _share(value: float, interval: tuple[float, float] | None) -> str:
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})" if interval else f"{value:.3f}"
