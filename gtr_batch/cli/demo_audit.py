"""`gtr demo audit`: a year of the synthetic hospital, its monitors and monthly audits through the real Airflow."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtr_batch.cli.demo_start import counting, end, play, start_hospital, tasks_of
from gtr_batch.cli.shell import out, speaks_plainly

if TYPE_CHECKING:
    from gtr_batch.simulation.demos.demo import Demo

app = typer.Typer()


@app.command("audit")
@speaks_plainly
def audit(
    folder: Annotated[Path, typer.Option(help="Where the demo lives.")] = Path(".demo-audit"),
    patients: Annotated[int, typer.Option(help="Patients of the year.")] = 480,
    mix: Annotated[str, typer.Option(help="Percent of T1/T2/T3/T4.")] = "15/15/35/35",
) -> None:
    """Simulate a year with a new scanner and a shift of pathology, audit it; 0 only if the reports find both."""
    play(folder, lambda at: _audited(at, patients, mix))


def _audited(folder: Path, patients: int, mix: str) -> bool:
    from gtr_batch.simulation.demos import audit as demo_audit
    from gtr_batch.simulation.demos.story import Story
    from gtr_batch.simulation.hospital.audited_year import AuditedYear
    from gtr_batch.simulation.hospital.mix import parse_mix

    began = time.monotonic()
    story, year = Story(), AuditedYear(patients=patients, mix=parse_mix(mix))

    def admit(demo: Demo) -> None:
        with counting("a year of patients") as progress:
            demo_audit.prepare(demo, year, progress)

    demo = start_hospital(folder, admit, settings=demo_audit.SETTINGS, pacs="")

    def run(dag_id: str, conf: dict[str, str]) -> str:
        with tasks_of(f"{dag_id} {' '.join(conf.values())}") as progress:
            return demo.run(dag_id, conf, progress, timeout_s=300)

    for monday in demo_audit.WEEKS:
        run("drift_monitor", {"day": str(monday)})
    demo_audit.show_weeks(story, year)
    months = (demo_audit.BEFORE_SCANNER, demo_audit.OF_SCANNER)
    states = {month: run("monthly_audit", {"month": month}) for month in months}
    demo_audit.acknowledge_scanner(story, year)
    states |= {month: run("monthly_audit", {"month": month}) for month in demo_audit.MONTHS_AFTER}
    demo_audit.show_months(story, year, states)
    demo_audit.made_again(story)
    demo_audit.without_phi(folder / "audit", story)
    for page in demo_audit.reports(folder / "audit"):
        out.print(f"report: {page}", highlight=False)
    return end(began, not story.wrong, "the audit found both", "NOT all went as it should", story)
