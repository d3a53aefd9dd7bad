"""The figures of the model card: ROC, calibration and decision curves of both models on the holdout, as SVG."""

from __future__ import annotations

import itertools
import math

from gtr_batch.domain.gate import Both, ModelCurves
from gtr_batch.training.report import COLOURS, as_svg

_MODELS = (("-", "this model"), ("--", "the champion it was held against"))  # candidate, champion


def roc_figure(found: Both[ModelCurves]) -> str:
    """One-vs-rest ROC curves of each stage, both models, as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.7), layout="constrained")
    for axes, (k, stage) in zip(figure.subplots(1, 4, sharey=True), enumerate(("T1", "T2", "T3", "T4")), strict=True):
        axes.plot([0, 1], [0, 1], color="0.8", lw=1)
        for model, (style, _) in zip((found.candidate, found.champion), _MODELS, strict=True):
            points = model.roc[stage]
            if points:
                x, y = zip(*points, strict=True)
                axes.step(x, y, style, where="post", color=COLOURS[k] if style == "-" else "0.45", lw=1.5)
        axes.set_title(stage, fontsize=10)
        axes.set_xlabel("1 - specificity")
        axes.set_aspect("equal")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("sensitivity")
    return as_svg(figure)


def calibration_figure(found: Both[ModelCurves]) -> str:
    """Reliability of both models on the holdout, with Wilson's intervals, as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    both = (found.candidate, found.champion)
    for axes, model, (_, words) in zip(figure.subplots(1, 2, sharey=True), both, _MODELS, strict=True):
        axes.plot([0, 1], [0, 1], color="0.8", lw=1)
        for b in model.reliability:
            axes.plot([b.confidence] * 2, [b.low, b.high], color=COLOURS[0], lw=1.2)
            axes.plot(b.confidence, b.accuracy, "o", color=COLOURS[0], ms=3 + min(b.n, 60) ** 0.5)
        axes.set_title(words, fontsize=10)
        axes.set_xlabel("probability of the likeliest stage")
        axes.set_xlim(0.2, 1.02)
        axes.set_ylim(0, 1.02)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("how often it was right")
    return as_svg(figure)


def decision_figure(found: Both[ModelCurves]) -> str:
    """Net benefit of treating as T3 or T4: both models, everybody, nobody, as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    rows = found.candidate.decision
    x = [r.threshold for r in rows]
    for model, (style, words) in zip((found.candidate, found.champion), _MODELS, strict=True):
        colour = COLOURS[0] if style == "-" else "0.45"
        axes.plot(x, [_drawn(r.model) for r in model.decision], style, color=colour, label=words)
    axes.plot(x, [_drawn(r.all) for r in rows], ":", color=COLOURS[2], label="treat all")
    axes.axhline(0, color="0.2", lw=0.8, label="treat none")
    best = max((r.model for r in itertools.chain(rows, found.champion.decision) if r.model is not None), default=0.0)
    axes.set_ylim(-0.1, max(best, 0.1) * 1.15)
    axes.set_xlabel("threshold probability of T3 or T4")
    axes.set_ylabel("net benefit")
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return as_svg(figure)


def _drawn(value: float | None) -> float:
    return math.nan if value is None else value
