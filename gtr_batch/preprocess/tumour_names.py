"""Whether the name and codes of a segment or region of interest say "gastric tumour".

An outline drawn on the wrong organ would choose the wrong slice, silently: a liver lesion, a node, or the stomach as
an organ at risk are never taken.
"""

from __future__ import annotations

import re
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


def _words(texts: Iterable[str]) -> list[str]:
    return [word for text in texts for word in re.split(r"[^a-z0-9]+", text.lower()) if word]
