"""Whether the name and codes of a segment or region of interest say "gastric tumour".

An outline drawn on the wrong organ would choose the wrong slice, silently: a liver lesion, a node, or the stomach as
an organ at risk are never taken.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from enum import IntEnum

_TUMOUR = re.compile(r"tumou?rs?|neoplasms?|\w*carcinomas?|cancers?|gtv\w*|lesions?|mass|malignan\w*")
_GASTRIC = re.compile(r"gastric|stomach|antr(?:um|al)|pylor(?:us|ic)|cardia|egj|gej|gastro(?:o?esophageal)")
# not the primary: nodes and deposits, also where the stomach is named beside them ("gastric node metastasis")
_NOT_PRIMARY = re.compile(r"metasta\w*|mets?|secondary|nod(?:e|es|al)|lymph\w*|gtvn\w*|gtvm\w*|n|ln|thromb\w*")
# words that may stand beside "tumour" or "GTV" without naming another organ
_NEUTRAL = re.compile(
    r"gtv(?:p|t)?\d*|tumou?rs?|neoplasms?|\w*carcinomas?|cancers?|malignant|primary|p|t|ct|roi|\d+|morphologic|abnormality"
)

# Organs as descriptions name them: by beginnings of words (English, German, French, Spanish, Italian, Portuguese,
# Russian), and anywhere in a text (Chinese, Japanese, Korean).
_STOMACH = (
    r"gastric|gastro|stomach|antr(?:um|al)|pylor|cardia\b|egj\b|gej\b|linitis|magen|estomac|estomago|stomaco|желуд",
    "胃|위암|위종양",
)
METASTASIS, LYMPH_NODE = "metastasis", "lymph node"
_OTHER_ORGANS = {
    METASTASIS: (r"metast|mets?\b|filiae|метаст", "转移|転移|전이"),
    LYMPH_NODE: (r"nod(?:e|es|al)\b|lymph|ganglion|linfonod|лимф", "淋巴|リンパ|림프"),
    "liver": (r"liver|hepat|hcc\b|leber|foie\b|higado|fegato|figado|печен", "肝|간암|간종양|간전이"),
    "spleen": (r"spleen|splen|milz|bazo\b|baco\b|селез", "脾|비장"),
    "pancreas": (r"pan[ck]rea|поджелуд", "胰|膵|췌장"),
    "gallbladder or bile duct": (r"gall|cholang|cholec|biliary|vesicula|желчн", "胆|담낭|담도"),
    "duodenum": (r"duoden|zwolffinger|двенадцат", "十二指|십이지장"),
    "bowel": (
        r"colon|colorect|rect(?:um|al)|sigmoid|ca?ecum|appendi|bowel|ile(?:um|al)|jejun|\w*darm|кишк|ободоч",
        "结肠|結腸|直肠|直腸|大腸|小腸|대장|직장",
    ),
    "oesophagus": (r"o?esophag|speiserohre|esofag|пищевод", "食管|食道|식도"),
    "kidney": (r"kidney|renal|niere|reins?\b|rinon|rene\b|reni\b|почк", "肾|腎|신장"),
    "adrenal": (r"adrenal|nebenniere|surrenal|suprarrenal|надпочеч", "副腎|부신"),
    "lung": (r"lung|pulmo|pleura|poumon|polmon|легк", "肺|폐"),
    "ovary or uterus": (r"ovar|krukenberg|uter(?:us|in)|яичник|матк", "卵巢|卵巣|子宫|子宮|난소|자궁"),
    "prostate or bladder": (r"prostat|bladder|blase\b|vejiga|простат", "前列腺|膀胱|전립선|방광"),
    "breast": (r"breast|mamm|brust", "乳腺|乳房|유방"),
    "bone": (r"bone|spine\b|vertebr|knochen|wirbel|кости\b|позвон", "骨|椎|척추"),
    "vessel": (r"aort|aneurysm|embol|thromb", "动脉瘤|動脈瘤|血栓"),
}
_DENIED = re.compile(
    r"\b(?:no|without|w/o|ohne|keine?|sans|sin|senza|sem|без)\s+(?:\w+\s+)?\w+"
)  # "no liver metastases"

# SNOMED CT, and the SNOMED RT codes that older objects carry (PS3.16, CID 4, CID 7159, CID 7160)
_STOMACH_CODES = frozenset({"69695003", "T-57000"})
_TUMOUR_CODES = frozenset({"108369006", "86049000", "372087000", "52988006", "4147007", "M-80003"})
_GASTRIC_TUMOUR_CODES = frozenset({"126824007", "363349007", "408647009"})
_SECONDARY_CODES = frozenset({"14799000", "M-80006"})


class Match(IntEnum):
    """How surely an outline is the gastric tumour."""

    NO = 0
    TUMOUR = 1  # a tumour or GTV, no organ named
    GASTRIC_TUMOUR = 2


def match_gastric_tumour(
    names: Iterable[str],
    *,
    types: Iterable[str] = (),
    regions: Iterable[tuple[str, str]] = (),
    gtv: bool = False,
) -> Match:
    """Judge an outline.

    Parameters
    ----------
    names : iterable of str
        Label, description, meaning of the property type; any case.
    types : iterable of str
        Code values of the segmented property type.
    regions : iterable of (str, str)
        Code value and meaning of each anatomic region; none where the object names none.
    gtv : bool
        *RT ROI Interpreted Type* (3006,00A4) is GTV.
    """
    words, types = _words(names), set(types)
    if types & _SECONDARY_CODES or any(_NOT_PRIMARY.fullmatch(word) for word in words):
        return Match.NO
    in_stomach = [
        code in _STOMACH_CODES or any(_GASTRIC.fullmatch(word) for word in _words([meaning]))
        for code, meaning in regions
    ]
    if in_stomach and not all(in_stomach):
        return Match.NO
    coded = bool(types & _GASTRIC_TUMOUR_CODES)
    tumour = coded or gtv or bool(types & _TUMOUR_CODES) or any(_TUMOUR.fullmatch(word) for word in words)
    gastric = coded or bool(in_stomach) or any(_GASTRIC.fullmatch(word) for word in words)
    if tumour and gastric:
        return Match.GASTRIC_TUMOUR
    if tumour and all(_NEUTRAL.fullmatch(word) for word in words):
        return Match.TUMOUR
    return Match.NO


def other_organ(text: str) -> str:
    """The organ that a description is about, where that is not the stomach; empty where it is, or where it names none.

    The organ that is named first counts: "gastric tumour, invades the pancreas" is about the stomach, "liver beside the
    stomach" is not. A metastasis never is, a lymph node only behind a gastric tumour ("gastric cancer and its nodes").
    """
    folded = _DENIED.sub(" ", _folded(text))
    found = {organ: place for organ, names in _OTHER_ORGANS.items() if (place := _place(names, folded)) is not None}
    stomach = _place(_STOMACH, folded)
    if METASTASIS in found:
        return METASTASIS
    if LYMPH_NODE in found:
        tumour = any(_TUMOUR.fullmatch(word) for word in _words([folded]))
        if not (tumour and stomach is not None and stomach < found[LYMPH_NODE]):
            return LYMPH_NODE
    first = min(found, key=lambda organ: found[organ], default="")
    return first if first and (stomach is None or found[first] < stomach) else ""


def _place(names: tuple[str, str], folded: str) -> int | None:
    """Where one of the names stands in a text first."""
    beginnings, anywhere = names
    match = re.search(rf"(?<!\w)(?:{beginnings})|{anywhere}", folded)
    return match.start() if match else None


def _folded(text: str) -> str:
    """Without case and accents, ``_`` as a blank."""
    flat = unicodedata.normalize("NFKD", text).casefold().replace("_", " ")
    return unicodedata.normalize("NFC", "".join(c for c in flat if not unicodedata.combining(c)))


def _words(texts: Iterable[str]) -> list[str]:
    return [word for text in texts for word in re.split(r"[^a-z0-9]+", text.lower()) if word]
