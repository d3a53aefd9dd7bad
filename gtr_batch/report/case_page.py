"""One case on one page of A4: answer, flags, slices with their heat maps, nomogram, provenance; no clock.

The same case gives the same bytes. Who the patient is stands on it, as in the images: a page that is printed and laid
down must say so.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np
from attrs import frozen

from gtr_batch import __version__
from gtr_batch.domain.drawn_nomogram import Axis, NomogramDrawing
from gtr_batch.domain.model import ModelManifest
from gtr_batch.domain.prepared import ROLES
from gtr_batch.domain.score import AnswerSource, CaseAnswers, answers_of
from gtr_batch.domain.staging import FLAG_MEANINGS, STAGES, Flag
from gtr_batch.report import codes
from gtr_batch.report.context import Context
from gtr_batch.report.measurement_report import Answer
from gtr_batch.report.page_text import BOLD, NOT_GIVEN, SANS, is_embedded, marked, marked_name, register_fonts

if TYPE_CHECKING:
    from reportlab.pdfgen.canvas import Canvas

INK, GREY, RULE, STOP, AMBER, BLUE = "#222222", "#5f6b76", "#d9dee3", "#9b1c14", "#8a5a00", "#1f5a94"
TINT, PALE = "#fdeeea", "#eef0f2"
MARGIN, GAP = 36.0, 9.0  # points
NOMOGRAM_SCALE = 0.56  # at most: then it is as wide as the page
SOURCES = {AnswerSource.NETWORK: "network", AnswerSource.NOMOGRAM: "nomogram"}
ROLE_WORDS = {"below": "Below the key slice", "key": "Key slice", "above": "Above the key slice"}


@frozen
class PageDrawings:
    """What other steps draw for the page.

    Attributes
    ----------
    slices : numpy.ndarray
        Shape ``(3, rows, columns, 3)``, uint8 RGB: the slices below, key, above with the heat over them.
    nomogram : NomogramDrawing, optional
        With the patient's points; None where there is none.
    """

    slices: np.ndarray
    nomogram: NomogramDrawing | None = None


@frozen
class PageContent:
    """A case's answer, who gave it, where its slices lie, and the drawings."""

    answer: Answer
    manifest: ModelManifest
    positions_mm: Sequence[float]
    drawings: PageDrawings


def draw_page(context: Context, content: PageContent) -> bytes:
    """The page as a PDF."""
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfgen.canvas import Canvas

    register_fonts()
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=A4, invariant=1, pageCompression=1, initialFontName=SANS, lang="en-GB")
    canvas.setTitle(f"{codes.NOT_VERIFIED}: gastric T stage")
    canvas.setAuthor("gtr-batch")
    canvas.setCreator("gtr-batch")
    _Page(canvas, context, content).draw()
    canvas.showPage()
    canvas.save()
    return buffer.getvalue()


