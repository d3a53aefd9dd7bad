"""A nomogram with one patient's place on it, as plain coordinates: for an SVG, a canvas, a page."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen


@frozen
class Tick:
    """A mark on an axis; `above`: its text stands above the line; `text_x` is the middle of the text."""

    x: float
    text: str
    above: bool
    text_x: float


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
    """All axes of a nomogram, in a picture of this size; `y` goes down."""

    width: float
    height: float
    axes: Sequence[Axis]
