"""`gtr audit-trail show|send`: who looked at, approved, sent or changed what; and to the hospital's repository."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from gtr_batch.cli.shell import foreign, out, print_json, speaks_plainly

app = typer.Typer(help="Who looked at, approved, sent or changed what.")


@app.command("show")
@speaks_plainly
def show(
    most: Annotated[int, typer.Option(help="How many, the newest ones.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Show what was noted last."""
    from gtr_batch.domain.model_json import to_json
    from gtr_batch.wiring import open_site

    with open_site() as site:
        events = site.trail.newest(most)
    if as_json:
        print_json(to_json(events))
        return
    table = Table("when (UTC)", "who", "account", "login", "what", "of", "how it ended", "why", box=None)
    for one in events:
        of = f"{one.object_kind} {one.object_id[:36]}"
        texts = (one.actor, one.os_user, one.db_user, one.action, of, one.outcome, one.why)
        table.add_row(f"{one.at:%Y-%m-%d %H:%M:%S}", *map(foreign, texts))
    out.print(table if events else "nothing was noted yet")


@app.command("send")
@speaks_plainly
def send() -> None:
    """Send what the audit repository (audit_trail.syslog) has not got; cut off, the next one goes on."""
    from gtr_batch.wiring import send_audit_trail

    out.print(f"{send_audit_trail()} events sent")