class _Page:
    """The page while it is drawn, from the top and from the foot towards the nomogram, which takes what is left."""

    def __init__(self, canvas: Canvas, context: Context, content: PageContent) -> None:
        self.canvas, self.context, self.content = canvas, context, content
        self.width, self.height = canvas._pagesize
        self.left, self.right = MARGIN, self.width - MARGIN
        self.span = self.right - self.left
        self.y = self.height - 28.0
        self.found = answers_of(content.answer.staging, content.answer.score)

    def draw(self) -> None:
        foot = self._provenance(24.0)
        self._banner()
        self._patient()
        self._headline()
        self._flags()
        self._slices(foot)
        self._nomogram(foot)

    def _text(self, x: float, y: float, text: str, size: float, *, colour: str = INK, font: str = SANS) -> None:
        self.canvas.setFont(font, size)
        self.canvas.setFillColor(colour)
        self.canvas.drawString(x, y, text)

    def _paragraph(self, text: str, x: float, top: float, width: float, **style: Any) -> float:
        """Write a paragraph below `top`; returns where it ends."""
        paragraph = _paragraph(text, **style)
        _, height = paragraph.wrap(width, 1000)
        paragraph.drawOn(self.canvas, x, top - height)
        return float(top - height)

    def _heading(self, text: str) -> None:
        self.canvas.setStrokeColor(RULE)
        self.canvas.setLineWidth(0.6)
        self.canvas.line(self.left, self.y - 12, self.right, self.y - 12)
        self._text(self.left, self.y - 9, text, 8.5, font=BOLD)
        self.y -= 16

    def _banner(self) -> None:
        demo = self.content.manifest.demo or Flag.DEMO_MODEL in self.content.answer.staging.flags
        height = 40.0 if demo else 28.0
        self.canvas.setFillColor(TINT)
        self.canvas.rect(self.left, self.y - height, self.span, height, stroke=0, fill=1)
        self.canvas.setFillColor(STOP)
        self.canvas.rect(self.left, self.y - height, 5, height, stroke=0, fill=1)
        self._text(self.left + 14, self.y - 19, codes.NOT_VERIFIED, 14, colour=STOP, font=BOLD)
        self.canvas.setFont(SANS, 9)
        self.canvas.setFillColor(INK)
        self.canvas.drawRightString(self.right - 8, self.y - 18, "Gastric T stage on portal venous CT")
        if demo:
            self._text(self.left + 14, self.y - 33, "Demo model, not for patients", 9, colour=STOP, font=BOLD)
        self.y -= height + GAP

    def _patient(self) -> None:
        source = self.context.sources[0]

        def said(keyword: str) -> str:
            return marked(str(source.get(keyword) or ""), source)

        name = marked_name(source)
        rows = [
            [
                ("Patient", f"<b>{name}</b>"),
                ("Patient ID", said("PatientID")),
                ("Born", _day(source.get("PatientBirthDate"))),
                ("Sex", said("PatientSex")),
            ],
            [
                ("Study", said("StudyDescription")),
                ("Accession number", said("AccessionNumber")),
                ("Study date", _moment(source, "Study")),
                ("Acquired", _moment(source, "Acquisition")),
            ],
        ]
        for row in rows:
            self._cells(row, (0.38, 0.26, 0.18, 0.18))
        if not all(is_embedded(text) for row in rows for _, text in row):
            note = "Characters in a font of the PDF viewer: where they are missing, the header of this object has them."
            self.y = self._paragraph(note, self.left, self.y, self.span, size=6, colour=GREY) - 2
        self.y -= GAP - 4

    def _cells(self, cells: Sequence[tuple[str, str]], shares: Sequence[float]) -> None:
        """A row of small titles with their values below."""
        x, lowest = self.left, self.y
        for (title, value), share in zip(cells, shares, strict=True):
            width = self.span * share
            self._text(x, self.y - 6, title, 6.3, colour=GREY)
            lowest = min(lowest, self._paragraph(value, x, self.y - 8, width - 8, size=_fitting(value)))
            x += width
        self.y = lowest - 4

    def _headline(self) -> None:
        staging, found = self.content.answer.staging, self.found
        top = self.y
        half = self.left + self.span * 0.47
        if found is None:
            words = staging.abstention.words if staging.abstention else "no answer"
            sentence = staging.abstention.sentence if staging.abstention else ""
            self._text(self.left, top - 24, "Not staged", 24, colour=STOP, font=BOLD)
            y = self._paragraph(f"Reason: {escape(words)}", self.left, top - 32, self.span, size=10)
            y = self._paragraph(escape(sentence), self.left, y - 2, self.span, size=8.5, colour=GREY)
            self.y = y - GAP
            return
        self._text(self.left, top - 26, f"c{found.primary.t_stage}", 30, font=BOLD)
        probability = found.primary.probabilities[found.primary.t_stage]
        self._text(self.left + 66, top - 14, f"probability {probability:.2f}", 12, font=BOLD)
        who = "the nomogram" if found.primary.source is AnswerSource.NOMOGRAM else "the network (three slices)"
        self._text(self.left + 66, top - 26, f"by {who}", 8, colour=GREY)
        y = self._paragraph(self._beside(found), self.left, top - 34, self.span * 0.43, size=8.5)
        self.y = min(y, self._bars(found, half, top)) - GAP

    def _beside(self, found: CaseAnswers) -> str:
        """Likely stages and supporting answer, in words."""
        staging, score = self.content.answer.staging, self.content.answer.score
        lines = []
        if staging.stage_set is not None:
            lines.append(f"Likely stages (conformal set): <b>{staging.stage_set}</b>")
        else:
            lines.append("Likely stages (conformal set): not available for this model")
        if found.supporting is not None:
            other, p = found.supporting, found.supporting.probabilities[found.supporting.t_stage]
            lines.append(f"Supporting answer, of the {SOURCES[other.source]}: <b>c{other.t_stage}</b>, {p:.2f}")
        else:
            lines.append("Supporting answer: none")
        if score is not None and score.missing:
            missing = ", ".join(codes.COVARIATES[name].meaning for name in score.missing)
            stage = score.probabilities.most_likely
            low, high = score.low[stage.position], score.high[stage.position]
            lines.append(
                f"Not known to the nomogram: {missing} (P(c{stage}) {low:.2f} to {high:.2f} over their values)"
            )
        return "<br/>".join(lines)

    def _bars(self, found: CaseAnswers, x: float, top: float) -> float:
        """Probabilities of the four stages as bars, those of the supporting answer beside them."""
        bar = 110.0
        y = top - 7
        self._text(x, y, f"Probability ({SOURCES[found.primary.source]})", 7, colour=GREY)
        if found.supporting is not None:
            self._text(x + bar + 66, y, f"Supporting ({SOURCES[found.supporting.source]})", 7, colour=GREY)
        for stage in STAGES:
            y -= 13.5
            p, counts = found.primary.probabilities[stage], stage is found.primary.t_stage
            font = BOLD if counts else SANS
            self._text(x, y, f"c{stage}", 9, font=font)
            self.canvas.setFillColor(PALE)
            self.canvas.rect(x + 24, y - 1, bar, 8, stroke=0, fill=1)
            self.canvas.setFillColor(BLUE)
            self.canvas.rect(x + 24, y - 1, bar * min(1.0, max(0.0, p)), 8, stroke=0, fill=1)
            self._text(x + bar + 30, y, f"{p:.2f}", 9, font=font)
            if found.supporting is not None:
                self._text(x + bar + 66, y, f"{found.supporting.probabilities[stage]:.2f}", 9, colour=GREY)
        return y - 2

    def _flags(self) -> None:
        meanings = [FLAG_MEANINGS[flag].meaning for flag in dict.fromkeys(self.content.answer.staging.flags)]
        apart = self.content.answer.marks_apart_mm
        if apart:
            meanings.append(f"Furthest other mark of the key slice {apart:.0f} mm away")
        words = " · ".join(map(escape, meanings)) or "none"
        colour = AMBER if meanings else GREY
        text = f'<font name="{BOLD}">Flags:</font> {words}'
        self.y = self._paragraph(text, self.left, self.y, self.span, size=8, colour=colour) - GAP + 3

    def _slices(self, foot: float) -> None:
        from PIL.Image import fromarray
        from reportlab.lib.utils import ImageReader

        found = self.found
        explained = f"for c{self.content.answer.staging.t_stage} of the network" if found else "of the network"
        self._heading(f"Slices with heat map (Grad-CAM {explained}; lighter is more)")
        pictures = self.content.drawings.slices
        each, drawing = (self.span - 2 * 6) / 3, self.content.drawings.nomogram
        wanted = 50.0 + (0.47 * drawing.height if drawing is not None else 0.0)  # by what stands below
        most = min(172.0, max(100.0, self.y - foot - wanted))
        ratio = _height_to_width(self.context.sources[ROLES.index("key")], pictures.shape[1:3])
        width = min(each, most / ratio)
        height = width * ratio
        for i, role in enumerate(ROLES):
            x = self.left + i * (each + 6)
            picture = ImageReader(fromarray(np.ascontiguousarray(pictures[i])))
            self.canvas.drawImage(picture, x + (each - width) / 2, self.y - height, width, height)
            words = f"{ROLE_WORDS[role]}, {self.content.positions_mm[i]:.1f} mm"
            if found is not None:
                words += f": votes c{self.content.answer.staging.slices[i].t_stage}"
            self._text(x + (each - width) / 2, self.y - height - 9, words, 7.2, font=BOLD if role == "key" else SANS)
        source = codes.KEY_SLICE_SOURCES[self.content.answer.staging.key_slice_source].meaning
        self._text(self.left, self.y - height - 19, f"Key slice: {source[0].lower()}{source[1:]}", 7.2, colour=GREY)
        self.y -= height + 26

    def _nomogram(self, foot: float) -> None:
        drawing, score = self.content.drawings.nomogram, self.content.answer.score
        self._heading("Nomogram with this patient's points")
        if drawing is None:
            why = "not used: the case has no stage" if self.found is None else _no_nomogram(self.content)
            self._text(self.left, self.y - 10, f"Nomogram: {why}", 8.5, colour=GREY)
            return
        space = self.y - foot - 6
        scale = min(NOMOGRAM_SCALE, self.span / drawing.width, space / drawing.height)
        x = self.left + (self.span - scale * drawing.width) / 2
        self.canvas.saveState()
        self.canvas.translate(x, self.y)
        self.canvas.scale(scale, scale)
        for axis in drawing.axes:
            _draw_axis(self.canvas, axis)
        self.canvas.restoreState()
        if score is not None and score.rad_score_clipped:
            y = self.y - scale * drawing.height
            self._text(self.left, y, "Rad-score outside -3 to 3 SD: points taken at the axis's end", 7, colour=AMBER)

    def _provenance(self, y: float) -> float:
        """The foot of the page, written from its lower edge `y` upwards; returns its upper edge."""
        self._text(
            self.left, y, f"{codes.NOT_VERIFIED}. Read with the images; no basis for treatment alone.", 7, colour=STOP
        )
        y += 11
        from reportlab.platypus import Table

        rows = [
            [_paragraph(escape(name), size=6.1, colour=GREY), _paragraph(value, size=6.1)]
            for name, value in self._origin().items()
        ]
        table = Table(rows, [self.span * 0.15, self.span * 0.85])
        table.setStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 4),
                ("TOPPADDING", (0, 0), (-1, -1), 0.3),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 0.6),
            ]
        )
        _, height = table.wrap(self.span, 1000)
        table.drawOn(self.canvas, self.left, y)
        self.canvas.setStrokeColor(RULE)
        self.canvas.setLineWidth(0.6)
        self.canvas.line(self.left, y + height + 2, self.right, y + height + 2)
        return float(y + height + 4)

    def _origin(self) -> Mapping[str, str]:
        """What the answer was made of and with, by its title."""
        context, manifest, score = self.context, self.content.manifest, self.content.answer.score
        author, key = context.author, context.sources[ROLES.index("key")]
        slices = "<br/>".join(f"{role} {ds.SOPInstanceUID}" for role, ds in zip(ROLES, context.sources, strict=True))
        institution = f", {escape(author.institution)}" if author.institution else ""
        found = {
            "Model": f"{escape(author.name)}, version {author.model_version}",
            "Software": f"gtr-batch {__version__}, {escape(author.manufacturer)}{institution}",
            "Contract": escape(_contract(manifest)),
            "Nomogram": escape(score.coefficients) if score is not None and score.coefficients else "none",
            "Study": str(key.StudyInstanceUID),
            "Series": str(key.SeriesInstanceUID),
            "Slices": slices,
            "Case, night, dated": f"{context.case.case_id}; {context.case.night}; {context.when:%Y-%m-%d %H:%M:%S}",
        }
        return found


