"""The nomogram as people read it: axes under one another, points on top, probabilities at the foot.

`draw_nomogram` draws a model's into files; `nomogram_of` gives the coordinates of one with a patient's points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gtr_batch.domain.drawn_nomogram import Axis, NomogramDrawing, Tick
from gtr_batch.domain.model import NomogramModel
from gtr_batch.domain.score import NomogramScore
from gtr_batch.nomogram.score import RAD_AXIS_SD, check_model
from gtr_batch.writing import write_with

PROBABILITIES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
WIDTH, LEFT, ROW = 680, 150, 40  # of the nomogram with a patient's points
TEXT_FROM, LETTER = LEFT - 6, 6.4  # where the titles of the axes end; width of a mark's letter
TITLES = {
    "rad_score": "Rad-score (SD)",
    "tumour_size": "Tumour size (cm)",
    "differentiation": "Differentiation",
    "lauren": "Lauren type",
}


def axes_of(model: NomogramModel) -> dict[str, list[tuple[str, float]]]:
    """Each predictor's marks: what is written there, and how many points it gives (R `rms::nomogram`'s scale).

    Raises
    ------
    ModelArtefactError
        An impossible model.
    """
    check_model(model)
    ticks = np.linspace(*RAD_AXIS_SD, 13)
    size = model.size_at_least_cm
    effects: dict[str, list[tuple[str, float]]] = {
        "rad_score": [(f"{t:g}", model.rad_score * t) for t in ticks],
        "tumour_size": [(f"< {size:g}", 0.0), (f">= {size:g}", model.tumour_size)],
        "differentiation": list(model.differentiation.items()),
        "lauren": list(model.lauren.items()),
    }
    span = max(max(e for _, e in marks) - min(e for _, e in marks) for marks in effects.values())
    return {
        name: [(text, (e - min(x for _, x in marks)) / span * 100) for text, e in marks]
        for name, marks in effects.items()
    }


def total_axis(model: NomogramModel) -> tuple[float, float, float]:
    """Largest total; linear predictor at 0 points; linear predictor of a point."""
    effects = [
        [model.rad_score * end for end in RAD_AXIS_SD],
        [0.0, model.tumour_size],
        list(model.differentiation.values()),
        list(model.lauren.values()),
    ]
    a_point = max(max(e) - min(e) for e in effects) / 100
    return sum(max(e) - min(e) for e in effects) / a_point, sum(min(e) for e in effects), a_point


def draw_nomogram(model: NomogramModel, *files: Path) -> None:
    """Draw the nomogram into files; the ending says how (``.svg``, ``.pdf``, ``.png``). The same model, the same bytes.

    Raises
    ------
    ModelArtefactError
        An impossible model.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    marks = axes_of(model)
    largest, lowest_lp, a_point = total_axis(model)
    rows = ["points", *marks, "total", *(f"P(T > {k})" for k in (1, 2, 3))]
    figure = Figure(figsize=(9, 0.62 * len(rows) + 0.9))
    axes = figure.add_axes((0.21, 0.06, 0.75, 0.86))
    axes.set_xlim(0, 100)
    axes.set_ylim(len(rows) - 0.3, -0.7)
    axes.axis("off")
    _axis(axes, 0, "Points", [(f"{v:g}", v) for v in range(0, 101, 10)], minor=[float(v) for v in range(0, 101, 5)])
    for row, (name, ticks) in enumerate(marks.items(), 1):
        _axis(axes, row, TITLES[name], ticks)
    step = 20 if largest <= 300 else 50
    totals = [float(v) for v in range(0, math.ceil(largest) + 1, step)]
    end = max(largest, totals[-1])
    _axis(axes, len(marks) + 1, "Total points", [(f"{v:g}", v / end * 100) for v in totals])
    for k, threshold in enumerate(model.thresholds):
        ticks = []
        for p in PROBABILITIES:
            lp = math.log(p / (1 - p)) + threshold
            at = (lp - lowest_lp) / a_point
            if 0 <= at <= largest:
                ticks.append((f"{p:g}", at / end * 100))
        _axis(axes, len(marks) + 2 + k, f"P(deeper than T{k + 1})", ticks)
    figure.text(0.21, 0.965, f"Nomogram {model.name}", fontsize=11, weight="bold")
    note = "Find the points of each covariate on the top axis, add them, and read the probabilities below the total."
    figure.text(0.21, 0.012, note, fontsize=7.5, color="0.35")
    with mpl.rc_context({"svg.hashsalt": "gtr", "svg.fonttype": "path"}):
        for file in files:
            metadata: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(file.suffix, {})
            _save(figure, file, metadata)


