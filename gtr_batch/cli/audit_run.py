"""`gtr audit month|week|list|show|rerun|alarms|acknowledge`: run an audit, read it, run it again, answer it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from gtr_batch.cli.shell import RED, err, foreign, out, parse_night, print_json, speaks_plainly
from gtr_batch.domain.audit_kind import AuditKind

if TYPE_CHECKING:
    from gtr_batch.audit.site import AuditSite
    from gtr_batch.domain.audit_run import RaisedAlarm

app = typer.Typer()

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
By = Annotated[str, typer.Option(help="Your name; kept in the history.")]
AsOf = Annotated[
    str | None, typer.Option("--as-of", help="Count pathology reported by this day. Default: the period's last day.")
]
_COLOURS = {"yes": "green", "look": "yellow", "stop": "red", "cannot tell": "magenta"}


@app.command("month")
@speaks_plainly
def month(
    month: Annotated[str | None, typer.Option(help="2026-03. Default: the last whole month.")] = None,
    as_of: AsOf = None,
    by: By = "gtr audit month",
    as_json: Json = False,
) -> None:
    """Audit a month: drift, calibration, utility; answers whether the model may be used on."""
    _audit(AuditKind.MONTH, month, as_of, by, as_json)


@app.command("week")
@speaks_plainly
def week(
    week: Annotated[str | None, typer.Option(help="2026-W10. Default: the last whole week.")] = None,
    day: Annotated[str | None, typer.Option(help="Any day of the week, YYYY-MM-DD, instead.")] = None,
    as_of: AsOf = None,
    by: By = "gtr audit week",
    as_json: Json = False,
) -> None:
    """Let the monitors look at a week."""
    from gtr_batch.errors import InputRefused

    if week and day:
        raise InputRefused("either --week or --day")
    _audit(AuditKind.WEEK, week or day, as_of, by, as_json)


def _audit(kind: AuditKind, wanted: str | None, as_of: str | None, by: str, as_json: bool) -> None:
    from gtr_batch.audit.period import day_in
    from gtr_batch.audit.run import run_audit

    day = day_in(kind, wanted) if wanted else None
    until = parse_night(as_of)
    with _site() as site:
        found = run_audit(site, kind, day or _last_whole(site, kind), by, as_of=until)
    if as_json:
        print_json(_json(found))
        return
    out.print(
        f"{found.period}  may we go on using model {found.model_version[:12]}?  "
        f"[bold {_COLOURS[found.answer]}]{found.answer}[/]",
        highlight=False,
    )
    for reason in found.reasons:
        out.print(f"  {foreign(reason)}", highlight=False)
    for alarm in found.alarms:
        out.print(f"[yellow]new alarm {alarm.alarm_id}[/] ({alarm.level}): {foreign(alarm.sentence)}", highlight=False)
    out.print(f"audit {found.run_id[:12]}; report in {foreign(found.folder)}", highlight=False)


@app.command("list")
@speaks_plainly
def runs(
    kind: Annotated[AuditKind | None, typer.Option(help="week or month. Default: both.")] = None,
    as_json: Json = False,
) -> None:
    """List every audit, newest first."""
    with _site() as site:
        found = site.book.runs(kind)
    if as_json:
        print_json(_json(found))
        return
    table = Table("audit", "period", "as of", "model", "answer", "patients", "accuracy", "made", "asked by", box=None)
    for run in found:
        n, accuracy = run.headline.get("n"), run.headline.get("accuracy")
        table.add_row(
            run.run_id[:12],
            run.period,
            str(run.as_of),
            run.model_version[:12],
            f"[{_COLOURS[run.answer]}]{run.answer}[/]",
            "-" if n is None else str(n),
            "-" if accuracy is None else f"{accuracy:.3f}",
            f"{run.made_at:%Y-%m-%d %H:%M}",
            foreign(run.asked_by),
        )
    out.print(table if found else "no audit has been run yet")


@app.command("show")
@speaks_plainly
def show(
    digits: Annotated[str, typer.Argument(help="The run's id, or the digits that it begins with.")],
    as_json: Json = False,
) -> None:
    """Show what is written down of an audit, and where its report lies."""
    from gtr_batch.audit.report_store import report_folder
    from gtr_batch.audit.run import find

    with _site() as site:
        run = find(site, digits)
        folder = report_folder(site.folder, run)
    if as_json:
        print_json({**_json(run), "folder": str(folder)})
        return
    out.print(f"audit {run.run_id}", highlight=False)
    out.print(f"  {run.kind} {run.period}, pathology as of {run.as_of}", highlight=False)
    out.print(f"  model {run.model_version}, code {run.code_version}", highlight=False)
    out.print(f"  answer [bold {_COLOURS[run.answer]}]{run.answer}[/]", highlight=False)
    out.print(f"  asked by {foreign(run.asked_by)}, made {run.made_at:%Y-%m-%d %H:%M} UTC", highlight=False)
    for name, value in sorted(run.headline.items()):
        out.print(f"    {name:<24} {_number(value)}", highlight=False)
    out.print(f"  report in {foreign(folder)}", highlight=False)
    for name, digest in sorted(run.files.items()):
        out.print(f"    {name:<24} SHA-256 {digest}", highlight=False)


@app.command("rerun")
@speaks_plainly
def rerun(
    digits: Annotated[str, typer.Argument(help="The run's id, or the digits that it begins with.")],
    as_json: Json = False,
) -> None:
    """Compute an audit again from its kept inputs and compare byte for byte; exit code 1 where it is not the same."""
    from gtr_batch.audit.run import rerun as again

    with _site() as site:
        found = again(site, digits)
    if as_json:
        print_json(_json(found))
    else:
        for name, file in found.files.items():
            same = file.kept == file.now
            out.print(f"{'[green]same[/]' if same else '[red]other[/]'}  {name}  {file.now}", highlight=False)
        out.print(f"audit {found.run_id[:12]}: {found.sentence}", highlight=False)
    if not found.same:
        raise typer.Exit(RED)


@app.command("alarms")
@speaks_plainly
def alarms(
    only_open: Annotated[bool, typer.Option("--open", help="Only those that nobody has acknowledged.")] = False,
    as_json: Json = False,
) -> None:
    """List alarms: what crossed when, and who has looked."""
    with _site() as site:
        found = site.book.alarms(only_open=only_open)
    if as_json:
        print_json(_json(found))
        return
    table = Table("alarm", "level", "monitor", "night", "audit", "model", "what", "who has looked", box=None)
    for alarm in found:
        level = f"[{'red' if alarm.level == 'stop' else 'yellow'}]{alarm.level}[/]"
        where = (str(alarm.night), alarm.period, alarm.model_version[:12])
        table.add_row(str(alarm.alarm_id), level, alarm.monitor, *where, foreign(alarm.sentence), _looked(alarm))
    out.print(table if found else f"no {'open ' if only_open else ''}alarm")


def _json(found: object) -> Any:
    """What an audit found, as JSON; the reader of such classes brings numpy with it, so that `gtr --help` does not."""
    from gtr_batch.domain.audit_json import to_json

    return to_json(found)


def _looked(alarm: RaisedAlarm) -> str:
    if alarm.acknowledged_at is None:
        return "[bold]open[/]"
    again = f"; watches anew from {alarm.watch_from}" if alarm.watch_from else ""
    return foreign(f"{alarm.acknowledged_by}, {alarm.acknowledged_at:%Y-%m-%d}: {alarm.note}{again}")


@app.command("acknowledge")
@speaks_plainly
def acknowledge(
    alarm: Annotated[int, typer.Argument(help="Its number, as `gtr audit alarms` lists it.")],
    by: Annotated[str, typer.Option(help="Your name.")],
    note: Annotated[str, typer.Option(help="What you found; kept permanently.")],
    watch_from: Annotated[
        str | None, typer.Option(help="Night, YYYY-MM-DD, from which its monitor watches anew.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Close an alarm in your name. A pause of delivery that it caused ends; run those nights again."""
    from gtr_batch.access import refusals_noted
    from gtr_batch.audit.alarms import acknowledge as close

    begin: date | None = parse_night(watch_from)
    with _site() as site:
        with refusals_noted(site.trail, "alarm.acknowledge", "alarm", str(alarm), by=by):
            close(site.book, alarm, by=by, note=note, watch_from=begin)
        left = len(site.book.alarms(only_open=True))
    if as_json:
        print_json({"alarm_id": alarm, "by": by, "note": note, "watch_from": begin, "open": left})
        return
    out.print(f"alarm {alarm} is acknowledged by {foreign(by)}; {left} open", highlight=False)
    if begin is None:
        err.print(
            "[yellow]Its monitor goes on where it is and raises no second alarm; --watch-from lets it watch anew.[/]",
            highlight=False,
        )


@contextmanager
def _site() -> Iterator[AuditSite]:
    from gtr_batch.wiring import open_audit

    with err.status("audit") as spinner, open_audit(progress=spinner.update) as site:
        yield site


def _last_whole(site: AuditSite, kind: AuditKind) -> date:
    """The last day of the last whole period before today, by the hospital's calendar."""
    from zoneinfo import ZoneInfo

    from gtr_batch.audit.period import period_before

    today = site.clock.now().astimezone(ZoneInfo(site.config.night.timezone)).date()
    return period_before(kind, today)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