def _no_nomogram(content: PageContent) -> str:
    if content.answer.score is None:
        return "not available for this model"
    return "not drawn for this model; its answer is above"


def _contract(manifest: ModelManifest) -> str:
    """The preprocessing contract in a line."""
    contract = manifest.contract
    low, high = contract.window_hu
    field = f"N4 at shrink {contract.n4.shrink}" if contract.n4 is not None else "no N4"
    return (
        f"{contract.spacing_mm:g} mm, window {low:g} to {high:g} HU, {field}, "
        f"{contract.size} x {contract.size} pixels, normalised by {contract.normalisation}"
    )


def _paragraph(text: str, *, size: float = 8.5, colour: str = INK) -> Any:
    from reportlab.lib.colors import HexColor
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph

    wrap = None if is_embedded(text) else "CJK"
    style = ParagraphStyle(
        "page", fontName=SANS, fontSize=size, leading=size * 1.28, textColor=HexColor(colour), wordWrap=wrap
    )
    return Paragraph(text.replace("<b>", f'<font name="{BOLD}">').replace("</b>", "</font>"), style)


def _fitting(text: str) -> float:
    """The size of a text of the header: smaller where it is long, so that no name takes the page's space."""
    length = len(re.sub("<[^>]*>", "", text))
    return 9.0 if length <= 60 else 7.5 if length <= 130 else 6.2


