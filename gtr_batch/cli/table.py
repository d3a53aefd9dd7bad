"""A night's cases as a table, and what is to say of single ones below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gtr_batch.domain.case import CaseState
from gtr_batch.domain.night_case import NightCase
from gtr_batch.domain.refusal import RefusalCode
from gtr_batch.domain.staging import FLAG_MEANINGS, Flag, KeySliceSource, StageProbabilities

_SOURCE = {
    KeySliceSource.KEY_OBJECT: "KOS",
    KeySliceSource.EHR: "EHR",
    KeySliceSource.SEGMENTATION: "outline",
    KeySliceSource.AUTOMATIC: "automatic",
    KeySliceSource.READER: "reader",
}
_COLOUR = {CaseState.COMMITTED: "green", CaseState.REFUSED: "yellow", CaseState.FAILED: "bold red"}


def show_night(console: Console, night: date, cases: Sequence[NightCase]) -> None:
    """State, T stage, probabilities and flags of each case; reasons of refusals and failures in full below. No PHI."""
    mismatched = [case.case_id for case in cases if case.refusal is RefusalCode.IDENTITY_MISMATCH]
    if mismatched:
        console.print(
            f"[bold red]{len(mismatched)} case(s) with images, reports or a study of another patient: "
            f"{', '.join(mismatched)}.[/] Nothing was sent for them; docs/operations.md says what to do.",
            highlight=False,
        )
    table = Table(title=f"Night {night}: {len(cases)} cases", pad_edge=False)
    for heading in ("case", "state", "cT", "P(T1 T2 T3 T4)", "nomogram", "key slice"):
        table.add_column(heading, no_wrap=True)
    table.add_column("flags", overflow="fold")
    for case in cases:
        table.add_row(
            case.case_id[:8],
            f"[{_COLOUR.get(case.state, 'cyan')}]{case.state}[/]",
            str(case.t_stage or ""),
            _shares(case.probabilities),
            _shares(case.nomogram),
            _SOURCE[case.key_slice_source] if case.key_slice_source else "",
            ", ".join(FLAG_MEANINGS[flag].words for flag in case.flags if flag is not Flag.DEMO_MODEL),
        )
    console.print(table)
    for case in cases:
        if case.reason:
            console.print(f"{case.case_id[:8]} {case.state}: {escape(case.reason)}", highlight=False)
    if any(Flag.DEMO_MODEL in case.flags for case in cases):
        console.print("[yellow]Demo model, not for patients.[/] AI results, not verified.")


def show_waiting(console: Console, summary: Mapping[str, Any] | None) -> None:
    """Studies that were not taken because they are still arriving, each with what was seen."""
    for study_uid, why in (summary or {}).get("intake", {}).get("waiting", {}).items():
        console.print(f"[cyan]still arriving[/] study {study_uid}: {escape(why)}", highlight=False)


def show_shadow(console: Console, summary: Mapping[str, Any] | None) -> None:
    """How far each model in shadow agreed with the champion that night."""
    for version, found in (summary or {}).get("shadow", {}).items():
        if isinstance(found, Mapping):  # else the sentence of an error
            agreement = f"{found['agree']} of {found['cases']} as the champion"
            agreement += f", {found['higher']} higher, {found['lower']} lower"
            failed = f"; {len(found['errors'])} not staged" if found["errors"] else ""
            console.print(f"in shadow {version[:12]}: {agreement}{failed}", highlight=False)


def _shares(probabilities: StageProbabilities | None) -> str:
    return " ".join(f"{p:.2f}" for p in probabilities.values) if probabilities else ""
