"""The demo of the audit: a year with a new scanner and a shift of pathology, and what the DAGs find of it.

The year is written into the book; then the real scheduler runs `drift_monitor` for the weeks around the new scanner and
`monthly_audit` for the months around both. A person acknowledges the scanner's alarms, and one run is made again to
see that it is the same, byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

from gtr_batch.domain.audit_run import AuditKind, AuditRecord, RaisedAlarm
from gtr_batch.simulation.demos.demo import Demo
from gtr_batch.simulation.demos.story import PERSON, Story
from gtr_batch.simulation.hospital.audited_year import AuditedYear, write_audited_year

SETTINGS = """
[audit]
folder = "{folder}/audit"
minimum_cases = 5

[training]
folder = "{folder}/training"
models = "{folder}/models"
"""
WEEKS = (date(2025, 8, 25), date(2025, 9, 1))  # Mondays: the last week of the old scanners, the first of the new one
BEFORE_SCANNER, OF_SCANNER = "2025-08", "2025-09"
MONTHS_AFTER = ("2025-10", "2025-11", "2025-12", "2026-01")  # pathology shifts with the CTs of November


def prepare(demo: Demo, year: AuditedYear, progress: Callable[[int, int], None]) -> None:
    """The year in book and EHR."""
    from gtr_batch.wiring import open_site, refresh_ehr

    os.environ.update(demo.environ)
    with open_site() as site:
        write_audited_year(site, year, demo.folder / "ehr", progress=progress)
    refresh_ehr(folder=demo.folder / "ehr")


def runs() -> list[AuditRecord]:
    """Every audit so far, oldest first."""
    from gtr_batch.wiring import open_audit

    with open_audit() as site:
        return list(reversed(site.book.runs()))


def alarms(*, only_open: bool = False) -> list[RaisedAlarm]:
    """Alarms, oldest first."""
    from gtr_batch.wiring import open_audit

    with open_audit() as site:
        return list(site.book.alarms(only_open=only_open))


def show_weeks(story: Story, year: AuditedYear) -> None:
    """The week before the scanner is quiet, its own week is not."""
    found = [a for a in alarms() if a.monitor == "headers"]
    first = min((a.night for a in found), default=None)
    story.need(
        first is not None and year.scanner_on <= first < year.scanner_on + timedelta(days=7),
        f"the new scanner of {year.scanner_on} is found in its week: headers crossed on {first}",
    )
    early = [a for a in alarms() if a.night < year.scanner_on]
    story.need(not early, f"before it, {len(early)} alarms in half a year")
    for alarm in found:
        story.say(f"  {alarm.sentence}")


def acknowledge_scanner(story: Story, year: AuditedYear) -> None:
    """A person has looked: the scanner is known, its monitors watch anew from its first night."""
    from gtr_batch.wiring import open_audit

    with open_audit() as site:
        for alarm in site.book.alarms(only_open=True):
            if alarm.monitor == "stage_shift":
                continue
            note = "The hospital has a new scanner since that night; its images were looked at."
            site.book.acknowledge(alarm.alarm_id, by=PERSON, note=note, watch_from=year.scanner_on)
            story.say(f"alarm {alarm.alarm_id} ({alarm.monitor}) acknowledged by {PERSON}, watched anew")


def show_months(story: Story, year: AuditedYear, states: Mapping[str, str]) -> None:
    """The shift is found by the monthly audits, and no report before says stop."""
    months = {run.period: run for run in runs() if run.kind is AuditKind.MONTH}
    for period, state in states.items():
        run = months.get(period)
        story.need(state == "success" and run is not None, f"monthly_audit {period}: {state}")
        if run is not None:
            story.say(f"  {period}: may we go on using it? {run.answer}")
    shift = [a for a in alarms() if a.monitor == "stage_shift"]
    story.need(
        bool(shift) and shift[0].night >= year.shift_on,
        f"the shift of pathology from {year.shift_on} on is found: stage_shift crossed on "
        f"{shift[0].night if shift else None}",
    )
    for alarm in shift:
        story.say(f"  {alarm.sentence}")
    stopped = [period for period, run in months.items() if run.answer == "stop"]
    story.need(
        bool(stopped) and min(stopped) > f"{year.shift_on:%Y-%m}"[:7],
        f"the answer is stop from {min(stopped) if stopped else None} on, and not before the shift",
    )


def made_again(story: Story) -> None:
    """The first and the last monthly audit again, from what was kept: the same bytes."""
    from gtr_batch.audit.run import rerun
    from gtr_batch.wiring import open_audit

    months = [run for run in runs() if run.kind is AuditKind.MONTH]
    with open_audit() as site:
        for run in (months[0], months[-1]):
            found = rerun(site, run.run_id)
            story.need(found.same, f"audit {run.run_id[:12]} of {run.period} made again: the same bytes")


def without_phi(folder: Path, story: Story) -> None:
    """No patient of the year is in any report."""
    pages = sorted(folder.rglob("report.*"))
    marks = (b"SIM-", b"Phantom^", b"SIM25", b"SIM26")
    found = [page.name for page in pages if any(mark in page.read_bytes() for mark in marks)]
    story.need(bool(pages) and not found, f"{len(pages)} report files, {len(found)} of them name a patient")


def reports(folder: Path) -> Sequence[Path]:
    """The pages, oldest period first."""
    return sorted(folder.rglob("report.html"))
