"""Pictures of what changes: the monitors' paths, headers, image quality, what the model said, refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
from attrs import evolve

from gtr_batch.audit.found.patients import MonthOfLabels
from gtr_batch.audit.found.service import (
    HeaderOverTime,
    MonthOfOverrides,
    QualityOverTime,
    RefusalsOverTime,
    SharesOverTime,
    WentOut,
)
from gtr_batch.audit.monitors.watched import Watched
from gtr_batch.audit.report import words
from gtr_batch.audit.report.drawing import (
    CATEGORIES,
    FAINT,
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


def path_of(monitor: Watched, first: date, last: date) -> Any:
    """One monitor's path with its threshold, wide."""
    with style():
        figure = new_figure(2.5)
        axes = figure.subplots()
        _path(axes, monitor, first, last)
        axes.set_ylabel("log-likelihood ratio")
    return figure


def paths(monitors: Sequence[Watched], first: date, last: date) -> Any:
    """Paths of several monitors, two in a row, on one axis of time."""
    with style():
        rows = -(-len(monitors) // 2)
        figure = new_figure(1.5 * rows + 0.15)
        panels = np.atleast_1d(figure.subplots(rows, 2, squeeze=False)).ravel()
        begun = min(p[0] for m in monitors for p in m.path)
        for axes, monitor in zip(panels, monitors, strict=False):
            axes.set_title(monitor.title)
            _path(axes, monitor, first, last)
            if monitor.path:
                axes.set_xlim(begun - timedelta(days=10), last + timedelta(days=5))  # type: ignore[arg-type]
        for axes in panels[len(monitors) :]:
            axes.set_visible(False)
    return figure


def _path(axes: Any, monitor: Watched, first: date, last: date) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    path = [(d, v, t) for d, v, t in monitor.path if v is not None]
    if not path:
        empty(axes, "no path: " + {"off": "turned off"}.get(monitor.state, "cannot tell"))
        return
    days, values, _ = zip(*path, strict=True)
    axes.axvspan(first, last, color="#eef2f6", lw=0, zorder=0)  # type: ignore[arg-type]
    limits = [(d, t) for d, _, t in path if t is not None]
    if limits:
        axes.step(*zip(*limits, strict=True), where="post", color=WARN, lw=1.2, ls="--", zorder=2)
    axes.plot(days, values, color=LINE, lw=1.4, marker="o", ms=2.2, zorder=3)
    beyond = [(d, v) for d, v, t in path if t is not None and v >= t]
    if monitor.state == "alarm" and beyond:
        axes.plot(*zip(*beyond, strict=True), "o", color=WARN, ms=3, zorder=4)
    top = max([*values, *(t for _, t in limits)])
    low = min(0.0, *values, *(t for _, t in limits)) if min(values) < 0 else 0.0
    axes.set_ylim(low - 0.03 * (top - low or 1), top + 0.12 * (top - low or 1))
    locator = AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))


def headers(found: Mapping[str, HeaderOverTime], names: Sequence[str], first: date) -> Any:
    """Weekly shares of each header's values, stacked; what the artefact's reference had stands left of the weeks."""
    with style():
        figure = new_figure(1.28 * len(names) + 0.2)
        panels = figure.subplots(len(names), 1, squeeze=False).ravel()
        for axes, name in zip(panels, names, strict=True):
            _stack(axes, found[name], first)
            axes.set_title(words.HEADERS[name], pad=8)
        for axes in panels[:-1]:
            axes.tick_params(axis="x", labelbottom=False)
    return figure


def _stack(axes: Any, found: HeaderOverTime, first: date) -> None:
    periods, values = found.periods, found.values
    n = np.array(found.n, float)
    known = found.reference
    if not n.sum():
        empty(axes, "no staged case in these weeks")
        return
    bottom, below = np.zeros(len(periods)), 0.0
    names = [*values, *(k for k in known or {} if k not in values)]
    for k, value in enumerate(names):
        colour = CATEGORIES[-1] if value in ("other", "not given") else CATEGORIES[k % (len(CATEGORIES) - 1)]
        part = np.array(values.get(value, [0] * len(periods)), float) / np.maximum(n, 1)
        axes.bar(range(len(periods)), part, 0.92, bottom, color=colour, label=value, lw=0)
        bottom += part
        if known:
            axes.bar(-2.2, known.get(value, 0.0), 1.4, below, color=colour, lw=0)
            below += known.get(value, 0.0)
    if known:
        axes.axvline(-1.0, color=FAINT, lw=1)
    since = next((k for k, p in enumerate(periods) if p >= str(first)), None)
    if since is not None:
        axes.plot([since - 0.5, len(periods) - 0.5], [1.045] * 2, color=INK, lw=2, clip_on=False, solid_capstyle="butt")
    _week_ticks(axes, periods, reference=bool(known))
    axes.set_xlim(-3.2 if known else -0.7, len(periods) - 0.3)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "50%", "100%"])
    axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.08), handlelength=0.9, handleheight=0.9, labelspacing=0.3)


