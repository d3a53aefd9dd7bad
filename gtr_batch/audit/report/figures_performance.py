"""Pictures of how right the model is: stages, probabilities, decisions, groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gtr_batch.audit.found.evaluation import ByStage, Confusion, IntervalByStage, NetBenefit, ReliabilityBin
from gtr_batch.audit.found.patients import Subgroup
from gtr_batch.audit.found.performance import EusDecision, MonthOfReports, NetBenefitBesideEus
from gtr_batch.audit.report import words
from gtr_batch.audit.report.drawing import (
    FAINT,
    GOOD,
    GREY,
    INK,
    LINE,
    SECOND,
    STAGE_COLOURS,
    WARN,
    empty,
    month_ticks,
    new_figure,
    style,
)

Points = tuple[tuple[float, float], ...]
STAGES = ("T1", "T2", "T3", "T4")


def confusion_and_months(table: Confusion, months: Sequence[MonthOfReports], reference: float | None) -> Any:
    """Left: pathology against the stage that was given. Right: accuracy by the month of the pathology report."""
    with style():
        figure = new_figure(2.9)
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
        _confusion(left, np.asarray(table, int))
        at = [k for k, m in enumerate(months) if m.n]
        for k in at:
            right.plot([k, k], months[k].ci, color=LINE, lw=1.4)
            right.text(k, -0.015, str(months[k].n), ha="center", va="bottom", fontsize=7, color=GREY)
        right.plot(at, [months[k].accuracy for k in at], "o", color=LINE, ms=4.5)
        if reference is not None:
            right.axhline(reference, color=SECOND, lw=1.2, ls="--")
        month_ticks(right, [m.month for m in months])
        right.tick_params(axis="x", labelsize=7.5)
        right.set_xlim(-0.6, len(months) - 0.4)
        right.set_ylim(-0.03, 1.03)
        right.set_title("Accuracy by month of the pathology report")
        right.set_ylabel("accuracy")
    return figure


def _confusion(axes: Any, table: np.ndarray) -> None:
    of_row = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    edges = np.arange(5) - 0.5
    axes.pcolormesh(edges, edges, of_row, cmap="Blues", vmin=0, vmax=1.15, edgecolors="white", lw=1)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    for i in range(4):
        for j in range(4):
            dark = of_row[i, j] > 0.55
            n = int(table[i, j])
            axes.text(
                j, i - 0.08, str(n), ha="center", va="center", color="white" if dark else INK, fontsize=10,
                weight="bold" if i == j else "normal",
            )  # fmt: skip
            axes.text(
                j, i + 0.3, f"{100 * of_row[i, j]:.0f}%", ha="center", va="center", fontsize=6.5,
                color="white" if dark else GREY,
            )  # fmt: skip
    axes.set_xticks(range(4), STAGES)
    axes.set_yticks(range(4), STAGES)
    axes.tick_params(length=0)
    axes.set_xlabel("stage given (vote)")
    axes.set_ylabel("pathology (pT)")
    axes.set_title("Confusion")
    for spine in axes.spines.values():
        spine.set_visible(False)


def roc(found: Mapping[str, Points | None], auc: ByStage, intervals: IntervalByStage) -> Any:
    """One stage against the others, four panels."""
    with style():
        figure = new_figure(2.35)
        for k, (axes, stage) in enumerate(zip(figure.subplots(1, 4, sharey=True), STAGES, strict=True)):
            axes.set_title(stage)
            axes.set_aspect("equal")
            axes.set_xlim(-0.02, 1.02)
            axes.set_ylim(-0.02, 1.02)
            axes.plot([0, 1], [0, 1], color=FAINT, lw=1)
            axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            points = found.get(stage)
            if not points:
                axes.text(
                    0.5, 0.45, "not defined:\none side is empty", ha="center", va="center", color=GREY, fontsize=8
                )
                continue
            x, y = zip(*points, strict=True)
            axes.step(x, y, where="post", color=STAGE_COLOURS[max(k, 1)], lw=1.8)
            interval = intervals.get(stage)
            said = f"AUC {words.number(auc.get(stage))}" + (f"\n{words.number_ci(interval)}" if interval else "")
            axes.text(0.98, 0.04, said, ha="right", va="bottom", fontsize=7.5)
        figure.axes[0].set_ylabel("sensitivity")
        figure.supxlabel("1 − specificity", fontsize=8.5)
    return figure


def calibration(top: Sequence[ReliabilityBin], stages: Mapping[str, Sequence[ReliabilityBin]]) -> Any:
    """Left: the likeliest stage's probability. Right: P(T3 or T4)."""
    with style():
        figure = new_figure(3.1)
        left, right = figure.subplots(1, 2)
        _reliability(left, top, LINE)
        left.set_title("The likeliest stage")
        left.set_xlabel("predicted probability")
        left.set_ylabel("observed frequency")
        _reliability(right, stages["T3 or T4"], LINE)
        right.set_title("T3 or T4: the decision for treatment")
        right.set_xlabel("predicted probability of T3 or T4")
    return figure


