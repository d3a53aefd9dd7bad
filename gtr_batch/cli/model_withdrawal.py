"""`gtr model withdraw`, `reports`, `notices`: a model leaves for good, and what it said is superseded."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from gtr_batch.cli.model_options import By, Json, Shown, Version, Why, cards_of, shown_champion
from gtr_batch.cli.shell import bars, foreign, out, print_json, speaks_plainly

app = typer.Typer()


@app.command("withdraw")
@speaks_plainly
def withdraw(
    version: Version,
    by: By,
    why: Why,
    replaces: Shown,
    successor: Annotated[str | None, typer.Option(help="Who stages from now on, where it is the champion.")] = None,
    no_successor: Annotated[
        bool, typer.Option("--no-successor", help="Nobody: nights refuse to stage until a model is promoted.")
    ] = False,
) -> None:
    """Withdraw a model for good, and list every report of it that the PACS holds."""
    from gtr_batch.access import refusals_noted
    from gtr_batch.governance.registry import find
    from gtr_batch.governance.withdrawal import affected, due_of
    from gtr_batch.governance.withdrawal import withdraw as run
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        chosen = find(gov.registry, version)
        after = find(gov.registry, successor) if successor else None
        with refusals_noted(gov.night.trail, "model.withdraw", "model", chosen, by=by):
            run(
                gov.registry,
                chosen,
                by=by,
                why=why,
                shown=shown_champion(gov, replaces),
                successor=after,
                no_successor=no_successor,
            )
        cards_of(gov, chosen, after, by=by)
        rows = affected(gov.registry, chosen)
        due = len(due_of(gov.night, rows))
    out.print(f"{chosen[:12]} is withdrawn; it made {len(rows)} reports, {due} stand in the PACS", highlight=False)
    out.print(f"look: gtr model reports {chosen[:12]}", highlight=False)
    if due:
        out.print(f"then: gtr model notices {chosen[:12]} --approve {due} --by NAME", highlight=False)


@app.command("reports")
@speaks_plainly
def reports(version: Version, as_json: Json = False) -> None:
    """List every structured report that a model produced, and what became of it."""
    from gtr_batch.access import looked
    from gtr_batch.domain.model_json import to_json
    from gtr_batch.governance.registry import find
    from gtr_batch.governance.withdrawal import affected, due_of
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        chosen = find(gov.registry, version)
        looked(gov.night.trail, "model", chosen)
        rows = affected(gov.registry, chosen)
        due = due_of(gov.night, rows)
    if as_json:
        print_json([{**to_json(row), "due": row in due} for row in rows])
        return
    table = Table("night", "case", "SOP Instance UID", "in the PACS", "superseded by", "rejected", box=None)
    for row in rows:
        after = "a withdrawal notice" if row.notice_stored else ("a later result" if row.superseded else "")
        there = "deleted there" if row.gone else ("yes" if row.stored else "no")
        rejected = "yes" if row.rejection_stored else ""
        table.add_row(str(row.night), row.case_id[:8], row.sop_instance_uid, there, after, rejected)
    out.print(table)


@app.command("notices")
@speaks_plainly
def notices(
    version: Version,
    by: By,
    approve: Annotated[int, typer.Option(help="How many reports you were shown to be superseded.")],
    as_json: Json = False,
) -> None:
    """Supersede the reports of a withdrawn model in the PACS, once you have seen the list."""
    from gtr_batch.access import refusals_noted
    from gtr_batch.domain.model_json import to_json
    from gtr_batch.errors import GovernanceRefused
    from gtr_batch.governance.registry import answered_for, find
    from gtr_batch.governance.withdrawal import affected, due_of, send_notices
    from gtr_batch.wiring import open_governance

    answered_for(by, "withdrawal notices")
    with open_governance() as gov, bars() as progress:
        chosen = find(gov.registry, version)
        due = [row.sop_instance_uid for row in due_of(gov.night, affected(gov.registry, chosen))]
        if len(due) != approve:
            raise GovernanceRefused(
                f"{len(due)} reports of model {chosen[:12]} are to be superseded, approved were {approve}; nothing is "
                f"sent. Look again: gtr model reports {chosen[:12]}"
            )
        bar = progress.add_task("notices", total=len(due))
        with refusals_noted(gov.night.trail, "model.notices", "model", chosen, by=by):
            found = send_notices(
                gov.night,
                gov.registry,
                chosen,
                due,
                progress=lambda done, total: progress.update(bar, completed=done, total=total),
            )
        gov.registry.attach(chosen, "approval", {"notices": to_json(found), "approved": due}, by=by)
    if as_json:
        print_json(to_json(found))
    else:
        out.print(f"{found.sent} reports superseded in the PACS, {len(found.failed)} failed", highlight=False)
        for uid in found.gone:
            out.print(f"{uid}: deleted from the PACS with its study, nothing to supersede", highlight=False)
        for uid, sentence in found.failed.items():
            out.print(f"[red]{uid}: {foreign(sentence)}[/]", highlight=False)
    if found.failed:
        raise typer.Exit(1)