def _week_ticks(axes: Any, periods: Sequence[str], *, reference: bool = False, most: int = 13) -> None:
    starts = [k for k, p in enumerate(periods) if k == 0 or p[:7] != periods[k - 1][:7]]
    if len(starts) > 1 and starts[1] < 3:
        starts = starts[1:]
    month_ticks(axes, [periods[k][:7] for k in starts], most, starts)
    if reference:
        labels = [t.get_text() for t in axes.get_xticklabels()]
        near = len(starts) > 1 and starts[0] < 2
        axes.set_xticks([-2.2, *axes.get_xticks()], ["ref.", *(("" if near else labels[0], *labels[1:]))])
    axes.tick_params(axis="x", labelsize=7.5)


def quality(found: Mapping[str, QualityOverTime], periods: Sequence[str], first: date) -> Any:
    """Weekly median and middle 80% of each measure; the reference's as a band behind."""
    with style():
        names = [name for name in words.QUALITY if any(w.n for w in found[name].weeks)]
        rows = -(-len(names) // 3)
        figure = new_figure(1.55 * rows + 0.1)
        panels = figure.subplots(rows, 3, squeeze=False).ravel()
        for axes, name in zip(panels, names, strict=False):
            at = [k for k, w in enumerate(found[name].weeks) if w.n]
            weeks = [found[name].weeks[k] for k in at]
            known = found[name].reference
            if known:
                axes.axhspan(known[0], known[2], color="#f6ead7", lw=0, zorder=0)
                axes.axhline(known[1], color=SECOND, lw=1, ls="--", zorder=1)
            axes.fill_between(at, [w.low for w in weeks], [w.high for w in weeks], color=LINE, alpha=0.18, lw=0)
            axes.plot(at, [w.median for w in weeks], color=LINE, lw=1.5)
            since = next((k for k, p in enumerate(periods) if p >= str(first)), None)
            if since is not None:
                axes.axvline(max(since - 0.5, -0.5), color=INK, lw=0.9, ls=":")
            axes.set_title(words.QUALITY[name])
            _week_ticks(axes, periods, most=5)
            axes.set_xlim(-0.7, len(periods) - 0.3)
        for axes in panels[len(names) :]:
            axes.set_visible(False)
    return figure


def outputs(found: WentOut) -> Any:
    """By month: the mix of stages, slices that vote apart, where key slices came from."""
    with style():
        figure = new_figure(2.6)
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.25, 1, 1))
        labels = found.stages.periods
        _bars(left, found.stages, dict(zip(("T1", "T2", "T3", "T4"), STAGE_COLOURS, strict=True)))
        left.set_title("Stages that were given")
        known = found.reference
        if known:
            below = 0.0
            for part, colour in zip(known, STAGE_COLOURS, strict=True):
                left.bar(-1.6, part, 0.9, below, color=colour, lw=0)
                below += part
            left.axvline(-0.85, color=FAINT, lw=1)
        n, apart = (np.array(k, float) for k in (found.disagreement.n, found.disagreement.apart))
        at = np.flatnonzero(n)
        middle.plot(at, apart[at] / n[at], color=LINE, lw=1.5, marker="o", ms=3)
        middle.set_xlim(-0.6, len(labels) - 0.4)
        middle.set_ylim(0, max(0.1, float((apart[at] / n[at]).max(initial=0)) * 1.25))
        middle.yaxis.set_major_formatter(lambda v, _: f"{100 * v:.0f}%")
        middle.set_title("Slices that vote apart")
        sources = {words.key_slice(k): v for k, v in found.key_slice.values.items()}
        _bars(right, evolve(found.key_slice, values=sources), {})
        right.set_title("Source of key slices")
        for axes in (left, middle, right):
            month_ticks(axes, labels, 6)
            axes.tick_params(axis="x", labelsize=7.5)
        if known:
            left.set_xticks([-1.6, *left.get_xticks()], ["ref.", *(t.get_text() for t in left.get_xticklabels())])
        for axes in (left, right):
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4 if axes is left else 2,
                        handlelength=0.8, columnspacing=0.9, fontsize=7)  # fmt: skip
    return figure


