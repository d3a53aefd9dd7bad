"""`gtr watch`: look how the nights are, and tell operations what they do not know yet; for cron or a systemd timer."""

from __future__ import annotations

from typing import Annotated

import typer

from gtr_batch.cli.model_options import Json
from gtr_batch.cli.shell import RED, err, foreign, out, print_json, speaks_plainly


@speaks_plainly
def watch(
    test: Annotated[
        bool, typer.Option("--test", help="Send a test notice over every channel, and look at nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Tell operations, once, of a night that is red, late or did not begin, and of a stopped service."""
    from gtr_batch.wiring import send_test_notice, watch_nights

    if test:
        for channel in send_test_notice():
            out.print(f"{channel}: a test notice was sent", highlight=False)
        return
    found = watch_nights()
    if as_json:
        print_json(
            {
                "raised": [{"key": one.key, "kind": str(one.kind), "subject": one.subject} for one in found.raised],
                "delivered": found.delivered,
                "trouble": dict(found.trouble),
            }
        )
    else:
        for one in found.raised:
            out.print(foreign(one.subject), highlight=False)
        out.print(f"{len(found.raised)} new, {found.delivered} delivered", highlight=False)
    for sentence in found.trouble.values():
        err.print(f"[yellow]not delivered, tried again by the next run: {foreign(sentence)}[/]", highlight=False)
    if found.trouble:
        raise typer.Exit(RED)
