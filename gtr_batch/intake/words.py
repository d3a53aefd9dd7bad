"""What the words in a description or protocol say of the contrast phase, in several languages.

Texts are folded (NFKC, lower case, no accents, ``_`` as a blank) before they are read. Only the matched word is ever
kept as evidence, never the text: a technologist may have typed anything into it.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum

from attrs import frozen


class Said(StrEnum):
    """What a word says."""

    PORTAL_VENOUS = "portal_venous"
    ARTERIAL = "arterial"
    DELAYED = "delayed"
    UNENHANCED = "unenhanced"
    ENHANCED = "enhanced"  # contrast, without a phase


@frozen
class Word:
    """One matched word and what it says."""

    says: Said
    word: str


# Removed before anything is read: they name a study of several phases, not a series.
_BOTH = re.compile(
    r"\bw(ith)?\s*(/|&|\+|and|und|et)\s*w(ith|/)?\s*/?\s*o(ut)?\b|\bwith(out)? and with(out)?\b|\bmit und ohne\b"
)
_SECONDS = re.compile(r"(?<![\d.])(\d{2,3})\s*(?:s|sec|secs|sek|seconds?|秒)(?![a-z])")
_MINUTES = re.compile(r"(?<![\d.])(\d{1,2})\s*min(?![a-z])")
_ENDS = r"(?![a-z])"
_STARTS = r"(?<![a-z])"

_RULES: tuple[tuple[Said, str], ...] = (
    (
        Said.ARTERIAL,
        rf"{_STARTS}(late |early )?arter\w*|{_STARTS}art{_ENDS}|{_STARTS}hap{_ENDS}|{_STARTS}cta{_ENDS}"
        r"|angio\w*|动脉|動脈|артери\w*|동맥",
    ),
    (
        Said.PORTAL_VENOUS,
        rf"{_STARTS}port(al|o)[ -]?(phase|v\w*|e)?|{_STARTS}pvp?{_ENDS}"
        rf"|{_STARTS}ven(ous|os\w*|oes\w*|o|euse|eux)?{_ENDS}"
        r"|门静脉|門静脈|门脉|門脈|静脉期|静脈相|вено\w*|портал\w*|문맥",
    ),
    (
        Said.DELAYED,
        rf"{_STARTS}delay\w*|{_STARTS}late{_ENDS}(?! art)|{_STARTS}spat\w*|{_STARTS}tardi\w*|excret\w*|urogra\w*"
        r"|equilib\w*|verzoger\w*|nephrogra\w*|延迟|延遲|排泄|平衡|遅延|지연",
    ),
    (
        Said.UNENHANCED,
        rf"{_STARTS}non?[ -]?(contr\w*|con{_ENDS}|enhanc\w*|ce{_ENDS})|{_STARTS}un ?enh\w*|{_STARTS}nativ\w*"
        rf"|{_STARTS}nc(ct)?{_ENDS}|{_STARTS}w ?/ ?o{_ENDS}|{_STARTS}wo{_ENDS}|{_STARTS}without\w*|{_STARTS}ohne{_ENDS}"
        rf"|{_STARTS}sans{_ENDS}|{_STARTS}(sin|sem) (contr\w*|civ)|{_STARTS}senza{_ENDS}|{_STARTS}basale?{_ENDS}"
        rf"|{_STARTS}plain{_ENDS}|{_STARTS}pre[ -]?contr\w*|{_STARTS}c-(?!\w)|平扫|平掃|単純|натив\w*|조영전",
    ),
    (
        Said.ENHANCED,
        rf"{_STARTS}c ?\+|\+ ?c{_ENDS}|{_STARTS}w ?/? ?(iv ?)?con(t\w*)?{_ENDS}|{_STARTS}with (iv )?contr\w*"
        rf"|{_STARTS}(ce|cect){_ENDS}|{_STARTS}post ?contr\w*|{_STARTS}enhanced|{_STARTS}(mit )?km{_ENDS}"
        r"|增强|增強|造影",
    ),
)
_COMPILED = tuple((says, re.compile(pattern)) for says, pattern in _RULES)


def fold(text: str) -> str:
    """Text as the rules read it."""
    flat = unicodedata.normalize("NFKD", text).casefold().replace("_", " ")
    return unicodedata.normalize("NFC", "".join(c for c in flat if not unicodedata.combining(c)))


def read(text: str) -> tuple[Word, ...]:
    """What a text says, each statement once, in the order of `Said`.

    A delay in seconds counts as a phase: 45-90 s portal venous, up to 40 s arterial, from 150 s delayed; minutes are
    delayed. A number that makes a phase ("delay 70 s") overrules the word "delay" beside it, and "w/o" wins over the
    "con" of "contrast" that follows it.
    """
    folded = _BOTH.sub(" ", fold(text))
    found: dict[Said, str] = {}
    for says, pattern in _COMPILED:
        match = pattern.search(folded)
        if match:
            found[says] = match[0].strip()
    for match in _SECONDS.finditer(folded):
        seconds = int(match[1])
        if 45 <= seconds <= 90:
            found.setdefault(Said.PORTAL_VENOUS, f"{seconds} s")
            found.pop(Said.DELAYED, None)
        elif 15 <= seconds <= 40:
            found.setdefault(Said.ARTERIAL, f"{seconds} s")
            found.pop(Said.DELAYED, None)
        elif 150 <= seconds <= 900:
            found.setdefault(Said.DELAYED, f"{seconds} s")
    minutes = _MINUTES.search(folded)
    if minutes and int(minutes[1]) >= 2:
        found.setdefault(Said.DELAYED, minutes[0].strip())
    if Said.UNENHANCED in found:
        found.pop(Said.ENHANCED, None)
    return tuple(Word(says, found[says]) for says in Said if says in found)
