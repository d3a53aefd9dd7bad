"""In what two models differ: their manifests, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_LONG = 48  # characters; beyond them a value is told by its size


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[dict[str, str]]:
    """Every field that is not the same: ``field`` (dotted), ``one``, ``other`` in words short enough for a table.

    Long lists (coefficients, references) are told by their length and how many of their values differ.
    """
    return list(_walk("", one, other))


def _walk(at: str, one: Any, other: Any) -> Iterator[dict[str, str]]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*one, *other}):
            yield from _walk(f"{at}.{key}" if at else str(key), one.get(key), other.get(key))
    elif one != other:
        yield {"field": at, "one": _words(one, other), "other": _words(other, one)}


def _words(value: Any, beside: Any) -> str:
    text = "absent" if value is None else json.dumps(value, sort_keys=True)
    if len(text) <= _LONG:
        return text
    if isinstance(value, list):
        differ = sum(a != b for a, b in zip(value, beside, strict=False)) if isinstance(beside, list) else len(value)
        return f"{len(value)} values, {differ} of them other"
    return text[: _LONG - 1] + "…"
