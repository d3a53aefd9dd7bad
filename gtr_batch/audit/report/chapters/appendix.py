"""Definitions, settings, and what the report was made from."""

from __future__ import annotations

from gtr_batch.audit.found.findings import Findings
from gtr_batch.audit.report import words
from gtr_batch.audit.report.blocks import Block, Column, Heading, Table, Text

_DEFINITIONS = (
    ("Patient", "The unit. One case each: the latest staged case before the first operation; without one, the latest."),
    ("pT, ypT", "Pathological stage of the resected tumour, without (pT) and after (ypT) treatment before surgery."),
    ("Accuracy", "Share of patients whose stage (majority vote of three slices) is pathology's."),
    ("AUC", "Chance that a patient with the stage gets a higher probability of it than one without; macro: mean."),
    ("Kappa", "Agreement beyond chance with quadratic weights: a miss by two stages counts four times one by one."),
    ("RPS", "Ranked probability score of the four probabilities, 0 to 1, smaller is better; knows the stages' order."),
    ("Brier, log-loss", "Proper scores of the four probabilities; smaller is better."),
    ("ECE, null 95%", "Mean difference between the likeliest stage's probability and how often that stage was right "
     "(15 bins); null: a perfectly calibrated model with these probabilities has less in 95% of samples of this size."),
    ("Calibration line", "Logistic regression of T3 or T4 on the logit of its probability: slope 1 and intercept 0 are "
     "right. Penalised (Firth) where the probability separates the outcomes nearly completely."),
    ("Over-, under-treatment", "Treated with pT1 or pT2; not treated with pT3 or pT4; shares of all patients."),
    ("NNT", "Number needed to treat: patients divided by (rightly less wrongly treated), as the paper has it."),
    ("CUSUM", "Sum of log-likelihood ratios of a shifted against the unshifted model, never below 0; two-sided."),
    ("p of a monitor", "Of a week or of 13 weeks, against the artefact's reference or the hospital's earlier weeks."),
)  # fmt: skip
_SETTINGS = {
    "false_alarm_budget": "False alarms of all monitors together",
    "horizon_months": "within so many months",
    "odds_ratio": "Shift that the CUSUM is tuned to (odds ratio)",
    "tolerated_odds_ratio": "Shift that it tolerates (odds ratio)",
    "minimum_labels": "Patients with a pT; fewer: cannot tell",
    "minimum_cases": "Cases a week; a week with fewer is judged again together with the next",
    "baseline_weeks": "First weeks that are the comparison where there is no reference",
    "label_wait_days": "Days after which a patient is hardly ever operated",
    "t4_understaging_cap": "Cap of T4 staged lower",
    "stop_monitors": "Monitors whose alarms say stop",
    "pause_delivery": "A stop alarm holds results back",
    "draws": "Draws of each bootstrap",
    "seed": "Seed of all draws",
}
_PERCENT = ("false_alarm_budget", "t4_understaging_cap")


def appendix(findings: Findings) -> list[Block]:
    """The last page."""
    run, settings = findings.run, findings.settings
    titles = {m.name: m.title for m in findings.monitors}
    shares = [
        f"{titles.get(name, name.replace('_', ' '))} {words.share(value, 0)}"
        for name, value in sorted(settings.shares.items(), key=lambda item: (-item[1], item[0]))
        if value
    ]
    blocks: list[Block] = [Heading("Appendix: definitions, settings, provenance")]
    if findings.month is not None:
        blocks.append(
            Table(
                (Column("Word", 1.3, words=True), Column("Meaning", 5.4, words=True)), _DEFINITIONS, title="Definitions"
            )
        )
    blocks.append(
        Table(
            (Column("Setting", 3, words=True), Column("Value", 3.4, words=True)),
            [
                *((text, _value(name, getattr(settings, name))) for name, text in _SETTINGS.items()),
                ("Shares of the false-alarm budget", ", ".join(shares) or words.DASH),
            ],
            title="Settings (audit.*)",
        )
    )
    blocks.append(
        Table(
            (Column("", 2, words=True), Column("", 5.4, words=True)),
            [
                ("Run (SHA-256 of its inputs)", run.run_id),
                ("Model version", run.model_version or words.DASH),
                ("Code version", run.code_version),
                ("Nights of the period", words.span(run.first, run.last)),
                ("Data look back to", words.day(run.since)),
                ("Pathology reported by", words.day(run.as_of)),
                ("Cases looked at", str(run.cases)),
            ],
            title="Provenance",
        )
    )
    blocks.append(
        Text(
            "The run can be made again from its kept inputs, byte for byte: gtr audit rerun "
            f"{run.run_id[:12]}. The report names no patient and no case. Every result of the service is unverified "
            "until a person verifies it.",
            note=True,
        )
    )
    return blocks


def _value(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in _PERCENT and isinstance(value, int | float):
        return words.share(value, 0)
    if isinstance(value, tuple):
        return ", ".join(str(v).replace("_", " ") for v in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
