"""`gtr demo`: a night of the synthetic hospital through the real Airflow; and three longer stories."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtr_batch.cli import demo_audit, demo_retraining, demo_training
from gtr_batch.cli.demo_start import counting, end, play, show_wrong, start_hospital, step, tasks_of
from gtr_batch.cli.shell import RED, err, foreign, out, speaks_plainly

if TYPE_CHECKING:
    from gtr_batch.domain.night_case import NightCase
    from gtr_batch.simulation.demos.demo import Demo

app = typer.Typer(help="A night of the synthetic hospital through the real Airflow.", no_args_is_help=True)
app.add_typer(demo_training.app)
app.add_typer(demo_retraining.app)
app.add_typer(demo_audit.app)
Folder = Annotated[Path, typer.Option(help="Where the demo lives.")]
Ct = Annotated[Path | None, typer.Option(help="Folder of a real CT series: one more patient of the night.")]
Key = Annotated[str | None, typer.Option(help="Its key slice: a SOP Instance UID or an instance number.")]
Artefact = Annotated[Path | None, typer.Option(help="Another model artefact than the demo's own.")]
HERE = Path(".demo")


@app.command("run")
@speaks_plainly
def run(folder: Folder = HERE, ct: Ct = None, key_slice: Key = None, artefact: Artefact = None) -> None:
    """Set everything up, run the night, print its cases, stop everything; 0 only if every case ended as it should."""
    play(folder, lambda at: _night(at, ct, key_slice, artefact))


@app.command("up")
@speaks_plainly
def up(folder: Folder = HERE, ct: Ct = None, key_slice: Key = None, artefact: Artefact = None) -> None:
    """The same after eight weeks of nights and their audits, and stay up for a look around; `gtr demo down` ends it."""
    play(folder, lambda at: _night(at, ct, key_slice, artefact, weeks_before=True), stay=where)


@app.command("down")
@speaks_plainly
def down(folder: Folder = HERE) -> None:
    """Stop what `up` started, and only that."""
    from gtr_batch.simulation.demos.demo import stop

    out.print(f"{stop(folder.resolve())} processes stopped")


@app.command("where")
@speaks_plainly
def where(folder: Folder = HERE) -> None:
    """Address and password of a demo that is up, and what to try."""
    from gtr_batch.simulation.demos.demo import running

    folder = folder.resolve()
    if not running(folder):
        err.print(f"no demo is up in {foreign(folder)}; `make up` starts one")
        raise typer.Exit(RED)
    started = json.loads((folder / "started.json").read_text())
    passwords = json.loads((folder / "airflow" / "passwords.json").read_text())
    out.print(f"Airflow:  {started['url']}  user admin, password {passwords['admin']}", highlight=False)
    out.print(f"console:  {started['url']}/gtr/  (worklist, cases, nights, audits, models)", highlight=False)
    out.print(f"auditor:  user approver, password {passwords['approver']}", highlight=False)
    out.print(
        f"try:      GTR_CONFIG={foreign(folder / 'gtr.toml')} gtr status | gtr doctor | gtr pacs echo", highlight=False
    )
    out.print("stop:     make down")


def _night(
    folder: Path, ct: Path | None, key_slice: str | None, artefact: Path | None, *, weeks_before: bool = False
) -> bool:
    from gtr_batch.cli.table import show_night
    from gtr_batch.simulation.demos import history
    from gtr_batch.simulation.demos.showcase import show_results

    began = time.monotonic()

    def admit(demo: Demo) -> None:
        with step("the night's patients"):
            demo.admit(ct, key_slice)
        with step("the model becomes the champion"):
            history.adopt_model(demo)
        if weeks_before and history.can_score(demo):
            with counting("eight weeks of patients before") as progress:
                history.write_weeks(demo, progress)

    demo = start_hospital(folder, admit, settings=history.SETTINGS, artefact=artefact)
    if demo.stack is not None:
        out.print(f"console: {demo.stack.url}/gtr/ (`gtr demo where` says who may sign in)", highlight=False)
    for dag_id, conf in (("ehr_refresh", {}), ("nightly_staging", {"night": str(demo.night)})):
        with tasks_of(dag_id) as progress:
            state = demo.run(dag_id, conf, progress, timeout_s=420)
        colour = "green" if state == "success" else "red"
        out.print(f"[{colour}]{dag_id}: {state}[/]")
        if state != "success" and dag_id == "ehr_refresh":
            return False
    os.environ.update(demo.environ)
    cases, wrong = _cases(demo)
    show_night(out, demo.night, cases)
    out.print(demo.agreement(cases), highlight=False)
    for line in show_results(demo, cases):
        out.print(line, highlight=False)
    if weeks_before and history.can_score(demo):
        wrong += _audits(demo)
    show_wrong(wrong)
    right = not wrong and state == "success"
    return end(began, right, "every case ended as it should", "NOT every case ended as it should")


def _audits(demo: Demo) -> list[str]:
    """Audit the weeks before the night; what did not go as it should, in sentences."""
    from gtr_batch.simulation.demos import history

    wrong = []
    for dag_id, conf in history.AUDITS:
        name = f"{dag_id} {' '.join(conf.values())}"
        with tasks_of(name) as progress:
            state = demo.run(dag_id, conf, progress, timeout_s=300)
        if state != "success":
            wrong.append(f"{name}: {state}")
    return wrong + history.not_as_it_should_be(demo)


def _cases(demo: Demo) -> tuple[list[NightCase], list[str]]:
    from gtr_batch.night.close import night_cases
    from gtr_batch.wiring import open_site

    with open_site() as site:
        cases = night_cases(site, demo.night)
    return cases, demo.judge(cases)
