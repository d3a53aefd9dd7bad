"""`gtr restage`: replay nights or accession numbers with any model; look; and, approved, let that be the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from gtr_batch.cli.shell import out, parse_night, print_json, speaks_plainly, step_bars

if TYPE_CHECKING:
    from gtr_batch.domain.replay import Comparison, Redelivered

app = typer.Typer()


@app.command("restage")
@speaks_plainly
def restage(
    night: Annotated[list[str] | None, typer.Option(help="A night, YYYY-MM-DD; may be given more than once.")] = None,
    accession: Annotated[
        list[str] | None, typer.Option(help="An accession number; may be given more than once.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Version, or the digits that it begins with.")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Replay and compare; nothing is sent.")] = False,
    deliver: Annotated[
        str | None, typer.Option(help="Digest of a comparison that you have seen: send its results to the PACS.")
    ] = None,
    by: Annotated[str, typer.Option(help="Your name; needed to deliver.")] = "",
    why: Annotated[str, typer.Option(help="The reason; needed to deliver.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Replay nights or accession numbers with a model and compare; nothing goes to the PACS without an approval."""
    from gtr_batch.access import refusals_noted
    from gtr_batch.domain.model_json import to_json
    from gtr_batch.errors import InputRefused
    from gtr_batch.governance import restage as replay
    from gtr_batch.governance.registry import find
    from gtr_batch.wiring import open_governance

    if compare == bool(deliver):
        raise InputRefused("either --compare (with --model and --night or --accession) or --deliver DIGEST")
    with step_bars() as progress, open_governance(progress=progress) as gov:
        if deliver:
            with refusals_noted(gov.night.trail, "restage.approve", "comparison", deliver, by=by):
                done = replay.deliver(gov, deliver, by=by, why=why)
            _show_delivered(done, as_json=as_json)
            return
        if not model or not (night or accession):
            raise InputRefused("--compare wants --model, and --night or --accession")
        nights = [when for when in map(parse_night, night or []) if when is not None]
        found = replay.compare(gov, find(gov.registry, model), nights=nights, accession_numbers=accession or [])
        approvals = gov.restages.approvals(found.digest)
    if as_json:
        print_json({**found.to_json(), "approvals": to_json(approvals)})
    else:
        _show(found)
        for approval in approvals:
            out.print(replay.approval_in_words(approval), highlight=False)


def _show_delivered(done: Redelivered, *, as_json: bool) -> None:
    if as_json:
        print_json({"digest": done.digest, "delivered": list(done.delivered), "failed": dict(done.failed)})
    else:
        out.print(f"{len(done.delivered)} cases delivered, {len(done.failed)} failed", highlight=False)
        for case_id, sentence in done.failed.items():
            out.print(f"[red]{case_id}: {escape(sentence)}[/]", highlight=False)
    if done.failed:
        raise typer.Exit(1)


def _show(found: Comparison) -> None:
    table = Table("case", "night", "before", "after", "P(T1..T4) after", box=None)
    for case in found.cases:
        was = f"{case.before.t_stage} ({case.before.model_version[:8]})" if case.before else "-"
        now = case.after.t_stage if case.after else f"[red]{escape(case.error or '')}[/]"
        p = " ".join(f"{v:.2f}" for v in case.after.probabilities) if case.after else ""
        table.add_row(case.case_id[:8], case.night, was, f"[bold]{now}[/]" if case.changed else now, p)
    out.print(table)
    together = found.agreement
    interval = together["share_95"]
    share = f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    kappa = f"; quadratic kappa {together['kappa']:.2f}" if together["kappa"] is not None else ""
    out.print(f"{together['agree']} of {together['cases']} agree{share}{kappa}", highlight=False)
    out.print(f"comparison {found.digest[:12]}; nothing was sent", highlight=False)
