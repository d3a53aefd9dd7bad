"""What was before the demo's night: the model is the champion, and eight weeks of nights lie in the book.

The model is adopted as a site adopts its first one (`gtr model adopt`). The weeks are those of the audited year, fewer
of them and with fewer patients: a scanner is replaced on the way, which the weekly monitors find.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from gtr_batch.domain.audit_run import AuditKind
from gtr_batch.simulation.demos.demo import Demo
from gtr_batch.simulation.demos.story import PERSON
from gtr_batch.simulation.hospital.audited_year import AuditedYear, close_nights, write_audited_year

# The first line belongs to [night], with which the demo's own settings end: no night is due after the demo's own, so
# the console does not ask where last night's is. The hospital is small: fewer cases make a week, fewer patients a
# criterion, and the monitors compare with the five weeks before the new scanner.
SETTINGS = """\
schedule = "30 0 3 3 *"

[training]
folder = "{folder}/training"
models = "{folder}/models"

[audit]
folder = "{folder}/audit"
minimum_cases = 3
minimum_labels = 10
baseline_weeks = 5
draws = 200
"""
WEEKS = AuditedYear(
    seed=26,
    first=date(2026, 1, 5),
    last=date(2026, 3, 1),
    patients=40,
    evenly=False,
    scanner_on=date(2026, 2, 9),
    upstaged=0.0,
)
AUDITS = (("drift_monitor", {"day": "2026-02-09"}), ("monthly_audit", {"month": "2026-02"}))


def can_score(demo: Demo) -> bool:
    """Whether the demo's model has a nomogram: the weeks before are scored, and without one they are left out."""
    from gtr_batch.stage import read_manifest

    return read_manifest(demo.artefact)[0].nomogram is not None


def adopt_model(demo: Demo) -> str:
    """Make the model that the demo's settings name the first champion, with its card; returns its version."""
    from gtr_batch.governance.card import rewrite_cards
    from gtr_batch.governance.registry import adopt
    from gtr_batch.wiring import open_governance

    with open_governance(environ=demo.environ) as gov:
        models = gov.night.config.training.models
        why = "The demo begins with it. Made on phantoms: not for patients."
        version = adopt(gov.registry, models, gov.night.config.stage.artefact, by=PERSON, why=why)
        rewrite_cards(gov.registry, models, [version], by=PERSON)
    return version


def write_weeks(demo: Demo, progress: Callable[[int, int], None], weeks: AuditedYear = WEEKS) -> None:
    """The weeks before the demo's night: cases, closed nights and files, and extracts for `ehr_refresh`."""
    from gtr_batch.wiring import open_site

    with open_site(environ=demo.environ) as site:
        write_audited_year(site, weeks, demo.folder / "ehr", progress=progress)
        close_nights(site, weeks)


def not_as_it_should_be(demo: Demo, weeks: AuditedYear = WEEKS) -> list[str]:
    """What the audits should have left and did not, in sentences; empty when all is well."""
    from gtr_batch.wiring import open_audit

    with open_audit(environ=demo.environ) as site:
        kinds = {run.kind for run in site.book.runs()}
        found = [alarm for alarm in site.book.alarms(only_open=True) if alarm.monitor == "headers"]
    wrong = [f"no audit of a {kind} was kept" for kind in (AuditKind.WEEK, AuditKind.MONTH) if kind not in kinds]
    if not any(alarm.night >= weeks.scanner_on for alarm in found):
        wrong.append(f"no alarm is open about the scanner that is new since {weeks.scanner_on}")
    return wrong
