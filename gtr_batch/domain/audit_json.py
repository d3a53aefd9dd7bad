"""How the audit's values cross into JSON and back: days as text, probabilities as four numbers, features packed."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, TypeVar

import numpy as np
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.strategies import configure_union_passthrough

from gtr_batch.domain.audit import AuditCase
from gtr_batch.domain.staging import StageProbabilities

T = TypeVar("T")


def to_json(value: object) -> Any:
    """JSON-able: frozen classes as objects with their fields' names, tuples as lists."""
    return CONVERTER.unstructure(value)


def from_json(value: Any, kind: type[T]) -> T:
    """What `to_json` gave; `KeyError`, `TypeError` or `ValueError` where it is no such thing."""
    return CONVERTER.structure(value, kind)


def _packed(features: Sequence[float] | None) -> str | None:
    """Base64 of little-endian float32: a fifth of the text, at the precision that the network has."""
    return None if features is None else base64.b64encode(np.asarray(features, "<f4").tobytes()).decode()


def _unpacked(text: str | None, _: object) -> Sequence[float] | None:
    return None if text is None else array("f", np.frombuffer(base64.b64decode(text), "<f4").astype("=f4").tobytes())


def _converter() -> Converter:
    made = Converter(detailed_validation=False, unstruct_collection_overrides={tuple: list, Mapping: dict})
    made.register_unstructure_hook(date, str)
    made.register_structure_hook(date, lambda text, _: date.fromisoformat(text))
    made.register_unstructure_hook(datetime, str)
    made.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text))
    made.register_unstructure_hook(StageProbabilities, lambda four: list(four.values))
    made.register_structure_hook(StageProbabilities, lambda four, _: StageProbabilities(four))
    configure_union_passthrough(int | float | None, made)
    packed = override(unstruct_hook=_packed, struct_hook=_unpacked)
    made.register_unstructure_hook(AuditCase, make_dict_unstructure_fn(AuditCase, made, features=packed))
    made.register_structure_hook(
        AuditCase, make_dict_structure_fn(AuditCase, made, features=packed, _cattrs_forbid_extra_keys=True)
    )
    return made


CONVERTER = _converter()
