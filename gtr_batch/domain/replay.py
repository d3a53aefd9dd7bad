"""What is kept of a replay: its comparison, by digest, and who let its results go to the PACS."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import field, frozen


@frozen
class KeptComparison:
    """A comparison as it is kept; `case_ids` are those that were replayed, of these `nights`.

    `comparison` is the document that the person was shown (`gtr_batch.governance.restage.compare`).
    """

    digest: str
    model_version: str
    nights: tuple[str, ...] = field(converter=tuple)
    case_ids: tuple[str, ...] = field(converter=tuple)
    comparison: Mapping[str, Any] = field(repr=False)
    made_at: datetime


@frozen
class ReplayApproval:
    """A person let the results of a replay go to the PACS."""

    by_whom: str
    why: str
    at: datetime
