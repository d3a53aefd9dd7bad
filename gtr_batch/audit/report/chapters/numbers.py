"""This month's numbers beside last month's and the reference's."""

from __future__ import annotations

from collections.abc import Callable

from gtr_batch.audit.chance import level_of
from gtr_batch.audit.found.evaluation import Evaluation, Interval95
from gtr_batch.audit.found.findings import Findings, MonthFindings, ShownSettings
from gtr_batch.audit.found.performance import Headline, Performance, ReferenceNumbers
from gtr_batch.audit.performance import COMPARISONS, numbers_of
from gtr_batch.audit.report import words
from gtr_batch.audit.report.blocks import Block, Cell, Column, Heading, Table, Text

Row = tuple[str | Cell, ...]
_VERDICTS = {"worse": ("worse", "stop"), "not shown": ("not shown", "good"), "cannot tell": ("cannot tell", "muted")}
_NAMES = {
    "last_month": "Accuracy, against last month",
    "reference": "Accuracy, against the reference",
    "ece": "Calibration error",
    "slope": "Calibration line",
    "t4_understaging": "T4 staged lower",
}


def numbers(findings: Findings, month: MonthFindings) -> list[Block]:
    """One table of numbers, one of comparisons."""
    performance, run = month.performance, findings.run
    window, period = performance.window, performance.period
    blocks: list[Block] = [Heading("The numbers, against last month and the reference")]
    if window is None:
        blocks.append(Text("No patient whom this model staged has a pT reported within the last 12 months."))
    else:
        blocks += [Text(_who(performance, window)), _table(month, window)]
        if period is None:
            blocks.append(Text(f"No pT was reported from {words.day(run.first)} to {words.day(run.until)}."))
    blocks.append(
        Table(
            (Column("Comparison", 1.5, words=True), Column("Worse?", 0.95, words=True), Column("", 4.6, words=True)),
            [(_NAMES[c.name], Cell(*_VERDICTS[c.verdict]), words.prose(c.sentence)) for c in month.criteria],
            title="What is compared, and what came of it",
            note=_note(findings.settings),
        )
    )
    return blocks


def _who(performance: Performance, window: Evaluation) -> str:
    since, until = words.day(performance.window_first), words.day(performance.until)
    counts = ", ".join(f"T{k + 1} {n}" for k, n in enumerate(performance.stages))
    begins = "since the model began" if performance.since_promotion else "within 12 months"
    this_month = 0 if performance.period is None else performance.period.n
    return (
        f"Patients whom this model staged and whose pT was reported {begins}, {since} to {until}: {window.n} "
        f"({counts}), one case each. This month: those of them whose pT was reported in it, {this_month}. "
        f"Patients operated after chemotherapy (ypT) are not among them."
    )


