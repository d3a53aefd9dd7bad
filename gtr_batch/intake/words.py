"""What the words in a description or protocol say, in several languages: contrast phase, operated stomach, VMI.

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

# An operation of the stomach that lies behind the patient. Between "after" and the operation only words of a closed
# list may stand: "post contrast, before gastrectomy" is a plan.
_AFTER = (
    r"s ?/ ?p|status ?post|st\.? ?p\.?|post ?-? ?op\w*( (de|of))?|post|after|h ?/ ?o|history of"
    r"|z\.? ?n\.?|zustand nach|st(atus)?\.? ?n(ach)?\.?|nach|pos ?-? ?op\w*( de)?|pos|tras|apres|statut post"
    r"|esiti( di)?|pregress[ao]|dopo|после"
)
_BETWEEN = (
    r"(total\w*|subtotal\w*|partial|parcial|partiell\w*|distal\w*|proximal\w*|radi[ck]al\w*|lap(aros[ck]op\w*)?|open"
    r"|robotic|sleeve|status|post|pos|a|an|the|of|de|di|der|einer|d[1-3]|4/5|2/3)"
)
_OPERATION = (
    r"(\w*gastr(ectom\w*|ektom\w*)|gastrorese[ck]\w*|magen(teil)?rese[ck]\w*|magenbypass"
    r"|gastric (resection|bypass|sleeve|pull ?-? ?up)|gastrectomie\w*|(o?e|o)sophag(ectom\w*|ektom\w*)|гастрэктоми\w*)"
)
_OPERATED = re.compile(
    rf"{_STARTS}({_AFTER})[ .,:-]*({_BETWEEN}[ .,-]+){{0,4}}{_OPERATION}"
    r"|postgastre[ck]tom\w*|gastrectomized|gastrectomizad[oa]\w*|gastrektomiert\w*|gastrectomise\w*"
    r"|gastric (stump|remnant)|(remnant|residual) stomach|restmagen\w*|magenstumpf\w*|coto gastrico|munon gastrico"
    rf"|moignon gastrique|moncone gastrico|{_STARTS}billroth|культя желудка"
    r"|胃(癌|全|次全|部分|大部|远端|遠位)*(切除|摘|切)?(术|術)?(后|後)|残胃|위(암|전)?(절제술?|수술) ?후|잔위"
)
# A virtual monoenergetic series. Tube voltages are often written as keV: 80, 100, 120, 140 alone say nothing.
_MONOENERGETIC = re.compile(
    r"(?<![a-z])vmi(?![a-z])|mono ?-?e(nerg\w*)?(?![a-z])|monochromatic|(?<![a-z])mono ?\+"
    r"|(?<![a-z])mono ?-?\d{2,3}(?!\d)|(?<![\d.])(?!(?:80|100|110|120|130|135|140) ?kev)\d{2,3} ?kev"
)


def operated(text: str) -> str:
    """The words that say that the stomach was operated before the study; empty where none do."""
    match = _OPERATED.search(fold(text))
    return match[0].strip() if match else ""


def monoenergetic(text: str) -> str:
    """The words that say that a series is virtual monoenergetic; empty where none do."""
    match = _MONOENERGETIC.search(fold(text))
    return match[0].strip() if match else ""


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
