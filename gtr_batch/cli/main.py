"""All commands, by noun."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtr_batch import __version__, logs
from gtr_batch.cli import (
    audit,
    audit_trail,
    case,
    demo,
    doctor,
    ehr,
    evaluate,
    fit_nomogram,
    leaks,
    model,
    pacs,
    restage,
    ris,
    sbom,
    settings,
    stage_now,
    switch,
    training,
    watch,
)
from gtr_batch.cli.shell import err, foreign, out, parse_night, print_json, speaks_plainly, step_bars
from gtr_batch.errors import InputRefused

if TYPE_CHECKING:
    from gtr_batch.config import Config
    from gtr_batch.domain.night_case import NightCase
    from gtr_batch.errors import CanaryFailed
    from gtr_batch.night.site import Site

app = typer.Typer(
    help="Gastric cancer T staging, every night, from PACS to PACS.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
# Every module of commands has an `app`: with a name it is a noun, without one its commands are `gtr`'s own.
app.add_typer(doctor.app)
app.add_typer(restage.app)
app.add_typer(leaks.app)
app.add_typer(fit_nomogram.app)
app.add_typer(pacs.app, name="pacs")
app.add_typer(ehr.app, name="ehr")
app.add_typer(case.app, name="case")
app.add_typer(model.app, name="model")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(training.app, name="train")
app.add_typer(settings.app, name="settings")
app.add_typer(audit.app, name="audit")
app.add_typer(audit_trail.app, name="audit-trail")
app.add_typer(ris.app, name="ris")
app.add_typer(demo.app, name="demo")

Night = Annotated[str | None, typer.Option(help="The evening the night began, YYYY-MM-DD.")]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


@app.callback()
def main(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every step to standard error.")] = False,
) -> None:
    """Settings come from the TOML file that GTR_CONFIG names and from GTR_<SECTION>__<SETTING>."""
    logs.configure(level="INFO" if verbose else "ERROR")


@app.command("version")
@speaks_plainly
def version(as_json: Json = False) -> None:
    """Print the version."""
    if as_json:
        print_json({"version": __version__})
    else:
        out.print(__version__)


app.command("sbom")(sbom.sbom)
app.command("stop")(switch.stop)
app.command("resume")(switch.resume)
app.command("watch")(watch.watch)


@app.command("night")
@speaks_plainly
def night(
    night: Night = None,
    accession: Annotated[
        str | None, typer.Option(help="One study at once, ahead of a running night: its accession number.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="The same by Study Instance UID.")] = None,
    case_id: Annotated[str | None, typer.Option("--case", help="The same by case id.")] = None,
    as_it_is: Annotated[
        bool, typer.Option("--as-it-is", help="Take that study although its images may still be arriving.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a night, or one study at once, without Airflow: from PACS to PACS. Finished cases are left alone."""
    now = [value is not None for value in (accession, study, case_id)]
    if sum([night is not None, *now]) != 1 or (as_it_is and not any(now)):
        raise InputRefused("one of --night, --accession, --study and --case; --as-it-is goes with the last three")
    if any(now):
        stage_now.stage_now(accession, study, case_id, as_it_is=as_it_is, as_json=as_json)
        return
    from gtr_batch import night as steps
    from gtr_batch.config import load
    from gtr_batch.errors import CasesSentBack, NightFailed, TransientError
    from gtr_batch.night.task_memory import limited_memory
    from gtr_batch.wiring import open_site

    when = parse_night(night)
    assert when is not None  # one of the options is given
    config = load()
    with limited_memory(config), step_bars() as progress, open_site(config, progress=progress) as site:
        studies = steps.query_pacs(site, when)
        wait_for_arrivals(site, studies)
        shards = steps.intake(site, when, studies)
        broken = _canary(site, when)
        for step in steps.SHARD_STEPS if broken is None else ():
            for shard in shards:
                try:
                    step(site, when, shard)
                except (TransientError, CasesSentBack) as error:  # as in Airflow: close_night decides the colour
                    err.print(f"[yellow]{foreign(error)}[/]", highlight=False)
        for shard in shards if broken is None else ():
            steps.shadow(site, when, shard)
        if config.tells_of_results or config.sends_words:
            _send_results(config)
        red: NightFailed | None = None
        try:
            summary = steps.close_night(site, when)
        except NightFailed as error:  # what became of the cases is told all the same
            red, summary = error, dict(site.nights.summary(when) or {})
        cases = _cases(site, when)
    if as_json:
        print_json({**summary, "cases": [case.to_json() for case in cases]})
    else:
        _show(when, cases, summary, (summary or {}).get("canary", ()))
    if red is not None:
        raise red


def _canary(site: Site, when: date) -> CanaryFailed | None:
    """Stage the night's canary; where it fails no patient is staged, and `close_night` says so."""
    from gtr_batch import night as steps
    from gtr_batch.errors import CanaryFailed

    try:
        steps.canary(site, when)
    except CanaryFailed as error:
        err.print(f"[bold red]{foreign(error)}[/]", highlight=False)
        return error
    return None


def _send_results(config: Config) -> None:
    """Tell the RIS, and a FHIR server; what they do not take waits, and does not turn the night red."""
    from gtr_batch.errors import TransientError
    from gtr_batch.wiring import send_result_messages

    try:
        send_result_messages(config)
    except TransientError as error:
        err.print(f"[yellow]{foreign(error)}[/]", highlight=False)


