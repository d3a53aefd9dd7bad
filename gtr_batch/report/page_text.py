"""Texts of a source's header on paper: in a font that has their characters, or the honest word that none has.

Fonts: DejaVu Sans, embedded, for every script that is written from left to right without joining letters; for Chinese,
Japanese and Korean the fonts that every PDF viewer is to bring (ISO 32000, 9.7.5.2), which are named and not embedded.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from xml.sax.saxutils import escape

from pydicom import Dataset
from pydicom.valuerep import PersonName

from gtr_batch.domain.printable import printable

SANS, BOLD = "PageSans", "PageSans-Bold"
NAME_IN_STUDY, TEXT_IN_STUDY, NOT_GIVEN = "[name in the study]", "[text in the study]", "not given"
_JAPANESE, _KOREAN, _CHINESE, _TAIWAN = "HeiseiKakuGo-W5", "HYGothic-Medium", "STSong-Light", "MSung-Light"
_HOLDS = {_JAPANESE: "shift_jis", _KOREAN: "cp949", _CHINESE: "gbk", _TAIWAN: "big5"}  # the characters of each font
_WRITTEN_IN = {  # *Specific Character Set* (PS3.3, C.12.1.1.2)
    **dict.fromkeys(("ISO_IR 13", "ISO 2022 IR 13", "ISO 2022 IR 87", "ISO 2022 IR 159"), _JAPANESE),
    "ISO 2022 IR 149": _KOREAN,
    **dict.fromkeys(("ISO 2022 IR 58", "GB18030", "GBK"), _CHINESE),
}


@cache
def register_fonts() -> Callable[[str], bool]:
    """Make the fonts known to reportlab; returns whether the embedded one has all characters of a text."""
    import matplotlib as mpl
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfbase.ttfonts import TTFont

    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"  # comes with matplotlib
    sans = TTFont(SANS, str(folder / "DejaVuSans.ttf"))
    bold = TTFont(BOLD, str(folder / "DejaVuSans-Bold.ttf"))
    for font in (sans, bold, *map(UnicodeCIDFont, _HOLDS)):
        pdfmetrics.registerFont(font)
    glyphs = sans.face.charToGlyph.keys() & bold.face.charToGlyph.keys()
    return lambda text: all(ord(character) in glyphs for character in text)


def font_of(text: str, source: Dataset) -> str | None:
    """The font that has every character of a text; None where no font of the page can write it."""
    joined = any(unicodedata.bidirectional(c) in ("R", "AL", "AN") or unicodedata.combining(c) for c in text)
    if joined:  # Hebrew, Arabic, Thai, …: reportlab sets letter beside letter, from left to right
        return None
    if register_fonts()(text):
        return SANS
    declared = source.get("SpecificCharacterSet") or []
    first = [_WRITTEN_IN[s] for s in ([declared] if isinstance(declared, str) else declared) if s in _WRITTEN_IN]
    names = [unicodedata.name(c, "") for c in text]
    kana = any(name.startswith(("HIRAGANA", "KATAKANA")) for name in names)
    for font in dict.fromkeys([*([_JAPANESE] if kana else first), _CHINESE, _JAPANESE, _KOREAN, _TAIWAN]):
        if _encodes(text, _HOLDS[font]):
            return font
    return None


def _encodes(text: str, codec: str) -> bool:
    try:
        text.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


def marked(text: str, source: Dataset, otherwise: str = TEXT_IN_STUDY) -> str:
    """A header's text as a paragraph takes it: without markup of its own, in the font that has its characters."""
    shown = unicodedata.normalize("NFC", printable(text)).strip()
    if not shown:
        return NOT_GIVEN
    font = font_of(shown, source)
    if font is None:
        return otherwise
    return escape(shown) if font == SANS else f'<font name="{font}">{escape(shown)}</font>'


def is_embedded(text: str) -> bool:
    """Whether a paragraph's text is written in embedded fonts alone."""
    return not any(f'"{font}"' in text for font in _HOLDS)


def marked_name(source: Dataset) -> str:
    """*Patient's Name*: its alphabetic, ideographic and phonetic groups, each in its font, parted by a slash."""
    groups = list(dict.fromkeys(_groups(source.PatientName)))
    return " / ".join(dict.fromkeys(marked(group, source, NAME_IN_STUDY) for group in groups)) or NOT_GIVEN


def _groups(name: PersonName | str) -> Iterator[str]:
    for group in str(name).split("="):
        family, *others = (part.strip() for part in group.split("^"))
        given = " ".join(filter(None, others))
        between = ", " if register_fonts()(family) else " "  # not after an ideographic name
        if text := between.join(filter(None, (family, given))):
            yield text
