"""A training cohort: who, which series, which slices, which label, which split, and who was left out and why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from typing import Any

from attrs import field, frozen

from gtr_batch.domain.clinical import Covariates
from gtr_batch.domain.staging import KeySliceSource, TStage


class Split(StrEnum):
    """Where a patient's slices may be used."""

    TRAIN = "train"
    VALIDATION = "validation"  # chooses the epoch, the temperature, the conformal thresholds
    HOLDOUT = "holdout"  # sealed: opened only for a registered candidate, and every opening is a row


@frozen
class Member:
    """One patient of a cohort, with one staged series.

    `subject` is a keyed digest of the PatientID (the key never leaves the database); `label` the pathological stage of
    the resected tumour (pT); `slices` the SOP Instance UIDs below, key, above.
    """

    subject: str
    case_id: str
    study_uid: str
    series_uid: str
    slices: tuple[str, str, str] = field(converter=tuple)
    key_slice_source: KeySliceSource
    label: TStage
    split: Split
    scanner: str
    study_on: date
    operated_on: date
    covariates: Covariates = field(factory=Covariates)


@frozen
class Exclusion:
    """A patient, or a staged series, that is not in the cohort, with a coded reason."""

    subject: str
    case_id: str
    code: str
    sentence: str


@frozen
class CohortManifest:
    """A frozen cohort as training sees it: train and validation members; of the holdout only how many of each stage.

    `digest` is the SHA-256 of the canonical JSON of all else, the sealed members' own digest included.
    """

    members: tuple[Member, ...] = field(converter=tuple, repr=False)
    exclusions: tuple[Exclusion, ...] = field(converter=tuple, repr=False)
    holdout_digest: str
    holdout_counts: Mapping[str, int]  # "T1": 12, …
    flow: Mapping[str, int]  # the boxes of the paper's Fig. 1, in order
    settings: Mapping[str, Any]
    digest: str

    def of(self, split: Split) -> list[Member]:
        """The members of a split, in a stable order; ValueError for the holdout, which is sealed."""
        if split is Split.HOLDOUT:
            raise ValueError("the holdout is sealed: it is opened for a registered candidate only")
        return [m for m in self.members if m.split is split]


def digest_of(value: Any) -> str:
    """SHA-256 of canonical JSON: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