def wait_for_arrivals(site: Site, studies: list[str]) -> None:
    """Wait until studies that were looked at a moment ago may have stood still for `night.settle_minutes`."""
    from gtr_batch.night import settles_at

    until = settles_at(site, studies)
    if until is not None:
        err.print(f"waiting until {until:%H:%M} UTC: studies may still be arriving (night.settle_minutes)")
    while until is not None:
        time.sleep(min(30.0, max(0.0, (until - site.clock.now()).total_seconds())))
        until = settles_at(site, studies)


@app.command("status")
@speaks_plainly
def status(night: Night = None, as_json: Json = False) -> None:
    """Show what became of a night's cases: staged, refused, failed and why. Default: the latest night."""
    from gtr_batch.access import looked
    from gtr_batch.night.close import canaries_of
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        site = gov.night
        when = parse_night(night) or site.nights.last()
        stopped = site.switch.stopped()
        if not as_json:
            switch.show_stop(site)
        if when is None:
            err.print("no night has run yet")
            raise typer.Exit(1)
        looked(site.trail, "night", str(when))
        cases = _cases(site, when)
        summary = site.nights.summary(when)
        canary = canaries_of(site, when)
        versions = dict.fromkeys(case.model_version for case in cases if case.model_version)
        withdrawn = [version for version in versions if gov.registry.state(version) == "withdrawn"]
    if as_json:
        print_json(
            {
                "stopped": stopped.sentence if stopped else "",
                "night": str(when),
                "summary": summary,
                "canary": canary,
                "withdrawn": withdrawn,
                "cases": [c.to_json() for c in cases],
            }
        )
    else:
        _show(when, cases, summary, canary)
        for version in withdrawn:
            out.print(f"[bold red]Model {version[:12]} was withdrawn: its results must not be used.[/]")
        if summary is None:
            out.print("[yellow]The night is not closed yet.[/]")


def _show(
    when: date,
    cases: Sequence[NightCase],
    summary: Mapping[str, Any] | None,
    canary: Sequence[Mapping[str, Any]],
) -> None:
    """A night's table, and what is to say below it."""
    from gtr_batch.cli.table import show_canary, show_looked_back, show_night, show_shadow, show_waiting

    show_night(out, when, cases)
    show_canary(out, canary)
    show_waiting(out, summary)
    show_looked_back(out, summary)
    show_shadow(out, summary)


def _cases(site: Site, when: date) -> list[NightCase]:
    from gtr_batch.night.close import night_cases

    return night_cases(site, when)


@app.command("nomogram")
@speaks_plainly
def nomogram(
    rad_score: Annotated[float, typer.Option(help="Rad-score in SD of the training cohort.")],
    size_cm: Annotated[float | None, typer.Option(help="Largest tumour diameter in cm.")] = None,
    differentiation: Annotated[str | None, typer.Option(help="well, moderate or poor.")] = None,
    lauren: Annotated[str | None, typer.Option(help="intestinal, diffuse or mixed.")] = None,
    coefficients: Annotated[str, typer.Option(help="champion or paper-table-3.")] = "champion",
    as_json: Json = False,
) -> None:
    """Points and P(T1..T4) of one patient; what is not given is marginalised over the cohort."""
    from gtr_batch.nomogram import paper_table_3, parse_inputs, score, score_as_json

    if coefficients not in ("champion", "paper-table-3"):
        raise InputRefused(f"coefficients {coefficients!r} are not known; one of: champion, paper-table-3")
    inputs = parse_inputs(size_cm, differentiation, lauren, rad_score)
    if coefficients == "paper-table-3":
        table = paper_table_3()
    else:
        from gtr_batch.config import load
        from gtr_batch.stage import read_manifest
        from gtr_batch.wiring import open_site

        config = load()
        with open_site(config) as site:
            # Without a database there is no registry: then the artefact of the settings is asked.
            folder = site.model_store.champion() if config.database.dsn else config.stage.artefact
        own = read_manifest(folder)[0].nomogram
        if own is None:
            raise InputRefused("the champion has no nomogram of its own; paper-table-3 are the paper's coefficients")
        table = own
    answer = score(table, inputs.rad_score, inputs.covariates)
    if as_json:
        print_json(score_as_json(answer))
        return
    out.print(
        f"{foreign(table.name)}: {answer.points['total']:.1f} points, linear predictor {answer.linear_predictor:.3f}"
    )
    for stage, p, low, high in zip(
        ("T1", "T2", "T3", "T4"), answer.probabilities.values, answer.low, answer.high, strict=True
    ):
        spread = f"  ({low:.3f} to {high:.3f}; not known: {', '.join(answer.missing)})" if answer.missing else ""
        out.print(f"  P({stage}) {p:.3f} {'█' * round(p * 40)}{spread}", highlight=False)


@app.command("migrate")
@speaks_plainly
def migrate(as_json: Json = False) -> None:
    """Bring the database's schema up to date (role owner; GTR_DATABASE__OWNER_DSN)."""
    from gtr_batch.config import load
    from gtr_batch.db import migrate as run
    from gtr_batch.errors import ConfigError

    dsn = load().database.owner_dsn
    if not dsn:
        raise ConfigError("database.owner_dsn is not set: `gtr migrate` needs the owner role; see sql/README.md")
    applied = run(dsn)
    if as_json:
        print_json({"applied": applied})
    else:
        out.print("\n".join(applied) if applied else "nothing to do: the schema is up to date")
