"""A night's cases as a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from rich.table import Table

_COLOUR = {"committed": "green", "refused": "yellow", "failed": "bold red"}


def night_table(night: date, rows: Sequence[dict[str, Any]]) -> Table:
    """State, T stage, probabilities, flags and reason of each case; no PHI."""
    table = Table(title=f"Night {night}: {len(rows)} cases", show_lines=False, pad_edge=False)
    for heading in ("case", "state", "cT", "P(T1 T2 T3 T4)", "nomogram", "key slice", "flags, reason"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("case", "state"))
    for row in rows:
        colour = _COLOUR.get(row["state"], "cyan")
        table.add_row(
            row["case_id"][:8],
            f"[{colour}]{row['state']}[/]",
            row.get("t_stage") or "",
            _shares(row.get("probabilities")),
            _shares(row.get("nomogram")),
            row.get("key_slice_source") or "",
            "; ".join([*row.get("flags", []), *([row["reason"]] if row.get("reason") else [])]),
        )
    return table


def _shares(values: Sequence[float] | None) -> str:
    return " ".join(f"{v:.2f}" for v in values) if values else ""
