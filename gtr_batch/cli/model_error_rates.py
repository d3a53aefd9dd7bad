"""`gtr model error-rates`: how often the gate errs, by simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from gtr_batch.cli.shell import err, out, print_json, speaks_plainly
from gtr_batch.errors import InputRefused

if TYPE_CHECKING:
    from gtr_batch.governance.error_rates import ErrorRates

app = typer.Typer()


@app.command("error-rates")
@speaks_plainly
def error_rates(
    patients: Annotated[int | None, typer.Option(help="Patients of a holdout; default: what the margin needs.")] = None,
    runs: Annotated[int, typer.Option(help="Holdouts to simulate, of each kind.")] = 200,
    champion: Annotated[float, typer.Option("--accuracy", "--champion", help="The champion's true accuracy.")] = 0.92,
    mix: Annotated[str, typer.Option(help="Stages T1 to T4 in per cent, as 15/15/35/35; default: equal parts.")] = "",
    t4: Annotated[
        float | None, typer.Option(help="Share of T4 that the champion stages lower; default: with T4 standing apart.")
    ] = None,
    discordance: Annotated[
        float | None, typer.Option(help="Share of pairs that differ; default: governance.assumed_discordance.")
    ] = None,
    look: Annotated[int, typer.Option(min=1, help="Which look at the same holdout it is; each has a level.")] = 1,
    processes: Annotated[int, typer.Option(help="Holdouts to judge at once.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Simulate holdouts with equal models, and with a candidate that is worse by the margin; how often does it pass?

    And before a holdout is planned: how many patients does each criterion need?
    """
    from gtr_batch.config import load
    from gtr_batch.governance import error_rates as simulation
    from gtr_batch.governance.looks import level_of
    from gtr_batch.governance.needs import patients_each_criterion_needs
    from gtr_batch.metrics.noninferiority import exact_power, patients_needed
    from gtr_batch.simulation.hospital import gate_worlds

    config = load()
    settings = config.governance
    margin, discordance = settings.accuracy_margin, discordance or settings.assumed_discordance
    other = bool(mix) or t4 is not None
    draw = gate_worlds.draw if other else simulation.simulate
    level = level_of(look, settings.error_budget)
    n = patients or patients_needed(margin, discordance, alpha=level)
    found: list[simulation.ErrorRates] = []
    for difference in (0.0, -margin):
        world = simulation.World(n, difference, champion, discordance, _shares(mix), t4)
        with err.status(f"{runs} holdouts of {n} patients, difference {difference:+.3f}"):
            try:
                found.append(
                    simulation.error_rates(world, settings, runs=runs, processes=processes, draw=draw, look=look)
                )
            except ValueError as wrong:
                raise InputRefused(f"no such two models: {wrong}") from wrong
    needs = patients_each_criterion_needs(
        found[0].world, draw, settings, look=look, tolerated_odds_ratio=config.audit.tolerated_odds_ratio
    )
    exact = [exact_power(n, margin, discordance, rates.world.difference, level) for rates in found]
    if as_json:
        print_json(
            [
                {**simulation.to_json(rates), "accuracy_exact": p, "needs": needs}
                for rates, p in zip(found, exact, strict=True)
            ]
        )
        return
    out.print(
        f"margin {margin:g}, {discordance:.0%} of pairs differ, {n} patients, {runs} runs of each, "
        f"look {look} at a level of {100 * level:.2g}%",
        highlight=False,
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

    said = ", ".join(f"{k.replace('_', ' ')} {'no number' if v is None else v}" for k, v in needs.items())
    out.print(f"patients that each criterion needs, for an equal candidate to pass it in 90%: {said}", highlight=False)


def _shares(mix: str) -> tuple[float, float, float, float] | None:
    if not mix:
        return None
    try:
        parts = [float(part) for part in mix.split("/")]
        one, two, three, four = (part / sum(parts) for part in parts)
    except (ValueError, ZeroDivisionError) as wrong:
        raise InputRefused(f"mix {mix!r}: four numbers with / between, as 15/15/35/35") from wrong
    if min(parts) <= 0:
        raise InputRefused(f"mix {mix!r}: every stage has a share above 0")
    return one, two, three, four


def _name(rates: ErrorRates, margin: float) -> str:
    return f"worse by {margin:g}" if rates.world.difference else "as good"


def _share(value: float, interval: tuple[float, float] | None) -> str:
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})" if interval else f"{value:.3f}"
