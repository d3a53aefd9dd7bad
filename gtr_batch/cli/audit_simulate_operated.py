"""`gtr audit simulate --world`: false alarms and delays where who is operated depends on something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from rich.console import Console
from rich.table import Table

from gtr_batch.cli.shell import bars, out, print_json
from gtr_batch.errors import InputRefused

if TYPE_CHECKING:
    from gtr_batch.simulation.hospital.months import Shift
    from gtr_batch.simulation.hospital.operated_study import OperatedResult

OFF = (1.0, 1.1, 1.2, 1.35, 1.5, 2.0)
Plan = tuple[int, int, "Shift", int, float]


def simulate_operated(
    world: str, plan: Plan, runs: int, *, reads: bool, seed: int, processes: int, as_json: bool
) -> None:
    """Print false alarms (or, with a shift, delays) of the monitor of pathology and of what it could have been."""
    from gtr_batch.simulation.hospital.operated_study import study
    from gtr_batch.simulation.worlds.operated import SELECTIONS, OperatedWorld, months_to_days

    months, per_month, shift, at, labelled = plan
    if world not in (*SELECTIONS, "all"):
        raise InputRefused(f"world {world!r} is not known; one of: {', '.join(SELECTIONS)}, all")
    if shift.kind not in ("none", "or"):
        raise InputRefused(f"shift {shift.kind!r}: in these worlds only pathology shifts; none, or=2")
    found: list[OperatedResult] = []
    names = list(SELECTIONS) if world == "all" else [world]
    for name in names:
        drawn = OperatedWorld(
            SELECTIONS[name],
            months,
            staged_a_month=per_month,
            labelled_a_month=labelled,
            odds_ratio=1.0 if shift.kind == "none" else shift.size,
            begins=0 if shift.kind == "none" else months_to_days(at - 1),
        )
        with bars() as progress:
            task = progress.add_task(name, total=runs)
            found.append(
                study(
                    name,
                    drawn,
                    runs,
                    reads=reads,
                    seed=seed,
                    processes=processes,
                    progress=lambda done, p=progress, t=task: p.update(t, completed=done),  # type: ignore[misc]
                )
            )
    if as_json:
        print_json([attrs.asdict(one) for one in found])
    else:
        show(out, found, shift.kind == "or")


def simulate_through_gate(patients: int, runs: int, *, seed: int, as_json: bool) -> None:
    """Print, for candidates that are further and further off, how many the gate passes and the monitor then stops."""
    from gtr_batch.config import load
    from gtr_batch.simulation.hospital.gate_to_monitor import through_gate

    config = load().audit
    found = []
    for odds_ratio in OFF:
        with bars() as progress:
            task = progress.add_task(f"odds ratio {odds_ratio:g}", total=runs)
            found.append(
                through_gate(
                    odds_ratio,
                    patients,
                    runs,
                    config=config,
                    seed=seed,
                    progress=lambda done, p=progress, t=task: p.update(t, completed=done),  # type: ignore[misc]
                )
            )
    if as_json:
        print_json([attrs.asdict(one) for one in found])
        return
    out.print(
        f"{patients} patients in the holdout; tolerated odds ratio {config.tolerated_odds_ratio:g}", highlight=False
    )
    table = Table("true odds ratio", "gate passes", "gate fails", "of those passed, stopped in 24 months", box=None)
    for one in found:
        table.add_row(
            f"{one.odds_ratio:g}", f"{one.passed}/{one.runs}", f"{one.failed}/{one.runs}", f"{one.stopped}/{one.passed}"
        )
    out.print(table)


def show(console: Console, found: list[OperatedResult], shifted: bool) -> None:
    """One line a selection; columns: the operated as they are, an own baseline, each assumption alone, the monitor."""
    ways = list(found[0].false_alarms)
    heads = [f"{w}: {'found, months' if shifted else 'false alarms'}" for w in ways]
    table = Table("operated", "pT a month", *heads, "cannot tell", box=None)
    for one in found:
        cells = [_found(one, w) if shifted else f"{one.false_alarms[w]}/{one.runs}" for w in ways]
        table.add_row(one.selection, f"{one.labelled_a_month:g}", *cells, f"{one.cannot_tell}/{one.runs}")
    console.print(table)


def _found(one: OperatedResult, way: str) -> str:
    months = one.median_months[way]
    return f"{one.found[way]}/{one.runs - one.false_alarms[way]}, {'-' if months is None else f'{months:g}'}"
