"""A night's cases as a table, and what is to say of single ones below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gtr_batch.domain.staging import FLAG_MEANINGS, Flag

_SOURCE = {"key_object_selection": "KOS", "ehr_reference": "EHR", "segmentation": "outline", "automatic": "automatic"}
_COLOUR = {"committed": "green", "refused": "yellow", "failed": "bold red"}


def show_night(console: Console, night: date, rows: Sequence[dict[str, Any]]) -> None:
    """State, T stage, probabilities and flags of each case; reasons of refusals and failures in full below. No PHI."""
    table = Table(title=f"Night {night}: {len(rows)} cases", pad_edge=False)
    for heading in ("case", "state", "cT", "P(T1 T2 T3 T4)", "nomogram", "key slice"):
        table.add_column(heading, no_wrap=True)
    table.add_column("flags", overflow="fold")
    for row in rows:
        colour = _COLOUR.get(row["state"], "cyan")
        flags = [flag for flag in row["flags"] if flag != Flag.DEMO_MODEL]
        table.add_row(
            row["case_id"][:8],
            f"[{colour}]{row['state']}[/]",
            row["t_stage"] or "",
            _shares(row["probabilities"]),
            _shares(row["nomogram"]),
            _SOURCE.get(row["key_slice_source"], ""),
            ", ".join(FLAG_MEANINGS[Flag(flag)].words for flag in flags),
        )
    console.print(table)
    for row in rows:
        if row["reason"]:
            console.print(f"{row['case_id'][:8]} {row['state']}: {escape(row['reason'])}", highlight=False)
    if any(Flag.DEMO_MODEL in row["flags"] for row in rows):
        console.print("[yellow]Demo model, not for patients.[/] AI results, not verified.")


def show_shadow(console: Console, summary: Mapping[str, Any] | None) -> None:
    """How far each model in shadow agreed with the champion that night."""
    for version, found in (summary or {}).get("shadow", {}).items():
        if isinstance(found, Mapping):  # else the sentence of an error
            agreement = f"{found['agree']} of {found['cases']} as the champion"
            agreement += f", {found['higher']} higher, {found['lower']} lower"
            failed = f"; {len(found['errors'])} not staged" if found["errors"] else ""
            console.print(f"in shadow {version[:12]}: {agreement}{failed}", highlight=False)


def _shares(values: Sequence[float] | None) -> str:
    return " ".join(f"{v:.2f}" for v in values) if values else ""
