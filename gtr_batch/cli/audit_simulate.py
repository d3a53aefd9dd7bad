"""`gtr audit simulate`: the monitors' false alarms and delays, measured on simulated histories."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from gtr_batch.cli.shell import bars, out, print_json, speaks_plainly

app = typer.Typer()


@app.command("simulate")
@speaks_plainly
def simulate(
    months: Annotated[int, typer.Option(min=1, max=240, help="Length of a history.")] = 24,
    per_month: Annotated[int, typer.Option(min=1, max=5000, help="Staged cases a month.")] = 60,
    runs: Annotated[int, typer.Option(min=1, help="Histories to draw.")] = 500,
    shift: Annotated[
        str,
        typer.Option(help="none, or=2, scanner, scanner=0.4, scanner-midweek, features=1, quality=1, refusals=2.5."),
    ] = "none",
    at: Annotated[int, typer.Option(min=1, help="The month on whose first Monday the shift begins.")] = 7,
    everyone: Annotated[
        bool, typer.Option("--everyone-operated", help="Every staged patient has a pT in the end.")
    ] = False,
    reference: Annotated[
        int, typer.Option(min=0, help="Patients of the artefact's reference; 0: monitors learn from the first weeks.")
    ] = 0,
    world: Annotated[
        str,
        typer.Option(
            help="Who is operated: none, usual, chemotherapy-first, strong, by-cT, by-uT, changing, by-model, or all; "
            "the monitor of pathology alone, beside the ways it could have been."
        ),
    ] = "",
    labelled: Annotated[float, typer.Option(min=0, help="With --world: pT a month; 0: as --per-month gives.")] = 0.0,
    unread: Annotated[
        bool, typer.Option("--without-reads", help="With --world: no cT and uT reach the audit.")
    ] = False,
    gate: Annotated[
        int,
        typer.Option(min=0, help="From the gate, with so many patients in the holdout, to 24 months of the monitor."),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the first history; the others count on from it.")] = 1,
    processes: Annotated[int, typer.Option(min=1, help="Histories computed at once.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Measure the monitors: false alarms of all together, and how soon each finds a shift. See docs/audit.md."""
    from gtr_batch.config import AuditConfig
    from gtr_batch.errors import InputRefused
    from gtr_batch.simulation.hospital.audit_study import study
    from gtr_batch.simulation.hospital.months import Months, Shift

    kind = Shift.parse(shift)
    if kind.kind != "none" and at > months:
        raise InputRefused(f"the shift would begin in month {at} of a history of {months}")
    history = Months(months, per_month, kind, at, seed, everyone=everyone, reference=reference)
    if gate:
        from gtr_batch.cli.audit_simulate_operated import simulate_through_gate

        simulate_through_gate(gate, runs, seed=seed, as_json=as_json)
        return
    if world:
        from gtr_batch.cli.audit_simulate_operated import simulate_operated

        plan = (months, per_month, kind, at, labelled)
        simulate_operated(world, plan, runs, reads=not unread, seed=seed, processes=processes, as_json=as_json)
        return
    # The budget is one for a horizon; a history of another length is measured against its own.
    config = AuditConfig(horizon_months=months)
    with bars() as progress:
        task = progress.add_task("simulate", total=runs)
        found = study(
            history,
            runs,
            config=config,
            processes=processes,
            progress=lambda done: progress.update(task, completed=done),
        )
    if as_json:
        print_json(found)
    else:
        show(out, found)


def show(console: Console, found: dict[str, Any]) -> None:
    """The study as a page."""
    false = found["false_alarms"]
    low, high = false["exact"]
    console.print(
        f"{found['runs']} histories of {found['months']} months, {found['per_month']} staged cases and "
        f"{found['labelled_a_month']} patients with a pT a month; shift: {found['shift']}"
        + (f" from {found['shift_begins']}" if found["shift_begins"] else ""),
        highlight=False,
    )
    console.print(
        f"False alarms in {false['months_at_risk']} months: {false['histories']} of {found['runs']} histories, "
        f"{100 * false['share']:.1f}% (95% interval {100 * low:.1f} to {100 * high:.1f}%; "
        f"budget {100 * found['budget']:.0f}% in {found['months']} months)",
        highlight=False,
    )
    detection = found["detection"]
    names = ["monitor", "false alarms", "could not tell"]
    names += ["found", "in its week", "median months", "90% months", "median patients with pT"] if detection else []
    table = Table(*names)
    for monitor, count in false["by_monitor"].items():
        row = [monitor, str(count), str(found["could_not_tell"][monitor])]
        if detection:
            d = detection[monitor]
            row += [f"{d['found']}/{d['histories']}", str(d["found_in_its_week"])]
            row += [_number_or_dash(d[k]) for k in ("median_months", "p90_months", "median_labelled")]
        table.add_row(*row)
    console.print(table)
    console.print(f"{found['wall_seconds']:.0f} s, load {found['load']:.1f}", highlight=False)


def _number_or_dash(value: float | None) -> str:
    return "not by the end" if value is None else f"{value:g}"
