"""A replay: each case's answer before and after, what is kept of it by digest, and who let it go to the PACS."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import asdict, field, frozen


@frozen
class CaseAnswer:
    """What a model says of a case; probabilities of T1 to T4 to six digits: what differs beyond differs by machine.

    `t_stage` is the one that counts, that of `primary`; `probabilities` are the network's.
    """

    t_stage: str  # "T1" to "T4"; or "not staged: " and the code of why, without probabilities
    probabilities: tuple[float, ...]
    nomogram: tuple[float, ...] | None
    key_slice_source: str
    slices: tuple[str, ...]  # SOP Instance UIDs: below, key, above
    flags: tuple[str, ...]
    model_version: str
    stage_set: str | None = None
    primary: str = "network"  # | "nomogram"


@frozen
class ComparedCase:
    """A case with the answer that it carries and the replay's; None where there is none, `error` then says why."""

    case_id: str
    night: str
    before: CaseAnswer | None
    after: CaseAnswer | None
    error: str | None

    @property
    def changed(self) -> bool:
        """Whether the stage is another, or one of the two has none."""
        return (self.before and self.before.t_stage) != (self.after and self.after.t_stage)


@frozen
class Comparison:
    """Replayed cases beside what they carry; `agreement` as `gtr_batch.metrics.agreement` gives it.

    `digest` is over the model and every answer after: approving it approves those answers and no others.
    """

    digest: str
    model_version: str
    cases: tuple[ComparedCase, ...]
    changed: tuple[str, ...]
    agreement: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """JSON-able, as it is kept and printed."""
        return asdict(self)


@frozen
class Redelivered:
    """What became of the cases of an approved comparison: delivered, or failed with a sentence."""

    digest: str
    delivered: tuple[str, ...]
    failed: Mapping[str, str]


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
