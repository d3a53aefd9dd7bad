"""Labels as they come, readers beside the model, and subgroups."""

from __future__ import annotations

from collections.abc import Sequence

from gtr_batch.audit.found.evaluation import Interval95
from gtr_batch.audit.found.findings import Findings, MonthFindings
from gtr_batch.audit.found.patients import Estimates, MonthOfLabels, Rater, Readers
from gtr_batch.audit.report import figures_drift, figures_performance, words
from gtr_batch.audit.report.blocks import Block, Bullets, Cell, Column, Heading, Picture, Table, Text
from gtr_batch.metrics.table_one import TableOne, lines_of

Row = tuple[str | Cell, ...]
STAGES = ("T1", "T2", "T3", "T4")
_RATERS = {"gtrnet": "GTRNet", "nomogram": "Nomogram", "radiologist": "Radiologist (cT)", "eus": "EUS (uT)"}
_VERDICTS = {
    "worse": ("worse", "stop"),
    "better": ("better", "good"),
    "not shown": ("no difference shown", ""),
    "too small": ("too small to judge", "muted"),
}
_SHOWN = 15  # staging months in the table


def labels(findings: Findings, month: MonthFindings) -> list[Block]:
    """How much is known by now, and how far the missing labels could bend the accuracy."""
    rows, estimated = month.labels.maturity, month.labels.estimates
    blocks: list[Block] = [Heading("Labels: how much is known by now")]
    if not rows:
        return [*blocks, Text("No patient was staged, so there is no label to wait for.")]
    settings = findings.settings
    blocks.append(
        Text(
            "Pathology comes weeks after the CT, and only for patients who are operated. The maturity of a staging "
            "month is the share of its patients of whom it is known: a report, or no operation within "
            f"{settings.label_wait_days} days. Numbers of months that are not mature come from patients who were "
            "operated early."
        )
    )
    if len(rows) > 1:
        blocks.append(
            Picture(
                figures_drift.maturity(rows[-24:]),
                "What is known by now of the patients of each staging month; above each month its maturity. Of the "
                "last months much is not known yet.",
                "Maturity of labels by staging month",
            )
        )
    blocks += [_maturity(rows), _estimates(estimated, words.day(findings.run.window_first))]
    if month.table_1 is not None:
        blocks.append(_table_one(month.table_1))
    sentences = [estimated.worst_best, *estimated.sentences]
    if estimated.ipw.sentence:
        sentences.insert(1, estimated.ipw.sentence)
    blocks.append(Bullets(words.prose(s) for s in sentences if s))
    return blocks


def _table_one(found: TableOne) -> Table:
    heads = [Column(f"{name}, n = {n}", 1.3) for name, n in zip(found.cohorts, found.n, strict=True)]
    indent = "\N{NO-BREAK SPACE}" * 4
    return Table(
        (Column("", 1.6, words=True), *heads, Column("p", 0.7), Column("Test", 1.5, words=True)),
        [
            (f"{indent if line.indented else ''}{line.label}", *line.cells, line.p, line.test)
            for line in lines_of(found)
        ],
        title="Table 1: patients with a pT, and staged patients of whom none is known",
        note="n (% of those known); mean ± SD; median (quartiles). p values are not adjusted for their number.",
    )


def _maturity(rows: Sequence[MonthOfLabels]) -> Table:
    note = f"The last {_SHOWN} of {len(rows)} staging months." if len(rows) > _SHOWN else ""
    return Table(
        (
            Column("Staging month", 1.5, words=True),
            Column("Staged"),
            Column("Operated"),
            Column("pT"),
            Column("ypT"),
            Column("Report awaited"),
            Column("Not operated"),
            Column("Open"),
            Column("Maturity"),
        ),
        [
            (
                words.month(r.month),
                *map(str, (r.staged, r.operated, r.reported, r.ypt, r.waiting, r.unresected, r.open)),
                Cell(words.share(r.maturity, 0), strong=True),
            )
            for r in rows[-_SHOWN:]
        ],
        title="Patients by staging month",
        note=note,
    )


def _estimates(found: Estimates, since: str) -> Table:
    naive, ipw, bounds = found.naive, found.ipw, found.bounds
    apart, second = found.apart, found.overrides.second_reference
    at_worst_and_best = words.DASH
    if bounds.low is not None and bounds.high is not None:
        at_worst_and_best = words.share_ci((bounds.low, bounds.high))
    rows: list[Row] = [
        (
            "Labelled patients as they are",
            str(found.n_labelled),
            Cell(words.share(naive.accuracy), strong=True),
            words.share_ci(naive.ci),
            "Says nothing about patients who are not operated.",
        ),
        (
            "Weighted by the chance of a label",
            _effective(ipw.effective_n),
            Cell(words.share(ipw.accuracy), strong=True),
            words.share_ci(ipw.ci),
            "Right if, among patients alike in what is known, operation does not depend on the model being right.",
        ),
        (
            "At worst and at best",
            str(found.n_staged),
            "",
            at_worst_and_best,
            "All without a label wrong; all right. No assumption.",
        ),
    ]
    if second.from_reader:
        rows.append(
            (
                "Reader as second reference",
                str(second.n),
                Cell(words.share(second.accuracy), strong=True),
                words.share_ci(second.ci),
                f"pT for {second.from_pathology}, the reader who saw the AI result for "
                f"{second.from_reader}: leans "
                "towards the model.",
            )
        )
    if apart.n:
        rows.append(
            (
                f"{apart.kind} apart",
                str(apart.n),
                Cell(words.share(apart.accuracy), tone="muted"),
                words.share_ci(apart.ci),
                "After treatment: the resected tumour is not the one that the CT showed.",
            )
        )
    return Table(
        (
            Column("Accuracy", 1.9, words=True),
            Column("n", 0.8),
            Column("", 0.8),
            Column("95% interval", 1.3),
            Column("What it says", 3.1, words=True),
        ),
        rows,
        title=f"Accuracy on all {found.n_staged} patients staged since {since}, of whom {found.n_labelled} have a pT",
    )


