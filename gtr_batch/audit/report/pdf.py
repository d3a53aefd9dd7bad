"""The report on A4, for the file: heads and page numbers, tables that fit, pictures with their captions; no clock."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from gtr_batch.audit.report import blocks as b
from gtr_batch.audit.report.drawing import as_png
from gtr_batch.domain.printable import printable

if TYPE_CHECKING:
    from reportlab.lib.styles import ParagraphStyle

    Styles = dict[str | int, ParagraphStyle]  # a heading's by its level

_TONES = {"good": "#2a7d4f", "look": "#8a6d00", "stop": "#b3261e", "muted": "#5f6b76", "": "#222222"}
_TINTS = {"good": "#e8f3ec", "look": "#fbf3d9", "stop": "#fbe9e7", "muted": "#eef0f2"}
_RULE, _GREY = "#d9dee3", "#5f6b76"
_SHORT = 14  # rows: a table of so many is not broken over two pages


def _shown(text: str) -> str:
    """A text as a paragraph takes it: no markup, no control characters."""
    return escape(printable(text))


def as_pdf(page: b.Page) -> bytes:
    """The document; the same bytes for the same blocks (fonts are embedded, so that it looks the same in ten years)."""
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate

    _fonts()
    buffer = io.BytesIO()
    document = BaseDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=15 * mm,
        rightMargin=15 * mm,
        topMargin=22 * mm,
        bottomMargin=18 * mm,
        title=page.title,
        author="gtr-batch",
        subject=page.kicker,
        creator="gtr-batch",
        lang="en-GB",
        invariant=1,
    )
    frame = Frame(
        document.leftMargin, document.bottomMargin, document.width, document.height,
        leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0,
    )  # fmt: skip
    document.addPageTemplates([PageTemplate(frames=[frame])])
    document.build(_story(page, document.width), canvasmaker=_canvas(page))
    return buffer.getvalue()


def _fonts() -> None:
    import matplotlib as mpl
    from reportlab.lib.fonts import addMapping
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    if "Sans" in pdfmetrics.getRegisteredFontNames():
        return
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    pdfmetrics.registerFont(TTFont("Sans", str(folder / "DejaVuSans.ttf")))
    pdfmetrics.registerFont(TTFont("Sans-Bold", str(folder / "DejaVuSans-Bold.ttf")))
    for bold in (0, 1):
        for italic in (0, 1):
            addMapping("Sans", bold, italic, "Sans-Bold" if bold else "Sans")


def _canvas(page: b.Page) -> Any:
    """A canvas that knows, at its end, how many pages there are."""
    from reportlab.lib.colors import HexColor
    from reportlab.lib.units import mm
    from reportlab.pdfgen.canvas import Canvas

    class Numbered(Canvas):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "initialFontName": "Sans"})
            self._kept: list[dict[str, object]] = []

        def showPage(self) -> None:
            self._kept.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for number, state in enumerate(self._kept, 1):
                self.__dict__.update(state)
                self._furnish(number, len(self._kept))
                super().showPage()
            super().save()

        def _furnish(self, number: int, of: int) -> None:
            width, height = self._pagesize
            left, right = 15 * mm, width - 15 * mm
            self.setFont("Sans", 7.5)
            self.setFillColor(HexColor(_GREY))
            self.setStrokeColor(HexColor(_RULE))
            self.drawString(left, height - 13 * mm, page.running[0])
            self.drawRightString(right, height - 13 * mm, page.running[1])
            self.line(left, height - 15 * mm, right, height - 15 * mm)
            if page.warning:
                self.setFillColor(HexColor(_TONES["stop"]))
                self.drawString(left, 10 * mm, page.warning)
                self.setFillColor(HexColor(_GREY))
            self.drawRightString(right, 10 * mm, f"page {number} of {of}")

    return Numbered


def _styles() -> Styles:
    from reportlab.lib.colors import HexColor
    from reportlab.lib.enums import TA_RIGHT
    from reportlab.lib.styles import ParagraphStyle

    ink, grey = HexColor("#222222"), HexColor(_GREY)
    body = ParagraphStyle("body", fontName="Sans", fontSize=8.6, leading=12.2, textColor=ink, spaceAfter=4)
    bold = {"parent": body, "fontName": "Sans-Bold"}
    cell = ParagraphStyle("cell", parent=body, fontSize=7.6, leading=10, spaceAfter=0)
    found: Styles = {
        "body": body,
        "note": ParagraphStyle("note", parent=body, fontSize=7.3, leading=10, textColor=grey, spaceBefore=3),
        "kicker": ParagraphStyle("kicker", parent=body, fontSize=8, textColor=grey, spaceAfter=1),
        "title": ParagraphStyle("title", **bold, fontSize=19, leading=24, spaceAfter=6),
        2: ParagraphStyle("h2", **bold, fontSize=12.5, leading=16, spaceBefore=14, spaceAfter=5),
        3: ParagraphStyle("h3", **bold, fontSize=10, leading=13, spaceBefore=9, spaceAfter=4),
        "table": ParagraphStyle("table", **bold, fontSize=8.6, leading=12, spaceBefore=4, spaceAfter=2),
        "caption": ParagraphStyle("caption", parent=body, fontSize=7.6, leading=10.4, textColor=grey, spaceBefore=3),
        "bullet": ParagraphStyle(
            "bullet", parent=body, leftIndent=10, spaceAfter=2.5, bulletFontName="Sans", bulletFontSize=8
        ),
        "cell": cell,
        "right": ParagraphStyle("right", parent=cell, alignment=TA_RIGHT),
        "question": ParagraphStyle("question", parent=body, fontSize=10, leading=13, spaceAfter=0),
        "word": ParagraphStyle("word", **bold, fontSize=24, leading=30, spaceAfter=3),
        "number": ParagraphStyle("number", **bold, fontSize=14, leading=18, spaceAfter=0),
    }  # fmt: skip
    return found


def _story(page: b.Page, width: float) -> list[Any]:
    from reportlab.platypus import Paragraph, Spacer

    styles = _styles()
    story: list[Any] = [
        Paragraph(_shown(page.kicker), styles["kicker"]),
        Paragraph(_shown(page.title), styles["title"]),
        _meta(page, width, styles),
        Spacer(0, 8),
    ]
    if page.warning:
        story.insert(2, Paragraph(f'<font color="{_TONES["stop"]}">{_shown(page.warning)}</font>', styles["table"]))
    numbers = itertools.count(1)
    held: list[Any] = []  # headings, and what is said below them, wait for what they head
    for block in page.blocks:
        if isinstance(block, b.Heading):
            held += _heading(block, styles)
        elif isinstance(block, b.Text) and held:
            held += _flowables(block, width, styles, numbers)
        else:
            story += _joined(held, _flowables(block, width, styles, numbers))
            held = []
    return story + held


def _heading(block: b.Heading, styles: Styles) -> list[Any]:
    from reportlab.lib.colors import HexColor
    from reportlab.platypus import HRFlowable, Paragraph

    aside = f'  <font name="Sans" size="8" color="{_GREY}">{_shown(block.aside)}</font>' if block.aside else ""
    title = Paragraph(_shown(block.text) + aside, styles[block.level])
    if block.level == 3:
        return [title]
    return [title, HRFlowable("100%", 0.9, color=HexColor("#222222"), spaceBefore=0, spaceAfter=5)]


def _joined(held: list[Any], follows: list[Any]) -> list[Any]:
    """A heading on the page of the first thing below it."""
    from reportlab.platypus import CondPageBreak, KeepTogether

    if not held:
        return follows
    first = follows[0]
    if isinstance(first, KeepTogether):
        return [KeepTogether([*held, *first._content]), *follows[1:]]
    if isinstance(first, CondPageBreak):  # a table over two pages
        return [CondPageBreak(220), *held, *follows[1:]]
    return [KeepTogether([*held, first]), *follows[1:]]


def _flowables(block: b.Block, width: float, styles: Styles, numbers: Iterator[int]) -> list[Any]:
    from reportlab.platypus import CondPageBreak, KeepTogether, PageBreak, Paragraph

    if isinstance(block, b.Text):
        return [Paragraph(_shown(block.text), styles["note" if block.note else "body"])]
    if isinstance(block, b.Bullets):
        return [Paragraph(_shown(item), styles["bullet"], bulletText="•") for item in block.items]
    if isinstance(block, b.NewPage):
        return [PageBreak()]
    if isinstance(block, b.Band):
        return [_band(block, width, styles)]
    if isinstance(block, b.Tiles):
        return [KeepTogether([_gap(4), _tiles(block, width, styles), _gap(8)])]
    if isinstance(block, b.Signatures):
        return [_signatures(block, width, styles)]
    if isinstance(block, b.Picture):
        caption = Paragraph(f"<b>Figure {next(numbers)}.</b> {_shown(block.caption)}", styles["caption"])
        return [KeepTogether([_picture(block, width), caption, _gap(7)])]
    if isinstance(block, b.Table):
        parts = [Paragraph(_shown(block.title), styles["table"])] if block.title else []
        parts.append(_table(block, width, styles))
        if block.note:
            parts.append(Paragraph(_shown(block.note), styles["note"]))
        parts.append(_gap(7))
        return [KeepTogether(parts)] if len(block.rows) <= _SHORT else [CondPageBreak(120), *parts]
    raise TypeError(f"no such block: {type(block).__name__}")


def _gap(height: float) -> Any:
    from reportlab.platypus import Spacer

    return Spacer(0, height)


def _picture(block: b.Picture, width: float) -> Any:
    from reportlab.platypus import Image

    w, h = block.figure.get_size_inches()
    return Image(io.BytesIO(as_png(block.figure)), width, width * h / w)


def _table(block: b.Table, width: float, styles: Styles) -> Any:
    from reportlab.lib.colors import HexColor
    from reportlab.platypus import Paragraph, Table

    headed = any(c.title for c in block.columns)
    named = [styles["cell" if c.words else "right"] for c in block.columns]
    rows: list[list[Any]] = []
    if headed:
        head = f'<font name="Sans-Bold" color="{_GREY}">%s</font>'
        rows.append([Paragraph(head % _shown(c.title), s) for c, s in zip(block.columns, named, strict=True)])
    rows += [[Paragraph(_cell(c), s) for c, s in zip(row, named, strict=True)] for row in block.rows]
    head_style = [("LINEBELOW", (0, 0), (-1, 0), 0.8, HexColor("#222222")), ("VALIGN", (0, 0), (-1, 0), "BOTTOM")]
    whole = sum(c.width for c in block.columns)
    table = Table(rows, [width * c.width / whole for c in block.columns], repeatRows=int(headed))
    table.setStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("FONTNAME", (0, 0), (-1, -1), "Sans"),
            ("LEFTPADDING", (0, 0), (-1, -1), 3),
            ("RIGHTPADDING", (0, 0), (-1, -1), 3),
            ("LEFTPADDING", (0, 0), (0, -1), 0),
            ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
            ("TOPPADDING", (0, 0), (-1, -1), 2.2),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 2.6),
            ("LINEBELOW", (0, 0), (-1, -1), 0.4, HexColor(_RULE)),
            *(head_style if headed else []),
        ]
    )
    return table


def _cell(cell: b.Cell) -> str:
    text = _shown(cell.text).replace("\n", "<br/>")
    bold = cell.strong or cell.tone in ("good", "look", "stop")
    text = f'<font name="Sans-Bold">{text}</font>' if bold else text
    return f'<font color="{_TONES[cell.tone]}">{text}</font>' if cell.tone else text


def _meta(page: b.Page, width: float, styles: Styles) -> Any:
    from reportlab.platypus import Paragraph, Table

    cells = [
        Paragraph(f'<font size="6.8" color="{_GREY}">{_shown(name)}</font><br/>{_shown(value)}', styles["cell"])
        for name, value in page.meta
    ]
    table = Table([cells], [width * share for share in (0.27, 0.2, 0.33, 0.2)])
    table.setStyle(
        [
            ("LEFTPADDING", (0, 0), (-1, -1), 0),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("FONTNAME", (0, 0), (-1, -1), "Sans"),
        ]
    )
    return table


def _band(block: b.Band, width: float, styles: Styles) -> Any:
    from reportlab.lib.colors import HexColor
    from reportlab.platypus import Paragraph, Table

    tone = _TONES[block.tone]
    rows = [
        [Paragraph(_shown(block.question), styles["question"])],
        [Paragraph(f'<font color="{tone}">{_shown(block.word)}.</font>', styles["word"])],
        *[[Paragraph(_shown(r), styles["bullet"], bulletText="•")] for r in block.reasons],
    ]
    table = Table(rows, [width])
    table.setStyle(
        [
            ("FONTNAME", (0, 0), (-1, -1), "Sans"),
            ("BACKGROUND", (0, 0), (-1, -1), HexColor(_TINTS[block.tone])),
            ("LINEBEFORE", (0, 0), (0, -1), 6, HexColor(tone), "butt"),
            ("LEFTPADDING", (0, 0), (-1, -1), 14),
            ("TOPPADDING", (0, 0), (-1, -1), 1),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
            ("TOPPADDING", (0, 0), (-1, 0), 9),
            ("BOTTOMPADDING", (0, 1), (-1, 1), 5),
            ("BOTTOMPADDING", (0, -1), (-1, -1), 9),
        ]
    )
    return table


def _tiles(block: b.Tiles, width: float, styles: Styles) -> Any:
    from reportlab.lib.colors import HexColor
    from reportlab.platypus import Paragraph, Table

    gap, columns = 7.0, 3
    cells = [
        [
            Paragraph(_shown(t.value), styles["number"]),
            Paragraph(_shown(t.label), styles["body"]),
            Paragraph(_shown(t.note), styles["note"]),
        ]
        for t in block.tiles
    ]
    rows, lines = [], []
    for at in range(0, len(cells), columns):
        row: list[Any] = []
        for k in range(columns):
            row += [cells[at + k] if at + k < len(cells) else "", ""]
            if at + k < len(cells):
                place = (2 * k, 2 * (at // columns))
                tone = _TONES[block.tiles[at + k].tone or "muted"]
                lines += [("BOX", place, place, 0.5, HexColor(_RULE)), ("LINEABOVE", place, place, 2, HexColor(tone))]
        rows += [row[:-1], [""] * (2 * columns - 1)]
    rows = rows[:-1]
    part = (width - gap * (columns - 1)) / columns
    heights = [None if k % 2 == 0 else gap for k in range(len(rows))]
    table = Table(rows, [part, gap, part, gap, part], heights)
    table.setStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("FONTNAME", (0, 0), (-1, -1), "Sans"),
            ("LEFTPADDING", (0, 0), (-1, -1), 7),
            *lines,
        ]
    )
    return table


def _signatures(block: b.Signatures, width: float, styles: Styles) -> Any:
    from reportlab.lib.colors import HexColor
    from reportlab.platypus import Paragraph, Table

    gap = 24.0
    part = (width - gap * (len(block.roles) - 1)) / len(block.roles)
    row: list[Any] = []
    for role in block.roles:
        row += [Paragraph(_shown(f"{role}: name, date, signature"), styles["note"]), ""]
    table = Table([[""] * (len(row) - 1), row[:-1]], [part, gap] * (len(block.roles) - 1) + [part], [42, None])
    lines = [("LINEBELOW", (2 * k, 0), (2 * k, 0), 0.7, HexColor("#222222")) for k in range(len(block.roles))]
    table.setStyle([("LEFTPADDING", (0, 0), (-1, -1), 0), ("FONTNAME", (0, 0), (-1, -1), "Sans"), *lines])
    return table
