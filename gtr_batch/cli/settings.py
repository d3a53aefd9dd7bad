"""`gtr settings`: the settings that decide who is staged, what is sent and what is promoted, with their history."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from gtr_batch.cli.shell import foreign, out, print_json, speaks_plainly

app = typer.Typer(help="Governed settings: eligibility, delivery, the gate, the audit; who changed them, when, why.")
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


@app.command("show")
@speaks_plainly
def show(
    case: Annotated[str | None, typer.Option(help="A case id: the settings under which its result was made.")] = None,
    as_json: Json = False,
) -> None:
    """Show every governed setting, its value and where it comes from; or those of one result."""
    from gtr_batch.access import looked
    from gtr_batch.domain.governed_settings import governed
    from gtr_batch.errors import InputRefused
    from gtr_batch.wiring import open_site

    with open_site() as site:
        assert site.settings_history is not None  # the real site has them
        if case is not None:
            looked(site.trail, "case", case)
            made = site.settings_history.made_under(case)
            if made is None:
                raise InputRefused(f"case {case}: no result, or one that is older than the history of settings")
            values, source = dict(sorted(site.settings_history.snapshot(made.settings_digest).items())), {}
            head = f"case {case}: model {made.model_version[:12]}, opened {made.at:%Y-%m-%d %H:%M} UTC, "
            head += f"settings {made.settings_digest[:12]}"
        else:
            values, source = governed(site.settings), dict.fromkeys(site.settings_history.current(), "history")
            head = ""
    if as_json:
        print_json(values)
        return
    if head:
        out.print(foreign(head), highlight=False)
    table = Table("setting", "value", "from", box=None)
    for name, value in values.items():
        table.add_row(name, foreign(value), "" if head else source.get(name, "file"))
    out.print(table)


@app.command("history")
@speaks_plainly
def history(as_json: Json = False) -> None:
    """Show every change: who, when, why."""
    from gtr_batch.domain.model_json import to_json
    from gtr_batch.wiring import open_site

    with open_site() as site:
        assert site.settings_history is not None  # the real site has them
        changes = site.settings_history.history()
    if as_json:
        print_json(to_json(changes))
        return
    table = Table("when (UTC)", "setting", "value", "who", "why", box=None)
    for one in changes:
        value = "back to the file" if one.value is None else str(one.value)
        table.add_row(f"{one.at:%Y-%m-%d %H:%M}", one.name, *map(foreign, (value, one.by_whom, one.why)))
    out.print(table if changes else "no setting was ever changed: the file holds")


@app.command("set")
@speaks_plainly
def change(
    name: Annotated[str, typer.Argument(help="section.name, as `gtr settings show` lists them.")],
    value: Annotated[str, typer.Argument(help="The new value, or 'file': the settings file holds again.")],
    by: Annotated[str, typer.Option(help="Your name.")],
    why: Annotated[str, typer.Option(help="Why; kept permanently.")],
) -> None:
    """Change a governed setting from the next night on; the settings file stays as it is."""
    from gtr_batch.access import refusals_noted
    from gtr_batch.domain.governed_settings import checked_value
    from gtr_batch.governance.registry import answered_for
    from gtr_batch.wiring import open_site

    answered_for(by, why)
    new = None if value == "file" else checked_value(name, value)
    with open_site() as site:
        assert site.settings_history is not None  # the real site has them
        with refusals_noted(site.trail, "setting.change", "setting", name, by=by):
            site.settings_history.set(name, new, by=by, why=why)
    out.print(f"{name} is {'as the file says' if new is None else foreign(new)} from now on", highlight=False)
