"""Is the stage right, do the probabilities mean what they say, would decisions be better?"""

from __future__ import annotations

from gtr_batch.audit.found.evaluation import Evaluation
from gtr_batch.audit.found.findings import MonthFindings
from gtr_batch.audit.found.performance import Performance
from gtr_batch.audit.report import figures_performance as draw
from gtr_batch.audit.report import words
from gtr_batch.audit.report.blocks import Block, Bullets, Column, Heading, Picture, Table, Text
from gtr_batch.metrics.selective import RiskCoverage

STAGES = ("T1", "T2", "T3", "T4")


def staging(month: MonthFindings) -> list[Block]:
    """Confusion, ROC, per-stage rates, calibration, decisions."""
    performance = month.performance
    window = performance.window
    if window is None:
        return [
            Heading("Is the stage right?"),
            Text(
                "Nothing can be shown: no patient whom this model staged has a pT reported within the last 12 months."
            ),
        ]
    n = words.count(window.n, "patient")
    blocks: list[Block] = [Heading("Is the stage right?", aside=n)]
    blocks.append(
        Picture(
            draw.confusion_and_months(
                window.confusion, performance.by_month, month.reference.accuracy if month.reference else None
            ),
            f"Left: pathology (rows) against the stage that was given (columns), {n}; percentages of each row. Right: "
            "accuracy by the month in which pathology was reported, Wilson 95% intervals, patients below; dashed: "
            "the reference, where the artefact has one. "
            "Points that vary within their intervals show nothing; several in a row that fall do.",
            "Confusion matrix and accuracy by month",
        )
    )
    blocks.append(_rates(window))
    if any(window.roc.values()):
        blocks.append(
            Picture(
                draw.roc(window.roc, window.auc, window.auc_ci),
                f"ROC of each stage against the others, {n}; AUC with DeLong's 95% interval. Diagonal: chance.",
                "ROC curves of the four stages",
            )
        )
    if window.risk_coverage is not None:
        blocks.append(Text(_risk_coverage(window.risk_coverage)))
    blocks += _calibration(month, window, n)
    blocks += _decisions(performance, window, n)
    sentences = [words.prose(s) for s in window.sentences]
    if sentences:
        blocks += [Heading("What to bear in mind with these numbers", 3), Bullets(sentences)]
    return blocks


def _risk_coverage(curve: RiskCoverage) -> str:
    """What answering fewer patients, the surest first, would have saved."""
    half = min(range(len(curve["coverage"])), key=lambda k: abs(curve["coverage"][k] - 0.5))
    return (
        f"Risk against coverage: of all {curve['n']} answers {words.share(curve['risk'][-1])} were wrong, of the "
        f"surest {words.share(curve['coverage'][half], 0)} of them {words.share(curve['risk'][half])}; area under the "
        f"curve {words.number(curve['aurc'])}, {words.number(curve['best'])} if every wrong answer were the least "
        "sure. Patients who were given no stage are not among them."
    )


def _rates(window: Evaluation) -> Table:
    def cell(name: str, stage: str) -> str:
        value, ci = window.rate(name, stage)
        return words.share(value) if value is None or not ci else f"{words.share(value)}\n({words.share_ci(ci)})"

    def test(stage: str) -> str:
        found = window.hosmer_lemeshow[stage]
        statistic, p = found.statistic, found.p if found.p_holm is None else found.p_holm
        if p is None:
            return words.DASH
        size = "above 1000" if statistic is None or statistic > 1000 else words.number(statistic, 1)
        return f"{size}\n{'p below 0.0001' if p < 1e-4 else f'p {p:.2g}'}"

    rows = [
        (
            stage,
            str(sum(window.confusion[k])),
            *(cell(name, stage) for name in ("sensitivity", "specificity", "ppv", "npv")),
            test(stage),
        )
        for k, stage in enumerate(STAGES)
    ]
    return Table(
        (
            Column("Stage", 0.5, words=True),
            Column("n", 0.45),
            Column("Sensitivity", 1.2),
            Column("Specificity", 1.2),
            Column("PPV", 1.2),
            Column("NPV", 1.2),
            Column("Hosmer-Lemeshow", 1.25),
        ),
        rows,
        title="Each stage against the others",
        note="In brackets: Wilson 95% intervals. Hosmer-Lemeshow: ten groups and ten degrees of freedom, p by Holm's "
        "rule over the four stages; a large p is no proof of calibration.",
    )


