"""The picture for PACS that show no parametric maps: the slice in grey, the heat in colour, the answer burned in.

No patient identity is burned in; the secondary capture's header carries it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gtr_batch.domain.model import ModelManifest
from gtr_batch.domain.score import AnswerSource, StageAnswer, answers_of
from gtr_batch.domain.staging import FLAG_MEANINGS, STAGES, CaseStaging, Flag

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

COLOUR_MAP = "inferno"  # perceptually ordered: more heat is lighter, also on a grey monitor
MOST_OPAQUE = 0.6  # of the colour where heat is 1; where it is 0 the slice is untouched
NOT_VERIFIED = "AI result - not verified"
DEMO = "demo, not for patients"

FLAG_TEXTS: dict[Flag, str] = {flag: m.words for flag, m in FLAG_MEANINGS.items() if m.on_overlay}
Colour = tuple[int, int, int]
WHITE, AMBER = (255, 255, 255), (255, 200, 60)


def overlay_rgb(
    hu: np.ndarray,
    heat: np.ndarray,
    staging: CaseStaging,
    manifest: ModelManifest,
    answer: StageAnswer | None = None,
) -> np.ndarray:
    """Heat over a slice, with colour bar and burned-in answer.

    Parameters
    ----------
    hu : array, (rows, columns)
        The key slice, HU.
    heat : array, (rows, columns)
        Its heat map in source pixels, 0 to 1.
    staging : CaseStaging
        Of the whole case: flags, set of likely stages, model version; what the heat explains.
    manifest : ModelManifest
        The window, the model's name, and whether it is the demo's.
    answer : StageAnswer, optional
        The category and probabilities that count; default: the network's.

    Returns
    -------
    array, (rows, columns, 3), uint8
        The same whenever the inputs are.
    """
    from PIL.Image import fromarray
    from PIL.ImageDraw import Draw

    if hu.ndim != 2 or hu.shape != heat.shape:
        raise ValueError(f"slice of shape {hu.shape} and heat of shape {heat.shape}")
    image = fromarray(heat_over_slice(hu, heat, manifest.contract.window_hu))
    pen = Draw(image)
    rows, columns = hu.shape
    found = answers_of(staging, None)
    above, below = _lines(staging, manifest, answer or (found.primary if found else None))
    font = _font(pen, [text for text, _ in above + below], rows, columns)
    line, margin = round(font.size * 1.3), max(2, round(font.size * 0.4))
    for k, (text, colour) in enumerate(above):
        _write(pen, (margin, margin + k * line), text, font, colour)
    for k, (text, colour) in enumerate(reversed(below)):
        _write(pen, (margin, rows - margin - (k + 1) * line), text, font, colour)
    _colour_bar(image, pen, font, margin)
    return np.asarray(image)


def heat_over_slice(hu: np.ndarray, heat: np.ndarray, window_hu: tuple[float, float]) -> np.ndarray:
    """A slice in grey with its heat map in colour, nothing written on it: uint8 RGB, shape ``(rows, columns, 3)``."""
    from matplotlib import colormaps

    low, high = window_hu
    grey = np.clip((hu.astype(np.float64) - low) / (high - low), 0, 1)[..., None]
    warm = np.clip(heat.astype(np.float64), 0, 1)
    opacity = MOST_OPAQUE * warm[..., None]
    rgb = (1 - opacity) * grey + opacity * colormaps[COLOUR_MAP](warm)[..., :3]
    return np.round(rgb * 255).astype(np.uint8)


def _lines(
    staging: CaseStaging, manifest: ModelManifest, answer: StageAnswer | None
) -> tuple[list[tuple[str, Colour]], list[tuple[str, Colour]]]:
    """What is written above and below the slice."""
    above = [(NOT_VERIFIED, AMBER), _answer_line(staging, answer)]
    beside = [str(staging.stage_set)] if staging.stage_set is not None else []
    beside += ["by the nomogram"] if answer is not None and answer.source is AnswerSource.NOMOGRAM else []
    above += [(", ".join(beside), WHITE)] if beside else []
    below = [(FLAG_TEXTS[flag], AMBER) for flag in staging.flags if flag in FLAG_TEXTS]
    of_what = f" for {staging.t_stage}" if staging.t_stage else ""
    below.append((f"Grad-CAM{of_what}; {manifest.name} {staging.model_version[:12]}", WHITE))
    if manifest.demo or Flag.DEMO_MODEL in staging.flags:
        below.append((DEMO, AMBER))
    return above, below


def _answer_line(staging: CaseStaging, answer: StageAnswer | None) -> tuple[str, Colour]:
    """The stage and its probabilities, or why there is none."""
    if answer is None:
        return f"Not staged: {staging.abstention.words if staging.abstention else 'no answer'}", AMBER
    each = "  ".join(f"{stage} {p:.2f}" for stage, p in zip(STAGES, answer.probabilities.values, strict=True))
    return f"c{answer.t_stage}    P: {each}", WHITE


def _font(pen: ImageDraw, texts: list[str], rows: int, columns: int) -> FreeTypeFont:
    """Readable at the slice's size: a thirty-fourth of the rows, smaller where a line would not fit."""
    from matplotlib import font_manager
    from PIL import ImageFont

    path = font_manager.findfont("DejaVu Sans")  # comes with matplotlib
    size = max(8, round(rows / 34))
    while True:
        font = ImageFont.truetype(path, size)
        if size <= 6 or max(pen.textlength(text, font=font) for text in texts) <= 0.9 * columns:
            return font
        size -= 1


def _write(pen: ImageDraw, at: tuple[int, int], text: str, font: FreeTypeFont, colour: Colour) -> None:
    pen.text(at, text, font=font, fill=colour, stroke_width=max(1, round(font.size / 8)), stroke_fill=(0, 0, 0))


def _colour_bar(image: Image, pen: ImageDraw, font: FreeTypeFont, margin: int) -> None:
    """The colours of heat 0 (below) to 1 (above), at the right edge."""
    from matplotlib import colormaps
    from PIL.Image import fromarray

    columns, rows = image.size
    width, height = max(3, round(columns / 50)), rows // 3
    left, top = columns - width - 2 * margin, (rows - height) // 2
    colours = colormaps[COLOUR_MAP](np.linspace(1, 0, height))[:, None, :3].repeat(width, axis=1)
    image.paste(fromarray(np.round(colours * 255).astype(np.uint8)), (left, top))
    pen.rectangle((left - 1, top - 1, left + width, top + height), outline=WHITE)
    for text, y in (("1", top), ("0", top + height - round(font.size))):
        _write(pen, (left - margin - round(pen.textlength(text, font=font)), y), text, font, WHITE)