def _bars(axes: Any, found: SharesOverTime, colours: Mapping[str, str]) -> None:
    n = np.maximum(np.array(found.n, float), 1)
    bottom = np.zeros(len(n))
    for k, (value, counts) in enumerate(found.values.items()):
        part = np.array(counts, float) / n
        axes.bar(range(len(n)), part, 0.9, bottom, color=colours.get(value, CATEGORIES[k % len(CATEGORIES)]), label=value, lw=0)  # fmt: skip  # noqa: E501
        bottom += part
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "50%", "100%"])


def refusals(found: RefusalsOverTime) -> Any:
    """Refused studies a month by code, as shares of the studies that came."""
    with style():
        figure = new_figure(2.4)
        axes = figure.subplots()
        seen = np.maximum(np.array(found.seen, float), 1)
        bottom = np.zeros(len(seen))
        for k, (code, counts) in enumerate(found.values.items()):
            part = np.array(counts, float) / seen
            axes.bar(range(len(seen)), part, 0.85, bottom, color=CATEGORIES[k % len(CATEGORIES)], lw=0, label=words.refusal(code))  # fmt: skip  # noqa: E501
            bottom += part
        if not found.values:
            empty(axes, "No study was refused in these months.")
            return figure
        month_ticks(axes, found.periods)
        axes.tick_params(axis="x", labelsize=7.5)
        axes.set_xlim(-0.6, len(seen) - 0.4)
        axes.yaxis.set_major_formatter(lambda v, _: f"{100 * v:.0f}%")
        axes.set_ylabel("share of studies that came")
        axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.05), handlelength=0.9, handleheight=0.9)
    return figure


def maturity(rows: Sequence[MonthOfLabels]) -> Any:
    """What became of the patients of each staging month."""
    with style():
        figure = new_figure(2.5)
        axes = figure.subplots()
        parts = (
            ("reported", "pT reported", STAGE_COLOURS[2]),
            ("ypt", "ypT reported", "#8a6d00"),
            ("waiting", "operated, report awaited", "#e69f00"),
            ("unresected", "not operated, late", "#9aa5b1"),
            ("open", "not operated yet", "#e3e7ec"),
        )
        bottom = np.zeros(len(rows))
        for name, label, colour in parts:
            counts = np.array([getattr(r, name) for r in rows], float)
            axes.bar(range(len(rows)), counts, 0.85, bottom, color=colour, label=label, lw=0)
            bottom += counts
        for k, r in enumerate(rows):
            axes.text(k, bottom[k], words.share(r.maturity, 0), ha="center", va="bottom", fontsize=7, color=GREY)
        month_ticks(axes, [r.month for r in rows])
        axes.tick_params(axis="x", labelsize=7.5)
        axes.set_xlim(-0.6, len(rows) - 0.4)
        axes.set_ylim(0, max(1.0, float(bottom.max(initial=0))) * 1.1)
        axes.set_ylabel("patients staged")
        axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.02), handlelength=0.9, handleheight=0.9)
    return figure


def overrides(rows: Sequence[MonthOfOverrides]) -> Any:
    """Share of reads, made with the model's answer at hand, that say another stage."""
    with style():
        figure = new_figure(1.9)
        axes = figure.subplots()
        at = [k for k, r in enumerate(rows) if r.n]
        axes.bar(at, [rows[k].over / rows[k].n for k in at], 0.7, color=STAGE_COLOURS[1], lw=0)
        for k in at:
            value = rows[k].over / rows[k].n
            axes.text(k, value, f"{rows[k].over}/{rows[k].n}", ha="center", va="bottom", fontsize=7, color=GREY)
        month_ticks(axes, [r.month for r in rows])
        axes.tick_params(axis="x", labelsize=7.5)
        axes.set_xlim(-0.6, len(rows) - 0.4)
        axes.set_ylim(0, max(0.1, *(rows[k].over / rows[k].n for k in at)) * 1.2 if at else 1)
        axes.yaxis.set_major_formatter(lambda v, _: f"{100 * v:.0f}%")
        axes.set_ylabel("reads that differ")
    return figure
