"""What a page is made of, whether it becomes HTML or PDF: headings, sentences, tables, pictures with captions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import field, frozen

TONES = ("", "good", "look", "stop", "muted")


def _several(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(values)


@frozen
class Heading:
    """`level` 2 begins a chapter, 3 a part of it. `aside` stands small beside it."""

    text: str
    level: int = 2
    aside: str = ""


@frozen
class Text:
    """A paragraph; a note is smaller."""

    text: str
    note: bool = False


@frozen
class Bullets:
    """Sentences under one another."""

    items: tuple[str, ...] = field(converter=_several)


@frozen
class Cell:
    """What stands in a table; a tone colours it: good, look, stop or muted."""

    text: str
    tone: str = field(default="")
    strong: bool = False

    @tone.validator
    def _known(self, _: Any, value: str) -> None:
        if value not in TONES:
            raise ValueError(f"tone {value!r} is none of {TONES}")


@frozen
class Column:
    """`width` is a share of the table's; words stand left, numbers right."""

    title: str
    width: float = 1.0
    words: bool = False


def _cells(rows: Iterable[Iterable[Any]]) -> tuple[tuple[Cell, ...], ...]:
    return tuple(tuple(c if isinstance(c, Cell) else Cell(c) for c in row) for row in rows)


@frozen
class Table:
    """Rows as long as `columns`; a str is a plain cell."""

    columns: tuple[Column, ...] = field(converter=_several)
    rows: tuple[tuple[Cell, ...], ...] = field(converter=_cells)
    title: str = ""
    note: str = ""

    def __attrs_post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table {self.title!r}: a row is not as long as its {len(self.columns)} columns")


@frozen(eq=False)
class Picture:
    """A figure and its caption; `alt` says it to those who cannot see it."""

    figure: Any = field(repr=False)
    caption: str
    alt: str = ""


@frozen
class Band:
    """The answer to the question, in a coloured band."""

    question: str
    word: str
    tone: str
    reasons: tuple[str, ...] = field(converter=_several)


@frozen
class Tile:
    """One number of the first page."""

    value: str
    label: str
    note: str = ""
    tone: str = ""


@frozen
class Tiles:
    """Numbers beside one another."""

    tiles: tuple[Tile, ...] = field(converter=_several)


@frozen
class Signatures:
    """Lines on which people sign; roles."""

    roles: tuple[str, ...] = field(converter=_several)


@frozen
class NewPage:
    """On paper, what follows begins a page."""


Block = Heading | Text | Bullets | Table | Picture | Band | Tiles | Signatures | NewPage


@frozen
class Page:
    """A whole report: `title`, `kicker` above it, `meta` (pairs) below, a `running` head for paper, and its blocks."""

    title: str
    kicker: str
    meta: tuple[tuple[str, str], ...] = field(converter=_several)
    running: tuple[str, str]
    warning: str
    blocks: Sequence[Block]
