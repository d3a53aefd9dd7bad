"""Stages as tables write them: 0-3, 1-4 or T1-T4."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Final, Literal

from gtr_batch.errors import InputRefused

StageCoding = Literal["zero-based", "one-based", "T1-T4"]
ZERO_BASED: Final = "zero-based"
ONE_BASED: Final = "one-based"
NAMED: Final = "T1-T4"
POSITIONS: Mapping[StageCoding, Mapping[str, int]] = {
    ZERO_BASED: {str(k): k for k in range(4)},
    ONE_BASED: {str(k + 1): k for k in range(4)},
    NAMED: {f"T{k + 1}": k for k in range(4)},
}
_NUMBERS = frozenset("01234")


def code_in(text: str) -> str:
    """The code that a cell holds. A spreadsheet writes whole numbers as 2.0 where a column once held an empty cell."""
    return text.strip().removesuffix(".0")


def coding_of(codes: Set[str], what: str) -> StageCoding | None:
    """Which coding these codes are in; None where they are only 1, 2 and 3, which could be T1 to T3 or T2 to T4.

    Codes that are in none are not looked at.

    Parameters
    ----------
    codes : set of str
        As `code_in` gives them.
    what : str
        What holds them, for the message: ``column label``.

    Raises
    ------
    InputRefused
        Codings are mixed.
    """
    names, numbers = codes & set(POSITIONS[NAMED]), codes & _NUMBERS
    if (names and numbers) or {"0", "4"} <= numbers:
        both = ", ".join(sorted(names | numbers))
        raise InputRefused(f"{what} mixes codings of the stage ({both}): write 0-3, 1-4 or T1-T4 throughout")
    if not numbers:
        return NAMED
    if "0" in numbers:
        return ZERO_BASED
    return ONE_BASED if "4" in numbers else None
