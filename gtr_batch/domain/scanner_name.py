"""Names of manufacturers and scanners as they may be shown: those that vendors write, and nothing else.

*Manufacturer* (0008,0070) and *Manufacturer's Model Name* (0008,1090) are free text: a sentence about a person may
stand in them. What is shown consists of known words alone; a model's name also of a product line and short numbers.
"""

from __future__ import annotations

import re

OTHER_MANUFACTURER, OTHER_MODEL = "another manufacturer", "another model"


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_VENDORS = _listed(
    """
    accuray analogic anke canon carestream elekta fuji fujifilm ge hitachi mediso minfound neurologica neusoft
    nms philips picker samsung shimadzu siemens sinovision toshiba uih varian wandong
    """
)
_COMPANY = _listed(
    """
    ag bv co company corp corporation electric electronics gmbh group healthcare healthineers high imaging inc
    kk llc ltd ltda mec medical nv of products sa shanghai shenyang shenzhen solutions system systems tech
    technologies technology the united
    """
)
_LINES = _listed(
    """
    access activion alexion anatom aquilion asteion biograph bodytom brightspeed brilliance confidence
    definition discovery drive eclos emotion fct force gemini genesis hispeed ict incisive ingenuity iqon
    lightspeed mx naeotom neuviz nxt omnitom optima perspective precise presto proceed prospeed radiance
    revolution robusto scenaria scintcare scope sct sensation somatom spectral speedia spirit supria uct umi
    vereos vision volume
    """
)
_VARIANTS = _listed(
    """
    ace advance alpha apex as atlas big bore cardiac cite core ct cxl dual ease edge edition elite epoch es evo
    exceed exp flash flow focus frontier glory go gsi hd horizon hp idt insight istream lb lightning lite maxima
    mct mr now one open orion peak pet plus power precision prime pro pulse rt rxl select serve slice source sp
    spirit start stream tof top ultra up vct velocity x xcite xt xte zoom all
    """
)
_LONG_NUMBERS = frozenset({"5300", "6000", "7000", "7500", "8000"})  # of Philips and Shimadzu
_MOST_NUMBERS = 2


def manufacturer_shown(text: str) -> str:
    """A manufacturer as it stands in the header, where it is one; empty where there is none."""
    words = _words(text)
    if not text.strip():
        return ""
    named = any(word in _VENDORS for word in words) or {"united", "imaging"} <= set(words)
    return text.strip() if named and all(w in _VENDORS or w in _COMPANY for w in words) else OTHER_MANUFACTURER


def model_shown(text: str) -> str:
    """A scanner's name as it stands in the header, where vendors build such names; empty where there is none."""
    if not text.strip():
        return ""
    parts = _words(text)
    words, numbers = [p for p in parts if not p.isdigit()], [p for p in parts if p.isdigit()]
    is_one = (
        any(word in _LINES for word in words)
        and all(word in _LINES or word in _VARIANTS or word in _VENDORS for word in words)
        and len(numbers) <= _MOST_NUMBERS
        and all(len(number) <= 3 or number in _LONG_NUMBERS for number in numbers)
    )
    return text.strip() if is_one else OTHER_MODEL


def _words(text: str) -> list[str]:
    """Runs of Latin letters, of digits and of what is beyond ASCII, lower case."""
    return re.findall(r"[a-z]+|[0-9]+|[^\x00-\x7f]+", text.lower())
