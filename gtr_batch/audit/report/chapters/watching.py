"""The monitors: their state, their paths, their thresholds, and open alarms."""

from __future__ import annotations

from gtr_batch.audit.found.findings import Findings
from gtr_batch.audit.monitors.watched import Watched
from gtr_batch.audit.report import figures_drift as draw
from gtr_batch.audit.report import words
from gtr_batch.audit.report.blocks import Block, Cell, Column, Heading, Picture, Table, Text
from gtr_batch.domain.audit_run import AlarmLevel

_APART = ("stage_shift", "confidence")


def watching(findings: Findings) -> list[Block]:
    """Open alarms, all monitors in a table, the CUSUM alone, the others together."""
    run, monitors, settings = findings.run, findings.monitors, findings.settings
    blocks: list[Block] = [Heading("The monitors")]
    blocks.append(
        Text(
            f"Each monitor watches from its own first night: pathology report by report, all else week by week. All of "
            f"them together raise a false alarm in at most {words.share(settings.false_alarm_budget, 0)} of periods of "
            f"{settings.horizon_months} months in which nothing changes."
        )
    )
    if findings.alarms:
        blocks.append(_alarms(findings))
    blocks.append(
        Table(
            (
                Column("Monitor", 1.7, words=True),
                Column("State", 0.8, words=True),
                Column("Watching since", 1.05, words=True),
                Column("Now / threshold", 0.95),
                Column("What it says", 3.6, words=True),
            ),
            [
                (
                    m.title,
                    Cell(*_state(m)),
                    words.day(m.since),
                    _value(m),
                    words.prose(m.sentence),
                )
                for m in monitors
            ],
            title="What each monitor says",
            note="Crossing once is enough: a monitor stays in alarm until a person acknowledges the alarm and lets the "
            "monitor watch anew.",
        )
    )
    shift = next((m for m in monitors if m.name == "stage_shift"), None)
    if shift is not None and shift.path:
        blocks.append(
            Picture(
                draw.path_of(shift, run.first, run.last),
                "Pathology against the model's probabilities: likelihood-ratio CUSUM, tuned to an odds ratio of "
                f"{settings.odds_ratio:g}. It rises when pT is more (or less) advanced than the probabilities say, "
                "and falls towards 0 otherwise. Dashed: threshold; shaded: this period.",
                f"CUSUM path, {shift.state}",
            )
        )
    others = [m for m in monitors if m.name not in _APART and m.state != "off"]
    if any(m.path for m in others):
        blocks.append(
            Picture(
                draw.paths(others, run.first, run.last),
                "Monitors of unlabelled data. Each point is a week (one with too few cases is judged again with the "
                "next): minus the decimal logarithm of its p-value, so a higher point is less likely to be chance. "
                "Dashed: the threshold that the monitor's share of the budget allows; red: beyond it; shaded: this "
                "period.",
                "Paths of the monitors of unlabelled data: " + ", ".join(f"{m.title} {m.state}" for m in others),
            )
        )
    else:
        blocks.append(Text("None of the monitors of unlabelled data has a path yet: too few cases since they began."))
    return blocks


def _alarms(findings: Findings) -> Table:
    titles = {m.name: m.title for m in findings.monitors}
    rows = []
    for a in findings.alarms:
        title = titles.get(a.monitor, a.monitor.replace("_", " "))
        seen = f"acknowledged by {a.acknowledged_by}: {a.note}" if a.acknowledged_by else "open"
        rows.append((title, Cell(a.level, a.level), words.day(a.night[:10]), words.prose(a.sentence), seen))
    return Table(
        (
            Column("Alarm", 1.7, words=True),
            Column("Level", 0.6, words=True),
            Column("Since", 1.05, words=True),
            Column("What it says", 2.7, words=True),
            Column("State", 1.9, words=True),
        ),
        rows,
        title="Alarms that are open, or acknowledged while their monitor watches on",
    )


def _state(monitor: Watched) -> tuple[str, str]:
    word, tone = words.STATES[monitor.state]
    if monitor.state == "alarm":
        return f"{word}: {monitor.level}", "stop" if monitor.level is AlarmLevel.STOP else "look"
    if monitor.name == "confidence":
        return "never alarms", "muted"
    return word, tone


def _value(monitor: Watched) -> str:
    if monitor.value is None:
        return words.DASH
    if monitor.threshold is None:
        return words.number(monitor.value, 2)
    return f"{words.number(monitor.value, 2)} / {words.number(monitor.threshold, 2)}"
