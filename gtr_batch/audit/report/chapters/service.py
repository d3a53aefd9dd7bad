"""What came in, what the model said, what was refused or overruled, and what could not be judged."""

from __future__ import annotations

from gtr_batch.audit.found.evaluation import Interval95
from gtr_batch.audit.found.findings import Findings
from gtr_batch.audit.found.service import ConsoleReadings, Overrides, ReadingsOfAKind
from gtr_batch.audit.report import figures_drift as draw
from gtr_batch.audit.report import words
from gtr_batch.audit.report.blocks import Block, Bullets, Cell, Column, Heading, Picture, Table, Text

STAGES = ("T1", "T2", "T3", "T4")


def came_and_said(findings: Findings) -> list[Block]:
    """Headers and image quality by week; what the model said by month."""
    found, outputs, run = findings.inputs, findings.outputs, findings.run
    blocks: list[Block] = [Heading("What came in, and what the model said")]
    if not sum(found.headers["model"].n):
        return [*blocks, Text("No case was staged in the weeks that this report looks back on: nothing can be shown.")]
    names = [name for name, f in found.headers.items() if len(f.values) > 1 or name in ("model", "kvp", "kernel")]
    alone = [name for name in found.headers if name not in names]
    same = [f"{words.HEADERS[name]}: {next(iter(found.headers[name].values))} in every case." for name in alone]
    scanner = [name for name in ("model", "kernel", "thickness_mm") if name in names]
    others = [name for name in names if name not in scanner]
    blocks.append(
        Picture(
            draw.headers(found.headers, scanner, run.first),
            "Headers of staged cases, shares by week; the bar on the left is the artefact's reference, where it holds "
            "one. The black line above: this period. A colour that comes or goes is a scanner or protocol that came "
            "or went." + (" " + " ".join(same) if same else ""),
            "Header values by week",
        )
    )
    if others:
        blocks.append(
            Picture(
                draw.headers(found.headers, others, run.first),
                "Further headers of staged cases, drawn as in the figure before.",
                "Further header values by week",
            )
        )
    if any(w.n for q in found.quality.values() for w in q.weeks):
        blocks.append(
            Picture(
                draw.quality(found.quality, found.weeks, run.first),
                "Image quality of staged cases by week: median and middle 80%. Behind, in sand: the middle 80% of the "
                "artefact's reference, with its median dashed. Right of the dotted line: this period.",
                "Image quality by week",
            )
        )
    else:
        blocks.append(Text("Image quality: validation measured none of these cases."))
    blocks.append(
        Picture(
            draw.outputs(outputs),
            "What the model said, by month: stages given (left bar: the artefact's reference, where it holds "
            "one), cases "
            "whose three slices do not all say the same stage, and where key slices came from.",
            "Stages, disagreement and key slice source by month",
        )
    )
    return blocks


def refused(findings: Findings) -> list[Block]:
    """Refusals by code, and in a monthly report the readers who wrote another stage."""
    found, counts = findings.refusals, findings.counts
    month = findings.month
    blocks: list[Block] = [Heading("Refusals and overrides" if month else "Refusals")]
    if not found.now:
        blocks.append(Text("No study was refused in the nights that this report looks back on."))
    else:
        blocks.append(
            Text(
                f"{counts.refused} of {words.count(counts.seen, 'study', 'studies')} were refused "
                f"({words.share(counts.refused / counts.seen if counts.seen else None)}), and "
                f"{counts.failed} failed. A refusal is a result, too: it says why this study must not be staged."
            )
        )
        if sum(found.over_time.seen) and found.over_time.values:
            blocks.append(
                Picture(
                    draw.refusals(found.over_time),
                    "Refused studies by month and reason, as shares of the studies that came.",
                    "Refusals by month",
                )
            )
        blocks.append(
            Table(
                (
                    Column("Reason", 3.2, words=True),
                    Column("Studies"),
                    Column("Share now"),
                    Column("Share before"),
                ),
                [
                    (
                        words.refusal(r.code),
                        str(r.n),
                        words.share(r.share),
                        words.share(r.before),
                    )
                    for r in found.now
                ],
                title="Refused in these nights, by reason",
                note="Before: all earlier nights that this report looks back on.",
            )
        )
    if month is None:
        return blocks
    return [*blocks, *_overrides(month.overrides), *(_console(month.console) if month.console else [])]


