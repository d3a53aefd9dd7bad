"""`gtr stop` and `gtr resume`: the whole service, by a named person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtr_batch.cli.model_options import By, Json, Why
from gtr_batch.cli.shell import foreign, out, print_json, speaks_plainly

if TYPE_CHECKING:
    from gtr_batch.night.site import Site


@speaks_plainly
def stop(by: By, why: Why, as_json: Json = False) -> None:
    """Stop the service: from now on nothing is staged and nothing is sent, anywhere, until `gtr resume`."""
    from gtr_batch.access import refusals_noted
    from gtr_batch.governance import switch
    from gtr_batch.wiring import open_site

    with open_site() as site, refusals_noted(site.trail, "service.stop", "switch", "service", by=by):
        found = switch.stop(site, by=by, why=why)
    if as_json:
        print_json({"stopped": True, "by": found.by_whom, "why": found.why, "at": found.at.isoformat()})
    else:
        out.print(f"[bold red]Stopped.[/] {foreign(found.sentence)}. `gtr resume` ends it.", highlight=False)


@speaks_plainly
def resume(by: By, why: Why, as_json: Json = False) -> None:
    """Let a stopped service work again; the nights that were held up are then run again (`gtr night`)."""
    from gtr_batch.access import refusals_noted
    from gtr_batch.governance import switch
    from gtr_batch.wiring import open_site

    with open_site() as site, refusals_noted(site.trail, "service.resume", "switch", "service", by=by):
        ended = switch.resume(site, by=by, why=why)
        last = site.nights.last()
    if as_json:
        print_json({"stopped": False, "last_night": last and str(last)})
        return
    out.print(f"Resumed; {foreign(ended.sentence)}.", highlight=False)
    if last is not None:
        out.print(f"Run again what was held up: gtr night --night {last}", highlight=False)


def show_stop(site: Site) -> None:
    """Say so where the service is stopped."""
    found = site.switch.stopped()
    if found is not None:
        out.print(f"[bold red]STOPPED:[/] {foreign(found.sentence)}. Nothing is staged or sent.", highlight=False)
