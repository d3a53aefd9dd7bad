"""What preprocess hands on: where the three slices lie in the source series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from attrs import field, frozen

from gtr_batch.domain.staging import Flag, KeySliceSource, TStage

ROLES = ("below", "key", "above")


@frozen
class PreparedGeometry:
    """Geometry from the network's square grid back to the source pixels, the same for the three slices.

    Network pixel ``(i, j)`` (centres) lies at source pixel ``row = row_origin + row_step * i``,
    ``column = column_origin + column_step * j`` (0-based, centres). Slices in the order below, key, above along the
    normal; where the key slice is the first or last of the series its one neighbour is used twice.

    `flags`: what a reader must know of how the key slice was chosen; `apart_mm`: how far the furthest other mark lies
    from it along the normal; `nearby`: the stages that the slices near an automatic key slice would be given as such.
    """

    source_rows: int
    source_columns: int
    row_origin: float
    row_step: float
    column_origin: float
    column_step: float
    size: int
    sop_instance_uids: tuple[str, str, str] = field(converter=tuple)
    positions_mm: tuple[float, float, float] = field(converter=tuple)
    key_slice_source: KeySliceSource = field(converter=KeySliceSource)
    flags: tuple[Flag, ...] = field(default=(), converter=lambda flags: tuple(Flag(f) for f in flags))
    apart_mm: float = 0.0
    nearby: tuple[TStage, ...] = field(default=(), converter=lambda stages: tuple(TStage(s) for s in stages))
    facts: Mapping[str, Any] = field(
        factory=dict
    )  # what the drift monitor will want: spacing, thickness, N4 iterations …

    def to_json(self) -> dict[str, Any]:
        """Plain JSON-able dict."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PreparedGeometry:
        """What `to_json` wrote."""
        return cls(**value)
