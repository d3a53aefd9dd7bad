"""What the pages draw as SVG, as plain coordinates: the last nights as bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from attrs import frozen

from gtr_batch.domain.console import ConsoleNight


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
    width, height, base, left, right = 900.0, 190.0, 160.0, 34.0, 10.0  # right: half of the last night's label
    slot = (width - left - right) / max(10, len(shown))
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
