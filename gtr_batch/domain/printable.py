"""Text of a foreign source (a header, a table, a person's reason) before it is shown to somebody."""

from __future__ import annotations

import re

# Control characters of ASCII and Latin-1 but tab and line feed (escape sequences begin with one), and what turns the
# direction of writing, with which a text can be shown as another one.
_HIDDEN = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """The text without control characters and escape sequences; tabs and line feeds stay."""
    return _HIDDEN.sub("", text)


def printable_value(value: object) -> object:
    """A value of a page's template: text as `printable` gives it, all else, marked-up text too, as it is."""
    return printable(value) if type(value) is str else value
