"""Numbers, days and names as a reader writes them; what is not known is a dash."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date

from gtr_batch.domain.refusal import REASONS, RefusalCode
from gtr_batch.domain.series_fact import FactKind, charted

_DAY = re.compile(r"(?<![\d-])\d{4}-\d{2}-\d{2}(?![\d-])")
DASH = "–"
ANSWERS: Mapping[str, tuple[str, str]] = {
    "yes": ("Yes", "good"),
    "look": ("Look first", "look"),
    "stop": ("Stop", "stop"),
    "cannot tell": ("Cannot tell", "muted"),
}
STATES: Mapping[str, tuple[str, str]] = {
    "quiet": ("quiet", "good"),
    "alarm": ("alarm", "stop"),
    "cannot tell": ("cannot tell", "muted"),
    "off": ("off", "muted"),
}
HEADERS: Mapping[str, str] = {fact.name: fact.heading for fact in charted(FactKind.NAME)}
QUALITY: Mapping[str, str] = {fact.name: fact.heading for fact in charted(FactKind.NUMBER)}
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def share(value: float | None, digits: int = 1) -> str:
    """``83.1%``."""
    return DASH if value is None else f"{100 * value:.{digits}f}%"


def share_ci(value: Sequence[float] | None) -> str:
    """``79.0 to 86.2%``; empty without an interval."""
    return "" if not value else f"{100 * value[0]:.1f} to {100 * value[1]:.1f}%"


def number(value: float | None, digits: int = 3) -> str:
    """``0.831``, with a true minus sign."""
    return DASH if value is None else minus(f"{value:.{digits}f}")


def signed(value: float | None, digits: int = 2) -> str:
    """``+0.12``."""
    return DASH if value is None else minus(f"{value:+.{digits}f}")


def number_ci(value: Sequence[float] | None, digits: int = 3) -> str:
    """``0.790 to 0.862``; empty without an interval."""
    return "" if not value else minus(f"{value[0]:.{digits}f} to {value[1]:.{digits}f}")


def prose(text: str) -> str:
    """A sentence with true minus signs, and days as people write them: ``8 Dec 2024`` for ``2024-12-08``."""
    return minus(_DAY.sub(lambda found: _short_day(found[0]), text)).replace("(p ", "(p\u00a0")


def _short_day(text: str) -> str:
    try:
        d = date.fromisoformat(text)
    except ValueError:
        return text
    return f"{d.day} {_MONTHS[d.month - 1][:3]} {d.year}"


def minus(text: str) -> str:
    """Hyphens before digits as minus signs."""
    return "".join(
        "−" if c == "-" and text[k + 1 : k + 2].isdigit() and not text[k - 1 : k].isalnum() else c
        for k, c in enumerate(text)
    )


def count(n: int | None, one: str, many: str | None = None) -> str:
    """``1 patient``, ``60 patients``."""
    return DASH if n is None else f"{n:,} {one if n == 1 else many or one + 's'}".replace(",", " ")


def day(value: date | str | None) -> str:
    """``5 April 2026``, also from ``2026-04-05``."""
    if not value:
        return DASH
    d = _date(value)
    return f"{d.day} {_MONTHS[d.month - 1]} {d.year}"


def span(first: date | str, last: date | str) -> str:
    """``1 to 31 March 2026``, or both days whole where their months differ."""
    begin, end = _date(first), _date(last)
    alike = (begin.year, begin.month) == (end.year, end.month)
    return f"{begin.day} to {day(end)}" if alike else f"{day(begin)} to {day(end)}"


def _date(value: date | str) -> date:
    return value if isinstance(value, date) else date.fromisoformat(value)


def month(value: str) -> str:
    """``March 2026`` from ``2026-03``."""
    year, at = value.split("-")
    return f"{_MONTHS[int(at) - 1]} {year}"


def short_month(value: str, *, year: bool = False) -> str:
    """``Mar`` from ``2026-03``; with its year below."""
    of, at = value.split("-")
    return _MONTHS[int(at) - 1][:3] + (f"\n{of}" if year else "")


def period(kind: str, value: str) -> str:
    """``March 2026`` or ``week 10 of 2026``."""
    if kind == "month":
        return month(value)
    year, week = value.split("-W")
    return f"week {int(week)} of {year}"


def refusal(code: str) -> str:
    """A refusal's code in words; a code that is not known as it is."""
    try:
        return REASONS[RefusalCode(code)].words
    except ValueError:
        return code.replace("_", " ")


def key_slice(source: str) -> str:
    """Where a key slice came from, in words."""
    return {
        "key_object_selection": "marked in the PACS",
        "ehr_reference": "named in the EHR",
        "segmentation": "segmentation",
        "automatic": "automatic locator",
        "reader": "confirmed by a reader",
    }.get(source, source.replace("_", " "))
