"""In what two models differ: their manifests, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from attrs import frozen

_LONG = 48  # characters; a longer value is described by its size


@frozen
class Difference:
    """A field (dotted) that two manifests do not share, and both values in words short enough for a table."""

    field: str
    one: str
    other: str


def differences(one: Mapping[str, object], other: Mapping[str, object]) -> list[Difference]:
    """Every field that is not the same.

    Long lists (coefficients, references) are described by their length and how many of their values differ.
    """
    return list(_walk("", one, other))


def _walk(at: str, one: object, other: object) -> Iterator[Difference]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*one, *other}):
            yield from _walk(f"{at}.{key}" if at else str(key), one.get(key), other.get(key))
    elif one != other:
        yield Difference(at, _words(one, other), _words(other, one))


def _words(value: object, beside: object) -> str:
    text = "absent" if value is None else json.dumps(value, sort_keys=True)
    if len(text) <= _LONG:
        return text
    if isinstance(value, list):
        differ = sum(a != b for a, b in zip(value, beside, strict=False)) if isinstance(beside, list) else len(value)
        return f"{len(value)} values, {differ} of them different"
    return text[: _LONG - 1] + "…"
