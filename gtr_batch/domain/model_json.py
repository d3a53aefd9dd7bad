"""How what is kept of a model crosses into JSON and back: frozen classes as objects, days and times as text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

from cattrs import Converter
from cattrs.strategies import configure_union_passthrough

from gtr_batch.domain.governed_settings import SettingValue

T = TypeVar("T")


def to_json(value: object) -> Any:
    """JSON-able: frozen classes as objects with their fields' names, tuples as lists."""
    return _CONVERTER.unstructure(value)


def from_json(value: Any, kind: type[T]) -> T:
    """What `to_json` gave; what `kind` does not know is passed over, what is absent takes its default.

    Raises
    ------
    KeyError, TypeError, ValueError
        It is no such thing.
    """
    return _CONVERTER.structure(value, kind)


def _number(value: Any, _: object) -> float:
    """A whole number stays one: what is written again is what was read."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"not a number: {type(value).__name__}")
    return value


def _converter() -> Converter:
    made = Converter(detailed_validation=False, unstruct_collection_overrides={tuple: list, Mapping: dict})
    made.register_unstructure_hook(Path, str)
    made.register_unstructure_hook(date, str)
    made.register_unstructure_hook(datetime, str)
    made.register_structure_hook(date, lambda text, _: date.fromisoformat(text))
    made.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text))
    made.register_structure_hook(float, _number)
    configure_union_passthrough(SettingValue, made)
    return made


_CONVERTER = _converter()