def _save(figure: Any, path: Path, metadata: dict[str, Any]) -> None:
    kind = path.suffix.removeprefix(".")
    write_with(path, lambda file: figure.savefig(file, format=kind, metadata=metadata, dpi=150))


def _axis(axes: Any, row: int, title: str, ticks: list[tuple[str, float]], minor: list[float] | None = None) -> None:
    axes.text(-2.5, row, title, ha="right", va="center", fontsize=9)
    if not ticks:
        axes.text(0, row, "beyond the range of the points", fontsize=7.5, va="center", color="0.5")
        return
    places = [x for _, x in ticks]
    axes.plot([min(places), max(places)], [row, row], color="black", lw=1)
    for x in minor or []:
        axes.plot([x, x], [row, row - 0.06], color="black", lw=0.6)
    last = {-1: -100.0, 1: -100.0}
    for text, x in sorted(ticks, key=lambda t: t[1]):
        axes.plot([x, x], [row, row - 0.12], color="black", lw=1)
        width = 1.1 * len(text) + 0.8
        # Two marks that would lie over one another are written one above, one below.
        side = 1 if x - last[1] >= width else -1
        if x - last[side] < width:
            continue
        last[side] = x
        axes.text(
            x,
            row + 0.1 * side - (0.1 if side < 0 else 0),
            text,
            fontsize=7.5,
            ha="center",
            va="top" if side > 0 else "bottom",
        )


def nomogram_of(model: NomogramModel, score: NomogramScore) -> NomogramDrawing:
    """The nomogram's axes with the patient's place on each (R `rms::nomogram`'s layout)."""
    marks = axes_of(model)
    largest, lowest_lp, a_point = total_axis(model)
    step = 20 if largest <= 300 else 50
    totals = [float(v) for v in range(0, math.ceil(largest) + 1, step)]
    end = max(largest, totals[-1])
    total = score.points.get("total")
    axes = [_placed(0, "Points", [(f"{v}", float(v)) for v in range(0, 101, 10)], None, "")]
    for row, (name, ticks) in enumerate(marks.items(), 1):
        points = score.points.get(name)
        missing = name in score.missing
        words = "not known" if missing else "" if points is None else f"{points:.0f}"
        axes.append(_placed(row, TITLES[name], ticks, None if missing else points, words, missing=missing))
    row = len(marks) + 1
    at = None if total is None else total / end * 100
    words = "" if total is None else f"{total:.0f}"
    axes.append(_placed(row, "Total points", [(f"{v:g}", v / end * 100) for v in totals], at, words))
    for k, threshold in enumerate(model.thresholds):
        ticks = [
            (f"{p:g}", place / end * 100)
            for p in PROBABILITIES
            if 0 <= (place := (math.log(p / (1 - p)) + threshold - lowest_lp) / a_point) <= largest
        ]
        deeper = sum(score.probabilities.values[k + 1 :])
        axes.append(_placed(row + 1 + k, f"P(deeper than T{k + 1})", ticks, at, f"{deeper:.2f}"))
    return NomogramDrawing(WIDTH + LEFT + 90, ROW * len(axes) + 20, axes)


def _placed(
    row: int, title: str, ticks: Sequence[tuple[str, float]], at: float | None, value: str, *, missing: bool = False
) -> Axis:
    places = [_x(place) for _, place in ticks] or [_x(0)]
    last = {False: -1e9, True: -1e9}
    drawn = []
    for text, place in sorted(ticks, key=lambda tick: tick[1]):
        x, width = _x(place), 7.0 * len(text) + 8
        middle = max(x, TEXT_FROM + LETTER * len(text) / 2)  # a long text at the beginning lies beside the title
        # Two marks that would lie over one another are written one above, one below; a third there is a mark alone.
        above = middle - last[False] < width
        if middle - last[above] < width:
            drawn.append(Tick(x, "", above, middle))
            continue
        last[above] = middle
        drawn.append(Tick(x, text, above, middle))
    return Axis(title, ROW * row + 24, min(places), max(places), drawn, None if at is None else _x(at), value, missing)


def _x(place: float) -> float:
    return round(LEFT + WIDTH * max(0.0, min(100.0, place)) / 100, 1)