def _calibration(month: MonthFindings, window: Evaluation, n: str) -> list[Block]:
    performance, ece = month.performance, window.ece
    said = (
        f"Expected calibration error of the likeliest stage: {words.number(ece.top)}. A perfectly calibrated model "
        f"with the same probabilities on as many patients stays below {words.number(ece.null_95)} in 95% of "
        "samples; only a larger error is a sign of wrong probabilities."
    )
    blocks: list[Block] = [Heading("Do the probabilities mean what they say?"), Text(said)]
    blocks.append(
        Picture(
            draw.calibration(window.reliability, performance.reliability),
            f"Reliability, {n}: predicted probability against observed frequency. Bars: Wilson 95% intervals; dots "
            "grow with the number of patients. Several neighbouring bars on one side of the diagonal are a sign of "
            "wrong probabilities; a single one is not.",
            "Reliability diagrams",
        )
    )
    blocks.append(
        Picture(
            draw.calibration_by_stage(performance.reliability),
            f"Reliability of each stage's own probability, {n}, eight bins, Wilson 95% intervals.",
            "Reliability of the four stages",
        )
    )
    found = month.coverage
    if found:
        blocks.append(
            Text(
                f"Sets of neighbouring stages that should contain the true one in {words.share(found.promised, 0)} "
                f"of patients contained it in {found.held} of {found.n} ({words.share(found.share)}, Wilson 95% "
                f"{words.share_ci(found.ci)}), with {found.mean_size:.1f} stages a set."
            )
        )
    else:
        why = "No set of neighbouring stages was reported for these patients: there is no coverage to judge."
        blocks.append(Text(why, note=True))
    return blocks


def _decisions(performance: Performance, window: Evaluation, n: str) -> list[Block]:
    eus = performance.eus
    blocks: list[Block] = [Heading("Would decisions be better?", aside="treatment before surgery for T3 and T4")]
    who = f"the {eus.n} who had an endoscopic ultrasound (EUS)" if eus else "none, for nobody had an EUS stage"
    blocks.append(
        Picture(
            draw.decision(window.net_benefit, eus),
            f"Decision curves. Left: {n}; right: {who}. Whoever treats at a threshold probability of 0.3 accepts "
            "seven wrongly treated for three rightly treated; the higher curve is better. No intervals are drawn: "
            "these patients cannot distinguish curves that lie close together.",
            "Decision curves",
        )
    )
    rows = [("Model, all patients", n, *_treatment(window.over_treatment, window.under_treatment, window.nnt))]
    if eus:
        m, e, who = eus.model, eus.eus, words.count(eus.n, "patient")
        rows += [
            ("Model, patients with EUS", who, *_treatment(m.over, m.under, m.nnt)),
            ("EUS, the same patients", who, *_treatment(e.over, e.under, e.nnt)),
        ]
    blocks.append(
        Table(
            (
                Column("Who decides", 2, words=True),
                Column("n", 1),
                Column("Over-treated", 1),
                Column("Under-treated", 1),
                Column("Number needed to treat", 1.4),
            ),
            rows,
            title="Treated as T3 or T4",
            note="Over-treated: treated, pT1 or pT2; under-treated: not treated, pT3 or pT4; shares of all patients. "
            "NNT: patients for one rightly treated more than wrongly treated; a dash where there are no more.",
        )
    )
    return blocks


def _treatment(over: float | None, under: float | None, nnt: float | None) -> tuple[str, str, str]:
    return words.share(over), words.share(under), words.number(nnt, 2)
