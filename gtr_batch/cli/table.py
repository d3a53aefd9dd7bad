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
from gtr_batch.domain.score import AnswerSource
from gtr_batch.domain.staging import FLAG_MEANINGS, Flag, KeySliceSource, StageProbabilities

_SOURCE = {
    KeySliceSource.KEY_OBJECT: "KOS",
    KeySliceSource.EHR: "EHR",
    KeySliceSource.SEGMENTATION: "outline",
    KeySliceSource.AUTOMATIC: "automatic",
    KeySliceSource.READER: "reader",
}
_ELSEWHERE = (Flag.DEMO_MODEL, Flag.NO_NOMOGRAM)  # said beside the flags
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
    for heading in ("case", "state", "cT", "P(T1 T2 T3 T4)", "set", "key slice"):
        table.add_column(heading, no_wrap=True)
    table.add_column("supporting", overflow="fold")
    table.add_column("flags", overflow="fold")
    for case in cases:
        table.add_row(
            case.case_id[:8],
            f"[{_COLOUR.get(case.state, 'cyan')}]{case.state}[/]",
            _stage(case),
            _shares(case.probabilities),
            str(case.stage_set or ""),
            _SOURCE[case.key_slice_source] if case.key_slice_source else "",
            _supporting(case),
            ", ".join(FLAG_MEANINGS[flag].words for flag in case.flags if flag not in _ELSEWHERE),
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


def show_looked_back(console: Console, summary: Mapping[str, Any] | None) -> None:
    """How many cases came by looking back on earlier days, and why only now."""
    found = (summary or {}).get("looked_back") or {"cases": 0}
    if not found["cases"]:
        return
    mended = sum(found["mended"].values())
    codes = f" ({', '.join(found['mended'])})" if mended else ""
    console.print(
        f"{found['cases']} of {(summary or {})['cases']} cases came by looking back: {found['late']} new to us, "
        f"{mended} refused before{codes}, {found['begun_anew']} begun anew",
        highlight=False,
    )


def show_canary(console: Console, canaries: Sequence[Mapping[str, Any]]) -> None:
    """What each machine made of the model's own phantom series that night."""
    for one in canaries:
        colour = {"passed": "green", "failed": "bold red"}.get(one["outcome"], "yellow")
        said = f"in {one['seconds']:.1f} s: {escape(one['sentence'])}"
        console.print(f"[{colour}]canary {one['outcome']}[/] {said}", highlight=False)


def show_shadow(console: Console, summary: Mapping[str, Any] | None) -> None:
    """How far each model in shadow agreed with the champion that night."""
    for version, found in (summary or {}).get("shadow", {}).items():
        if isinstance(found, Mapping):  # else the sentence of an error
            agreement = f"{found['agree']} of {found['cases']} as the champion"
            agreement += f", {found['higher']} higher, {found['lower']} lower"
            failed = f"; {len(found['errors'])} not staged" if found["errors"] else ""
            console.print(f"in shadow {version[:12]}: {agreement}{failed}", highlight=False)


def _stage(case: NightCase) -> str:
    """The stage that counts, or that none was given; said whose it is where it is not the network's."""
    by = f" ({case.primary})" if case.primary is AnswerSource.NOMOGRAM else ""
    if case.not_staged:
        return "none"
    return f"{case.t_stage}{by}" if case.t_stage else ""


def _supporting(case: NightCase) -> str:
    if Flag.NO_NOMOGRAM in case.flags:
        return FLAG_MEANINGS[Flag.NO_NOMOGRAM].words
    found = case.supporting
    return f"{found.source} {found.t_stage}: {_shares(found.probabilities)}" if found else ""


def _shares(probabilities: StageProbabilities | None) -> str:
    return " ".join(f"{p:.2f}" for p in probabilities.values) if probabilities else ""