def _overrides(found: Overrides) -> list[Block]:
    blocks: list[Block] = [Heading("Overrides: readers who saw the model's answer and wrote another stage", 3)]
    if not any(m.n for m in found.months):
        return [*blocks, Text("No read was made with the model's answer at hand, or none can be told to have been.")]
    now = (
        f"{found.over} of {words.count(found.n, 'read')} of this month's cases say otherwise "
        f"({words.share(found.share)}, Wilson 95% {words.share_ci(found.ci)}): {found.higher} deeper, "
        f"{found.lower} shallower."
        if found.n
        else "None of this month's cases was read with the answer at hand."
    )
    known = found.with_pathology
    later = (
        f" Of {words.count(known.n, 'override')} whose pT has come since, the model was right {known.model} "
        "times "
        f"and the reader {known.reader} times."
        if known.n
        else " No override has a pT yet."
    )
    blocks.append(Text(now + later + " An override is not an error: pathology decides, and it comes later."))
    if len(found.months) > 1:
        blocks.append(
            Picture(
                draw.overrides(found.months),
                "Reads made with the model's answer at hand that say another stage, by staging month.",
                "Share of overrides by month",
            )
        )
    if found.n:
        blocks.append(
            Table(
                (Column("Model \\ reader", 1.4, words=True), *(Column(s) for s in STAGES)),
                [
                    (STAGES[k], *(Cell(str(n), strong=k == j) for j, n in enumerate(row)))
                    for k, row in enumerate(found.table)
                ],
                title="This month's reads",
            )
        )
    return blocks


def _console(found: ConsoleReadings) -> list[Block]:
    blocks: list[Block] = [Heading("Readers in the console: before and after the model's stage was shown", 3)]
    kinds = [("Own stage first (unaided)", found.unaided), ("Model's stage shown (aided)", found.aided)]
    if not any(kind.n for _, kind in kinds):
        return [*blocks, Text("Nobody has read a case of this month in the console.")]
    blocks.append(
        Table(
            (
                Column("Readings", 1.9, words=True),
                Column("n", 0.5),
                Column("Agree with the model", 1.5),
                *(Column(s, 0.9) for s in STAGES),
                Column("Overruled", 1.6),
            ),
            [_readings(title, kind) for title, kind in kinds],
            title=f"Readings of {words.count(found.cases, 'case')} of this month",
            note="T1 to T4: agreement where the model says this stage. Overruled: of those who then said a word. In "
            "brackets: Wilson 95% intervals.",
        )
    )
    told = [
        f"Of {words.count(found.unaided.words, 'reader')} who gave a stage first and then said a word, "
        f"{found.came_over} had said another stage and agreed, {found.turned_away} had said the same and overruled."
    ]
    return [*blocks, Bullets([*(told if found.unaided.words else []), *map(words.prose, found.sentences)])]


def _readings(title: str, kind: ReadingsOfAKind) -> tuple[str | Cell, ...]:
    return (
        title,
        str(kind.n),
        _of(kind.agree, kind.n, kind.share, kind.ci),
        *(f"{row.agree} of {row.n}" if row.n else words.DASH for row in kind.by_stage),
        _of(kind.overruled, kind.words, kind.overrule_rate, kind.overrule_ci),
    )


def _of(k: int, n: int, share: float | None, ci: Interval95 | None) -> str:
    return f"{k} of {n}, {words.share(share)}\n({words.share_ci(ci)})" if n else words.DASH


def unjudged(findings: Findings) -> list[Block]:
    """What could not be judged and why; what shift these data could have shown."""
    blocks: list[Block] = [Heading("What could not be judged, and why")]
    told = [words.prose(s) for s in findings.not_judged]
    blocks.append(Bullets(told) if told else Text("Everything that this report asks could be judged."))
    fates = findings.month.fates if findings.month else ()
    if fates:
        blocks.append(
            Table(
                (Column("Cases", 0.7), Column("Why they are judged, or not", 6, words=True)),
                [(str(f.n), f.sentence) for f in fates],
                title=f"All {sum(f.n for f in fates)} cases that this audit looked at, each counted once",
            )
        )
    blocks.append(Heading("What shift could have been seen"))
    if findings.could_have_seen:
        blocks += [
            Text(
                "That a monitor is quiet means little where it had few data. With these data, each would have "
                "shown, with a power of 80%:"
            ),
            Table(
                (Column("Monitor", 1.6, words=True), Column("Shift that would have been seen", 5, words=True)),
                [(s.title, words.prose(s.sentence)) for s in findings.could_have_seen],
            ),
        ]
    else:
        blocks.append(Text("None: no monitor had the data to see any shift."))
    return blocks
