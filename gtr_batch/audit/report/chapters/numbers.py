"""This month's numbers beside last month's and the reference's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gtr_batch.audit.report import words
from gtr_batch.audit.report.blocks import Block, Cell, Column, Heading, Table, Text

_VERDICTS = {"worse": ("worse", "stop"), "not shown": ("not shown", "good"), "cannot tell": ("cannot tell", "muted")}
_NAMES = {
    "last_month": "Accuracy, against last month",
    "reference": "Accuracy, against the reference",
    "ece": "Calibration error",
    "slope": "Calibration line",
    "t4_understaging": "T4 staged lower",
}


def numbers(findings: Mapping[str, Any]) -> list[Block]:
    """One table of numbers, one of comparisons."""
    performance, run = findings["performance"], findings["run"]
    window, period = performance["window"], performance["period"]
    blocks: list[Block] = [Heading("The numbers, against last month and the reference")]
    if window is None:
        blocks.append(Text("No patient whom this model staged has a pT reported within the last 12 months."))
    else:
        blocks += [Text(_who(findings)), _table(findings)]
        if period is None:
            blocks.append(Text(f"No pT was reported from {words.day(run['first'])} to {words.day(run['until'])}."))
    blocks.append(
        Table(
            (Column("Comparison", 1.5, words=True), Column("Worse?", 0.95, words=True), Column("", 4.6, words=True)),
            [
                (_NAMES[c["name"]], Cell(*_VERDICTS[c["verdict"]]), words.prose(c["sentence"]))
                for c in findings["criteria"]
            ],
            title="What is compared, and what came of it",
            note=_note(findings),
        )
    )
    return blocks


def _who(findings: Mapping[str, Any]) -> str:
    performance, headline = findings["performance"], findings["headline"]
    since = words.day(performance["window_first"])
    until = words.day(performance["until"])
    counts = ", ".join(f"T{k + 1} {n}" for k, n in enumerate(performance["stages"]))
    begins = "since the model began" if performance["since_promotion"] else "within 12 months"
    return (
        f"Patients whom this model staged and whose pT was reported {begins}, {since} to {until}: {headline['n']} "
        f"({counts}), one case each. This month: those of them whose pT was reported in it, {headline['n_period']}. "
        f"Patients operated after chemotherapy (ypT) are not among them."
    )


def _table(findings: Mapping[str, Any]) -> Table:
    window, period = findings["performance"]["window"], findings["performance"]["period"]
    previous, reference = findings["previous"] or {}, findings["reference"] or {}
    t4, h = findings["performance"]["t4"], findings["headline"]

    def row(title: str, name: str, now: str, ci: str, form: Any) -> tuple[Any, ...]:
        alone = form(_in(period, name)) if period else words.DASH
        return (title, alone, Cell(now, strong=True), ci, form(previous.get(name)), form(reference.get(name)))

    share, number = words.share, words.number
    rows: list[tuple[Any, ...]] = [
        (
            "Patients",
            str(h["n_period"]),
            Cell(str(h["n"]), strong=True),
            "",
            _whole(previous.get("n")),
            _whole(reference.get("n")),
        ),
        row("Accuracy", "accuracy", share(window["accuracy"]), words.share_ci(window["accuracy_ci"]), share),
        row("Quadratic weighted kappa", "quadratic_kappa", number(window["quadratic_kappa"]),
            words.number_ci(window["quadratic_kappa_ci"]), number),
        row("Macro AUC", "macro_auc", number(window["auc"]["macro"]),
            words.number_ci(window["auc_ci"]["macro"]), number),
        *(row(f"Sensitivity {s}", f"sensitivity_{s}", share(window["sensitivity"][s]),
              words.share_ci(window["sensitivity_ci"][s]), share) for s in ("T1", "T2", "T3", "T4")),
        ("T4 staged lower", share(_missed(_in(period, "sensitivity_T4"))), Cell(share(t4["share"]), strong=True),
         words.share_ci(t4["ci"]), share(previous.get("t4_understaging")),
         share(_missed(reference.get("sensitivity_T4")))),
        row("Ranked probability score", "rps", number(window["rps"]), "", number),
        row("Brier score", "brier", number(window["brier"]), "", number),
        row("Log-loss", "log_loss", number(window["log_loss"]), "", number),
        ("Calibration error, ECE (null 95%)", _ece(_in(period, "ece"), _in(period, "ece_null_95")),
         Cell(_ece(window["ece"]["top"], window["ece"]["null_95"]), strong=True), "",
         _ece(previous.get("ece"), previous.get("ece_null_95")), words.DASH),
        row("Calibration slope, T3 or T4", "calibration_slope", number(_in(window, "calibration_slope"), 2),
            _line(window, "slope"), lambda v: number(v, 2)),
        row("Calibration intercept", "calibration_intercept", words.signed(_in(window, "calibration_intercept")),
            _line(window, "intercept"), words.signed),
        row("Over-treatment", "over_treatment", share(window["over_treatment"]), "", share),
        row("Under-treatment", "under_treatment", share(window["under_treatment"]), "", share),
        row("Number needed to treat", "nnt", number(window["nnt"], 2), "", lambda v: number(v, 2)),
    ]  # fmt: skip
    what = f"Reference: {reference['what']}." if reference else "The artefact names no numbers of its own."
    last = "Last month: as filed then, 12 months." if previous else "No audit of the month before is on file."
    return Table(
        (
            Column("", 2.3, words=True),
            Column("This month", 1.15),
            Column("12 months" if not findings["performance"]["since_promotion"] else "Since promotion", 1.2),
            Column("95% interval", 1.35),
            Column("Last month", 1.15),
            Column("Reference", 0.95),
        ),
        rows,
        note=f"{last} {what} Intervals: Wilson for shares, DeLong for the AUC, patient bootstrap for kappa; for the "
        "calibration line two standard errors. Null 95%: what a calibrated model stays below in 95% of such "
        "samples. NNT: patients for one rightly treated more than wrongly treated.",
    )


def _in(value: Mapping[str, Any] | None, name: str) -> float | None:
    from gtr_batch.audit.performance import HEADLINE, pick

    return pick(value, HEADLINE[name])


def _missed(sensitivity: float | None) -> float | None:
    return None if sensitivity is None else 1 - sensitivity


def _ece(value: float | None, null: float | None) -> str:
    """ECE never stands without what chance alone would show."""
    return words.DASH if value is None else f"{words.number(value)} ({words.number(null)})"


def _line(window: Mapping[str, Any], name: str) -> str:
    line = window["calibration"] or {}
    value, error = line.get(name), line.get(f"{name}_se")
    return words.number_ci((value - 1.96 * error, value + 1.96 * error), 2) if value is not None and error else ""


def _whole(n: float | None) -> str:
    return words.DASH if n is None else str(int(n))


def _note(findings: Mapping[str, Any]) -> str:
    from gtr_batch.audit.chance import level_of
    from gtr_batch.audit.performance import COMPARISONS

    settings = findings["settings"]
    level = level_of(settings, COMPARISONS)
    return (
        f"The first four share an error rate of {words.share(settings['false_alarm_budget'], 0)} in "
        f"{settings['horizon_months']} months, like the monitors: each is called worse at p below {level:.2g}, not at "
        "0.05, or one of them would be worse by chance in most years. The cap on T4 is held at p 0.05: a miss there "
        "does harm. Not shown is no proof that nothing is worse."
    )