def _effective(n: float | None) -> str:
    return words.DASH if n is None else f"{n:.0f} effective"


def readers(found: Readers) -> list[Block]:
    """The paper's comparison on this hospital's patients."""
    blocks: list[Block] = [Heading("Readers beside the model", aside="against pT, on the hospital's own patients")]
    known = [(name, r) for name, r in found.raters.items() if r.n]
    if not known:
        return [*blocks, *_sentences(found)]
    blocks.append(
        Table(
            (
                Column("Who", 1.6, words=True),
                Column("n", 0.5),
                Column("Accuracy", 1.35),
                *(Column(f"Sens. {s}", 0.75) for s in STAGES),
                Column("Kappa", 0.7),
                Column("Too deep", 0.75),
                Column("Too shallow", 0.8),
            ),
            [_rater(_RATERS.get(name, name), r) for name, r in known]
            + [
                _rater(title, rater)
                for rater, title in (
                    (found.with_ai, "Radiologist, with AI"),
                    (found.without_ai, "Radiologist, no AI"),
                )
                if rater
            ],
            title="Each on all patients whom it staged",
            note="In brackets: Wilson 95% intervals. Too deep, too shallow: shares staged above and below pT. Kappa: "
            "quadratic weights. The rows are of different patients; each pair below is of the same patients.",
        )
    )
    pairs = [p for p in found.pairs if p.n]
    if pairs:
        blocks.append(
            Table(
                (
                    Column("Pair, on the same patients", 2.5, words=True),
                    Column("n", 0.5),
                    Column("Accuracy, first less second", 2.1),
                    Column("McNemar p", 0.8),
                    Column("Kappa, first less second", 2),
                ),
                [
                    (
                        f"{_RATERS[p.a]} – {_RATERS[p.b]}",
                        str(p.n),
                        _points(p.accuracy_difference, p.ci or p.score_ci),
                        words.DASH if p.mcnemar_p is None else f"{p.mcnemar_p:.2g}",
                        _difference(p.kappa_difference, p.kappa_ci),
                    )
                    for p in pairs
                ],
                title="Paired comparisons",
                note="In brackets: 95% intervals of a bootstrap over patients; for accuracy Tango's score interval "
                "where no pair differs.",
            )
        )
    against = found.with_against_without
    return [*blocks, *_sentences(found, [against.sentence] if against else [])]


def _sentences(found: Readers, more: list[str] | None = None) -> list[Block]:
    told = [words.prose(s) for s in [*(more or []), *found.sentences]]
    return [Bullets(told)] if told else []


def _rater(title: str, found: Rater) -> Row:
    ci = words.share_ci(found.accuracy_ci)
    return (
        title,
        str(found.n),
        f"{words.share(found.accuracy)}\n({ci})" if ci else words.share(found.accuracy),
        *(words.share(found.sensitivity[s], 0) for s in STAGES),
        words.number(found.kappa, 2),
        words.share(found.over_staging),
        words.share(found.under_staging),
    )


def _points(value: float | None, ci: Interval95 | None) -> str:
    if value is None:
        return words.DASH
    width = f" ({100 * ci[0]:+.1f} to {100 * ci[1]:+.1f})" if ci else ""
    return words.minus(f"{100 * value:+.1f} points{width}")


def _difference(value: float | None, ci: Interval95 | None) -> str:
    if value is None:
        return words.DASH
    return words.minus(f"{value:+.2f}" + (f" ({ci[0]:+.2f} to {ci[1]:+.2f})" if ci else ""))


def subgroups(month: MonthFindings) -> list[Block]:
    """Accuracy by scanner, sex, age, location."""
    rows, window = month.subgroups, month.performance.window
    blocks: list[Block] = [Heading("Subgroups")]
    if window is None:
        return [*blocks, Text("No patient with a pT: no subgroup can be judged.")]
    if not rows:
        return [*blocks, Text("Neither scanner nor sex, age or location is known of these patients: no subgroups.")]
    blocks.append(
        Picture(
            figures_performance.forest(rows, window.accuracy),
            f"Accuracy by group, {words.count(window.n, 'patient')}, Wilson 95% intervals; the "
            "line is "
            "the accuracy of all. Grey: too small to judge; red: worse than the others of its kind beyond chance.",
            "Accuracy by subgroup",
        )
    )
    judged = [r for r in rows if r.p is not None]
    found = [(r, r.p) for r in judged if r.p is not None and r.verdict in ("worse", "better")]
    said = [
        f"{r.by.capitalize()} {r.group}: accuracy {words.share(r.accuracy)} of {r.n}, others "
        f"{words.share(r.rest)}, p {p:.2g}: {r.verdict} beyond chance."
        for r, p in found
    ]
    if judged and not found:
        said.append(
            f"None of {len(judged)} groups that could be judged differs from the others of its kind beyond "
            "chance. That "
            "is no proof that none does."
        )
    if not judged:
        said.append("No group, with its others, is large enough to be judged (20 patients each).")
    missing = [by for by in ("scanner", "sex", "age", "location") if by not in {r.by for r in rows}]
    if missing:
        said.append(f"Not known of any of these patients: {', '.join(missing)}.")
    said.append(
        "A group is judged from 20 patients on, with at least 20 others; Fisher's test, with Holm's rule over all "
        "groups."
    )
    return [*blocks, Bullets(said)]
