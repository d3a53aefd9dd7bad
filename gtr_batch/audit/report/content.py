"""The report, chapter by chapter: what HTML and PDF then set. Everything it says stands in the findings."""

from __future__ import annotations

from gtr_batch.audit.found.findings import Findings
from gtr_batch.audit.report import words
from gtr_batch.audit.report.blocks import Block, NewPage, Page
from gtr_batch.audit.report.chapters.appendix import appendix
from gtr_batch.audit.report.chapters.front import front
from gtr_batch.audit.report.chapters.numbers import numbers
from gtr_batch.audit.report.chapters.patients import labels, readers, subgroups
from gtr_batch.audit.report.chapters.service import came_and_said, refused, unjudged
from gtr_batch.audit.report.chapters.staging import staging
from gtr_batch.audit.report.chapters.watching import watching


def content(findings: Findings) -> Page:
    """The whole report of a month, or the short one of a week."""
    run, month = findings.run, findings.month
    blocks: list[Block] = front(findings)
    if month is not None:
        blocks += [
            NewPage(),
            *numbers(findings, month),
            *watching(findings),
            *staging(month),
            *labels(findings, month),
            *readers(month.readers),
            *subgroups(month),
        ]
    else:
        blocks += watching(findings)
    blocks += [*came_and_said(findings), *refused(findings), *unjudged(findings), *appendix(findings)]
    when = words.period(run.kind, run.period)
    name = run.model or "model"
    return Page(
        title=f"{'Audit of' if month else 'Drift monitors,'} {when}",
        kicker=f"Gastric cancer T staging · {'monthly audit' if month else 'weekly monitoring'}",
        meta=(
            ("Nights", words.span(run.first, run.last)),
            ("Pathology reported by", words.day(run.as_of)),
            ("Model", f"{name} ({run.model_version[:12] or 'none'}), staging since {words.day(run.term)}"),
            ("Run", run.run_id[:16]),
        ),
        running=(
            f"T staging {'audit' if month else 'monitoring'}, {when}",
            f"model {run.model_version[:12] or 'none'} · run {run.run_id[:12]}",
        ),
        warning="Demo, not for patients: the model was trained on simulated phantoms." if run.demo else "",
        blocks=blocks,
    )
