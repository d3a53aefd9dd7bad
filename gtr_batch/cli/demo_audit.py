"""`gtr demo audit`: a year of the synthetic hospital, its monitors and monthly audits through the real Airflow."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from gtr_batch.cli.demo import TaskProgress, step
from gtr_batch.cli.shell import RED, bars, err, out, speaks_plainly


@speaks_plainly
def audit(
    folder: Annotated[Path, typer.Option(help="Where the demo lives.")] = Path(".demo-audit"),
    patients: Annotated[int, typer.Option(help="Patients of the year.")] = 480,
) -> None:
    """Simulate a year with a new scanner and a shift of pathology, audit it; 0 only if the reports find both."""
    from gtr_batch.simulation.demos.demo import stop

    folder = folder.resolve()
    try:
        right = _audited(folder, patients)
    finally:
        stop(folder)
    raise typer.Exit(0 if right else RED)


def _audited(folder: Path, patients: int) -> bool:
    from gtr_batch.simulation.demos import audit as demo_audit
    from gtr_batch.simulation.demos.demo import Demo
    from gtr_batch.simulation.demos.governance import Story
    from gtr_batch.simulation.hospital.audited_year import AuditedYear

    began = time.monotonic()
    demo, story, year = Demo(folder), Story(), AuditedYear(patients=patients)
    demo.clear()
    with step("PostgreSQL and its schema"):
        demo.start_database(demo_audit.SETTINGS.format(folder=folder))
    with step("Airflow's own database"):
        demo.prepare_airflow()
    demo.start_airflow()  # it comes up while the patients are made
    with bars() as progress:
        task = progress.add_task("a year of patients", total=None)
        demo_audit.prepare(demo, year, lambda done, total: progress.update(task, completed=done, total=total))
    with step("DAGs parsed"):
        demo.wait_for_airflow()
    states: dict[str, str] = {}

    def run(dag_id: str, name: str, value: str) -> None:
        with bars() as progress:
            states[value] = demo.run(dag_id, {name: value}, TaskProgress(progress, f"{dag_id} {value}"), timeout_s=300)

    for monday in demo_audit.WEEKS:
        run("drift_monitor", "day", str(monday))
    demo_audit.show_weeks(story, year)
    run("monthly_audit", "month", demo_audit.BEFORE_SCANNER)
    run("monthly_audit", "month", demo_audit.OF_SCANNER)
    demo_audit.acknowledge_scanner(story, year)
    for month in demo_audit.MONTHS_AFTER:
        run("monthly_audit", "month", month)
    demo_audit.show_months(story, year, {k: v for k, v in states.items() if len(k) == len("2025-08")})
    demo_audit.made_again(story)
    demo_audit.without_phi(folder / "audit", story)
    for line in story.lines:
        out.print(line, highlight=False)
    for page in demo_audit.reports(folder / "audit"):
        out.print(f"report: {page}", highlight=False)
    for sentence in story.wrong:
        err.print(f"[bold red]{sentence}[/]", highlight=False)
    took = time.monotonic() - began
    verdict = "the audit found both" if not story.wrong else "NOT all went as it should"
    out.print(f"{verdict}; {took // 60:.0f} min {took % 60:.0f} s", highlight=False)
    return not story.wrong