def _height_to_width(source: Any, shape: tuple[int, ...]) -> float:
    """How the picture of a slice lies on paper: its height by its width in mm."""
    rows, columns = shape
    spacing = [float(v) for v in source.get("PixelSpacing") or (1, 1)]
    return rows * spacing[0] / (columns * spacing[1])


def _day(value: Any) -> str:
    text = str(value or "")
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdigit() else NOT_GIVEN


def _moment(source: Any, what: str) -> str:
    day, clock = _day(source.get(f"{what}Date")), str(source.get(f"{what}Time") or "")
    if day == NOT_GIVEN or not clock[:4].isdigit() or len(clock) < 4:
        return day
    return f"{day} {clock[:2]}:{clock[2:4]}"


def _draw_axis(canvas: Canvas, axis: Axis) -> None:
    """One axis of the nomogram in the drawing's own units, `y` down from the canvas's origin."""
    y = -axis.y
    canvas.setFillColor(INK)
    canvas.setFont(SANS, 12.5)
    canvas.drawString(0, y - 4, axis.title)
    canvas.setStrokeColor(INK)
    canvas.setLineWidth(1)
    canvas.line(axis.x1, y, axis.x2, y)
    canvas.setFont(SANS, 10.5)
    for tick in axis.ticks:
        canvas.line(tick.x, y, tick.x, y + (5 if tick.above else -5))
        canvas.drawCentredString(tick.text_x, y + 7 if tick.above else y - 15, tick.text)
    if axis.at is not None:
        canvas.setFillColor(STOP)
        canvas.circle(axis.at, y, 5, stroke=0, fill=1)
    if axis.value:
        canvas.setFillColor(AMBER if axis.missing else STOP)
        canvas.setFont(SANS if axis.missing else BOLD, 12.5)
        canvas.drawString(axis.x1 if axis.missing and not axis.ticks else 838, y - 4, axis.value)
