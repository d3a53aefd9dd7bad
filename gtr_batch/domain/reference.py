"""What an artefact says of the patients that it was made on: distributions that the monitors compare with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import field, frozen

from gtr_batch.domain.audit_json import CONVERTER, from_json

T = TypeVar("T")


@frozen
class ReferenceFeatures:
    """Penultimate features of key slices: `mean` and `scale` (D,), `components` (16, D) and a `sample` (patients, 16).

    `held_out`: the sample's patients did not make the components; then weeks may be compared with them.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    components: tuple[tuple[float, ...], ...]
    sample: tuple[tuple[float, ...], ...] = ()
    held_out: bool = False


@frozen
class ReferenceOutput:
    """Shares of the likeliest stages, T1 to T4."""

    t_stage: tuple[float, ...] = ()


@frozen
class Reference:
    """Distributions over `n` patients; what an artefact does not hold is empty, and what cannot be read is not held.

    `headers`: name -> value -> share; `quality`: measure -> its quantiles at `levels`, in its unit.
    """

    n: int = 0
    features: ReferenceFeatures | None = field(default=None, repr=False)
    headers: Mapping[str, Mapping[str, float]] = field(factory=dict, repr=False)
    quality: Mapping[str, tuple[float, ...] | None] = field(factory=dict, repr=False)
    levels: tuple[float, ...] = ()
    output: ReferenceOutput = field(factory=ReferenceOutput)
    disagreement_share: float | None = None

    @classmethod
    def read(cls, value: Mapping[str, Any] | None) -> Reference:
        """From a manifest, also one of an older release, whose reference may lack parts or hold others."""
        given, n = value or {}, (value or {}).get("n")
        return cls(
            n=n if isinstance(n, int) and not isinstance(n, bool) else 0,
            features=_part(given, "features", ReferenceFeatures, None),
            headers=_part(given, "headers", Mapping[str, Mapping[str, float]], {}),
            quality=_part(given, "quality", Mapping[str, tuple[float, ...] | None], {}),
            levels=_part(given, "levels", tuple[float, ...], ()),
            output=_part(given, "output", ReferenceOutput, ReferenceOutput()),
            disagreement_share=_part(given, "disagreement_share", float, None),
        )

    @property
    def is_empty(self) -> bool:
        """Whether the artefact holds none at all."""
        return self == Reference()


def _part(given: Mapping[str, Any], name: str, kind: Any, otherwise: Any) -> Any:
    if given.get(name) is None or isinstance(given[name], bool):
        return otherwise
    try:
        return from_json(given[name], kind)
    except (KeyError, TypeError, ValueError, AttributeError):
        return otherwise


CONVERTER.register_structure_hook(Reference, lambda value, _: Reference.read(value))
