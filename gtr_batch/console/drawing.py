"""What the pages draw as SVG, as plain coordinates: a nomogram with a patient's points, and the last nights as bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from attrs import frozen

from gtr_batch.domain.console import ConsoleNight
from gtr_batch.domain.model import NomogramModel
from gtr_batch.domain.score import NomogramScore
from gtr_batch.nomogram.drawing import PROBABILITIES, TITLES, axes_of, total_axis

WIDTH, LEFT, ROW = 680, 150, 40  # of the nomogram's drawing


@frozen
class Tick:
    """A mark on an axis; `above`: its text stands above the line."""

    x: float
    text: str
    above: bool


@frozen
class Axis:
    """An axis with its marks; `at` is where the patient lies on it, None where that is not known."""

    title: str
    y: float
    x1: float
    x2: float
    ticks: Sequence[Tick]
    at: float | None
    value: str
    missing: bool = False


@frozen
class NomogramDrawing:
    """All axes of a nomogram, in an SVG of this size."""

    width: float
    height: float
    axes: Sequence[Axis]


def nomogram_of(model: NomogramModel, score: NomogramScore) -> NomogramDrawing:
    """The nomogram's axes with the patient's place on each (R `rms::nomogram`'s layout)."""
    marks = axes_of(model)
    largest, lowest_lp, a_point = total_axis(model)
    step = 20 if largest <= 300 else 50
    totals = [float(v) for v in range(0, math.ceil(largest) + 1, step)]
    end = max(largest, totals[-1])
    total = score.points.get("total")
    axes = [_axis(0, "Points", [(f"{v}", float(v)) for v in range(0, 101, 10)], None, "")]
    for row, (name, ticks) in enumerate(marks.items(), 1):
        points = score.points.get(name)
        missing = name in score.missing
        words = "not known" if missing else "" if points is None else f"{points:.0f}"
        axes.append(_axis(row, TITLES[name], ticks, None if missing else points, words, missing=missing))
    row = len(marks) + 1
    at = None if total is None else total / end * 100
    words = "" if total is None else f"{total:.0f}"
    axes.append(_axis(row, "Total points", [(f"{v:g}", v / end * 100) for v in totals], at, words))
    for k, threshold in enumerate(model.thresholds):
        ticks = [
            (f"{p:g}", place / end * 100)
            for p in PROBABILITIES
            if 0 <= (place := (math.log(p / (1 - p)) + threshold - lowest_lp) / a_point) <= largest
        ]
        deeper = sum(score.probabilities.values[k + 1 :])
        axes.append(_axis(row + 1 + k, f"P(deeper than T{k + 1})", ticks, at, f"{deeper:.2f}"))
    return NomogramDrawing(WIDTH + LEFT + 90, ROW * len(axes) + 20, axes)


def _axis(
    row: int, title: str, ticks: Sequence[tuple[str, float]], at: float | None, value: str, *, missing: bool = False
) -> Axis:
    places = [_x(place) for _, place in ticks] or [_x(0)]
    last = {False: -1e9, True: -1e9}
    drawn = []
    for text, place in sorted(ticks, key=lambda tick: tick[1]):
        x, width = _x(place), 7.0 * len(text) + 8
        # Two marks that would lie over one another are written one above, one below; a third there is a mark alone.
        above = x - last[False] < width
        if x - last[above] < width:
            drawn.append(Tick(x, "", above))
            continue
        last[above] = x
        drawn.append(Tick(x, text, above))
    return Axis(title, ROW * row + 24, min(places), max(places), drawn, None if at is None else _x(at), value, missing)


def _x(place: float) -> float:
    return round(LEFT + WIDTH * max(0.0, min(100.0, place)) / 100, 1)


@frozen
class Bar:
    """A night as a stack of segments: (what, y, height) each, from below."""

    night: ConsoleNight
    x: float
    segments: Sequence[tuple[str, float, float]]
    label: str


@frozen
class NightsChart:
    """The last nights as bars, in an SVG of this size; `grid` are (y, count)."""

    width: float
    height: float
    bar: float
    base: float
    bars: Sequence[Bar]
    grid: Sequence[tuple[float, int]]


def chart_of(nights: Sequence[ConsoleNight]) -> NightsChart | None:
    """Bars of these nights (newest first as given, drawn oldest first); None where there is nothing to draw."""
    shown = list(reversed(nights))
    most = max((night.found for night in shown), default=0)
    if not most:
        return None
    width, height, base, left = 900.0, 190.0, 160.0, 34.0
    slot = (width - left) / max(10, len(shown))
    scale = (base - 14) / most
    bars = []
    for place, night in enumerate(shown):
        y, segments = base, []
        counts: Mapping[str, int] = {
            "staged": night.staged,
            "not_staged": night.not_staged,
            "refused": night.refused,
            "failed": night.failed,
            "other": max(0, night.found - night.staged - night.not_staged - night.refused - night.failed),
        }
        for what, count in counts.items():
            if count:
                y -= count * scale
                segments.append((what, round(y, 1), round(count * scale, 1)))
        every = max(1, math.ceil(len(shown) / 15))
        label = f"{night.night:%d.%m.}" if (len(shown) - 1 - place) % every == 0 else ""
        bars.append(Bar(night, round(left + place * slot + slot * 0.15, 1), segments, label))
    step = max(1, math.ceil(most / 4))
    grid = [(round(base - count * scale, 1), count) for count in range(0, most + 1, step)]
    return NightsChart(width, height, round(slot * 0.7, 1), base, bars, grid)