def calibration_by_stage(stages: Mapping[str, Sequence[ReliabilityBin]]) -> Any:
    """Reliability of each stage's own probability."""
    with style():
        figure = new_figure(2.35)
        for k, (axes, stage) in enumerate(zip(figure.subplots(1, 4, sharey=True), STAGES, strict=True)):
            _reliability(axes, stages[stage], STAGE_COLOURS[max(k, 1)])
            axes.set_title(stage)
            axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        figure.axes[0].set_ylabel("observed frequency")
        figure.supxlabel("predicted probability of the stage", fontsize=8.5)
    return figure


def _reliability(axes: Any, bins: Sequence[ReliabilityBin], colour: str) -> None:
    axes.plot([0, 1], [0, 1], color=FAINT, lw=1, zorder=1)
    for b in bins:
        axes.plot([b.confidence] * 2, [b.low, b.high], color=colour, lw=1.3, zorder=2)
    most = max((b.n for b in bins), default=1)
    axes.scatter(
        [b.confidence for b in bins],
        [b.accuracy for b in bins],
        s=[12 + 48 * b.n / most for b in bins],
        color=colour,
        zorder=3,
        linewidths=0,
    )
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")


def decision(curve: Sequence[NetBenefit], eus: EusDecision | None) -> Any:
    """Net benefit of treating as T3 or T4. Left: all patients. Right: those with an endoscopic ultrasound."""
    with style():
        figure = new_figure(3.0)
        left, right = figure.subplots(1, 2, sharey=True)
        _decision(left, curve, "All patients")
        if eus is None:
            empty(right, "No patient of these had an\nendoscopic ultrasound stage.")
            right.set_title("Those with endoscopic ultrasound")
        else:
            _decision(right, eus.curve, f"Those with endoscopic ultrasound (n = {eus.n})")
        left.set_ylabel("net benefit a patient")
        handles, labels = (right if eus else left).get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _decision(axes: Any, curve: Sequence[NetBenefit], title: str) -> None:
    x = [r.threshold for r in curve]
    axes.plot(x, [r.all for r in curve], ":", color=GREY, lw=1.5, label="treat all")
    axes.axhline(0, color=INK, lw=0.9, label="treat none")
    by_eus = [r.eus for r in curve if isinstance(r, NetBenefitBesideEus)]
    if by_eus:
        axes.plot(x, by_eus, "--", color=SECOND, lw=1.6, label="by EUS")
    axes.plot(x, [r.model for r in curve], color=LINE, lw=2, label="by the model")
    axes.set_ylim(-0.12, max(0.15, *(r.model for r in curve if r.model is not None)) * 1.15)
    axes.set_xlabel("threshold probability of T3 or T4")
    axes.set_title(title)


def forest(rows: Sequence[Subgroup], whole: float | None) -> Any:
    """Accuracy of each subgroup with its interval."""
    with style():
        groups = sorted({r.by for r in rows}, key=[r.by for r in rows].index)
        height = 0.215 * (len(rows) + 1.1 * len(groups)) + 0.55
        figure = new_figure(height)
        axes = figure.subplots()
        y, ticks, labels = 0.0, [], []
        for by in groups:
            axes.text(-0.015, y, by.capitalize(), ha="right", va="center", weight="bold", fontsize=8.5,
                      transform=axes.get_yaxis_transform())  # fmt: skip
            y += 1
            for r in (r for r in rows if r.by == by):
                colour = {"worse": WARN, "better": GOOD, "too small": GREY}.get(r.verdict, LINE)
                if r.ci:
                    axes.plot(r.ci, [y, y], color=colour, lw=1.5)
                    axes.plot(r.accuracy, y, "s", color=colour, ms=3 + 4 * min(r.n, 400) ** 0.5 / 20)
                said = f"{words.share(r.accuracy, 0)}  (n = {r.n})"
                axes.text(1.02, y, said, va="center", fontsize=7.5, transform=axes.get_yaxis_transform(), color=INK)
                ticks.append(y)
                labels.append(r.group)
                y += 1
            y += 0.25
        if whole is not None:
            axes.axvline(whole, color=FAINT, lw=1.2, zorder=0)
        axes.set_yticks(ticks, labels)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(y - 0.2, -0.7)
        axes.set_xlim(0, 1)
        axes.set_xlabel("accuracy")
    return figure