def _table(month: MonthFindings, window: Evaluation) -> Table:
    performance, t4 = month.performance, month.performance.t4
    alone, now = numbers_of(performance.period), numbers_of(window)
    previous, reference = month.previous or Headline(), _as_headline(month.reference)

    def row(
        title: str,
        value: Callable[[Headline], float | None],
        form: Callable[[float | None], str],
        ci: Interval95 | str | None = None,
    ) -> Row:
        width = ci if isinstance(ci, str) else _width(form, ci)
        return (
            title, form(value(alone)), Cell(form(value(now)), strong=True), width, form(value(previous)),
            form(value(reference)),
        )  # fmt: skip

    share, number = words.share, words.number
    two: Callable[[float | None], str] = lambda v: number(v, 2)  # noqa: E731
    rows: list[Row] = [
        ("Patients", str(performance.period.n if performance.period else 0), Cell(str(window.n), strong=True), "",
         _whole(previous.n), _whole(reference.n)),
        row("Accuracy", lambda h: h.accuracy, share, window.accuracy_ci),
        row("Quadratic weighted kappa", lambda h: h.quadratic_kappa, number, window.quadratic_kappa_ci),
        row("Macro AUC", lambda h: h.macro_auc, number, window.auc_ci["macro"]),
        row("Sensitivity T1", lambda h: h.sensitivity_T1, share, window.sensitivity_ci["T1"]),
        row("Sensitivity T2", lambda h: h.sensitivity_T2, share, window.sensitivity_ci["T2"]),
        row("Sensitivity T3", lambda h: h.sensitivity_T3, share, window.sensitivity_ci["T3"]),
        row("Sensitivity T4", lambda h: h.sensitivity_T4, share, window.sensitivity_ci["T4"]),
        ("T4 staged lower", share(_missed(alone.sensitivity_T4)), Cell(share(t4.share), strong=True),
         words.share_ci(t4.ci), share(previous.t4_understaging), share(_missed(reference.sensitivity_T4))),
        row("Ranked probability score", lambda h: h.rps, number),
        row("Brier score", lambda h: h.brier, number),
        row("Log-loss", lambda h: h.log_loss, number),
        ("Calibration error, ECE (null 95%)", _ece(alone), Cell(_ece(now), strong=True), "", _ece(previous),
         words.DASH),
        row("Calibration slope, T3 or T4", lambda h: h.calibration_slope, two,
            _line(window.calibration.slope, window.calibration.slope_se)),
        row("Calibration intercept", lambda h: h.calibration_intercept, words.signed,
            _line(window.calibration.intercept, window.calibration.intercept_se)),
        row("Over-treatment", lambda h: h.over_treatment, share),
        row("Under-treatment", lambda h: h.under_treatment, share),
        row("Number needed to treat", lambda h: h.nnt, two),
    ]  # fmt: skip
    named = month.reference
    what = f"Reference: {named.what}." if named else "The artefact names no numbers of its own."
    last = "Last month: as filed then, over 12 months (or since the promotion)."
    if not month.previous:
        last = "No audit of the month before is on file."
    return Table(
        (
            Column("", 2.3, words=True),
            Column("This month", 1.15),
            Column("12 months" if not performance.since_promotion else "Since promotion", 1.2),
            Column("95% interval", 1.35),
            Column("Last month", 1.15),
            Column("Reference", 0.95),
        ),
        rows,
        note=f"{last} {what} Intervals: Wilson for shares, DeLong for the AUC, patient bootstrap for kappa; for the "
        "calibration line 1.96 standard errors. Null 95%: in 95% of such samples a calibrated model has less. "
        "NNT: patients for one rightly treated more than wrongly treated.",
    )


def _as_headline(reference: ReferenceNumbers | None) -> Headline:
    """The reference's numbers beside those of a month."""
    if reference is None:
        return Headline()
    return Headline(
        n=reference.n,
        accuracy=reference.accuracy,
        quadratic_kappa=reference.quadratic_kappa,
        sensitivity_T1=reference.sensitivity_T1,
        sensitivity_T2=reference.sensitivity_T2,
        sensitivity_T3=reference.sensitivity_T3,
        sensitivity_T4=reference.sensitivity_T4,
    )


def _width(form: Callable[[float | None], str], ci: Interval95 | None) -> str:
    return words.share_ci(ci) if form is words.share else words.number_ci(ci)


def _missed(sensitivity: float | None) -> float | None:
    return None if sensitivity is None else 1 - sensitivity


def _ece(of: Headline) -> str:
    """ECE never stands without what chance alone would show."""
    return words.DASH if of.ece is None else f"{words.number(of.ece)} ({words.number(of.ece_null_95)})"


def _line(value: float | None, error: float | None) -> str:
    return words.number_ci((value - 1.96 * error, value + 1.96 * error), 2) if value is not None and error else ""


def _whole(n: float | None) -> str:
    return words.DASH if n is None else str(int(n))


def _note(settings: ShownSettings) -> str:
    level = level_of(settings.false_alarm_budget, settings.horizon_months, COMPARISONS)
    return (
        f"The first four share an error rate of {words.share(settings.false_alarm_budget, 0)} in "
        f"{settings.horizon_months} months, like the monitors: each is called worse at p below {level:.2g}, not at "
        "0.05, or one of them would be worse by chance in most years. The cap on T4 is judged at p 0.05, since a T4 "
        "that is staged lower does harm. Not shown is no proof that nothing is worse."
    )
