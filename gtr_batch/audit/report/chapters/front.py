"""The first page: may we go on using it?"""

from __future__ import annotations

from gtr_batch.audit.found.findings import Findings
from gtr_batch.audit.monitors.watched import Watched
from gtr_batch.audit.report import words
from gtr_batch.audit.report.blocks import Band, Block, Bullets, Heading, Signatures, Text, Tile, Tiles
from gtr_batch.domain.audit_run import AlarmLevel

_LONG = 8  # reasons in the band; the others stand below


def front(findings: Findings) -> list[Block]:
    """Question, answer, reasons, the month in a few numbers, and the lines to sign on."""
    word, tone = words.ANSWERS[findings.answer]
    reasons = [words.prose(r) for r in findings.reasons]
    blocks: list[Block] = [Band("May we go on using it?", word, tone, reasons[:_LONG])]
    if len(reasons) > _LONG:
        blocks += [Heading("Further reasons", 3), Bullets(reasons[_LONG:])]
    blocks += [Heading("In a few numbers"), Tiles(_tiles(findings)), Text(_what_follows(findings))]
    if findings.month is not None:
        blocks.append(Signatures(("Medical physicist", "Head of department")))
    return blocks


def _tiles(findings: Findings) -> list[Tile]:
    counts = findings.counts
    quiet = [m for m in findings.monitors if m.state == "quiet" and m.name != "confidence"]
    alarmed = [m for m in findings.monitors if m.state == "alarm"]
    watching = [m for m in findings.monitors if m.state != "off" and m.name != "confidence"]
    came = f"{words.count(counts.patients, 'patient')}; {counts.refused} refused, {counts.failed} failed"
    came += f", {counts.not_staged} without a stage" if counts.not_staged else ""
    tiles = [
        Tile(f"{counts.staged} of {counts.seen}", "studies staged", came),
        Tile(
            f"{len(quiet)} of {len(watching)}",
            "monitors quiet",
            f"{len(alarmed)} in alarm, {len(watching) - len(quiet) - len(alarmed)} cannot tell",
            _worst(alarmed),
        ),
    ]
    if findings.month is None:
        return tiles
    performance = findings.month.performance
    window = performance.window
    if window is None:
        return [*tiles, Tile(words.DASH, "accuracy", "no patient with a pT within 12 months", "muted")]
    n = words.count(window.n, "patient")
    t4, ece = performance.t4, window.ece
    return [
        *tiles,
        Tile(words.share(window.accuracy), "accuracy", f"{words.share_ci(window.accuracy_ci)}, {n}"),
        Tile(words.number(window.auc["macro"]), "macro AUC", words.number_ci(window.auc_ci["macro"]) or _why(n)),
        Tile(words.number(ece.top), "calibration error", f"chance stays below {words.number(ece.null_95)}"),
        Tile(words.share(t4.share), "of T4 staged lower", f"{t4.lower} of {t4.n} with pT4"),
    ]


def _worst(alarmed: list[Watched]) -> str:
    if not alarmed:
        return ""
    return "stop" if any(m.level is AlarmLevel.STOP for m in alarmed) else "look"


def _why(n: str) -> str:
    return f"not defined on {n}"


def _what_follows(findings: Findings) -> str:
    if findings.answer == "yes" and findings.month is None:
        return (
            "Yes means: no alarm is open and no monitor has crossed its threshold. It is no proof that nothing has "
            "changed; the chapter on what could have been seen says which changes would have stayed hidden."
        )
    return {
        "yes": "Yes means: no alarm is open, and no number is worse than before, or than the reference, beyond chance. "
        "It is no proof that nothing has changed; the chapter on what could have been seen says which changes would "
        "have stayed hidden.",
        "look": "Look first means: a person with knowledge of the service looks into the reasons above before the "
        "next audit, and acknowledges open alarms with a note. Staging and delivery go on.",
        "stop": "Stop means: results are not to be used until a named person has looked into the reasons above and has "
        "acknowledged the alarm with a note. Staging goes on; reports are held back only where audit.pause_delivery is "
        "on.",
        "cannot tell": "Cannot tell is not yes: these data speak neither for using the model nor against it. Whoever "
        "goes on using it does so for other reasons, and should write them down.",
    }[findings.answer]
