"""A training cohort: who, which series, which slices, which label, which split, and who was left out and why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from attrs import asdict, field, frozen

from gtr_batch.domain.clinical import Characteristics, Covariates, Differentiation, Lauren, Markers
from gtr_batch.domain.staging import KeySliceSource, TStage
from gtr_batch.errors import InputRefused


class Split(StrEnum):
    """Where a patient's slices may be used."""

    TRAIN = "train"
    VALIDATION = "validation"  # one part chooses the epoch; temperature, thresholds and nomogram are of the other
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
    slices: tuple[str, ...]
    key_slice_source: KeySliceSource
    label: TStage
    split: Split
    scanner: str
    study_on: date
    operated_on: date
    covariates: Covariates = field(factory=Covariates)
    sex: str = "unknown"
    age_years: int | None = None  # on the day of the study
    location: str | None = None  # lower | middle | upper third
    markers: Markers = field(factory=Markers)

    @property
    def characteristics(self) -> Characteristics:
        """What a table of patients says of this one."""
        return Characteristics(self.sex, self.age_years, self.location, self.covariates, self.markers)


@frozen
class Candidate:
    """One operated patient and, where there is one, a staged series of theirs, before anybody judged them.

    A patient comes once for each staged series, or once without. None: the EHR or the case book does not say.
    """

    subject: str
    operated_on: date
    reported_on: date | None = None
    classification: str | None = None  # "pT" | "ypT"
    t_category: str | None = None
    case_id: str = ""
    study_uid: str = ""
    series_uid: str = ""
    study_on: date | None = None
    slices: tuple[str, ...] = field(default=(), converter=tuple)
    key_slice_source: KeySliceSource | None = None
    scanner: str = ""
    treated_before_surgery: bool = False  # chemotherapy or radiotherapy between the CT and the operation
    covariates: Covariates = field(factory=Covariates)
    sex: str = "unknown"
    age_years: int | None = None
    location: str | None = None
    markers: Markers = field(factory=Markers)


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

    members: tuple[Member, ...] = field(repr=False)
    exclusions: tuple[Exclusion, ...] = field(repr=False)
    holdout_digest: str
    holdout_counts: Mapping[str, int]  # "T1": 12, …
    flow: Mapping[str, int]  # the boxes of the paper's Fig. 1, in order
    settings: Mapping[str, Any]
    digest: str
    table_1: Mapping[str, Any] = field(factory=dict, repr=False)  # of all splits; a cohort of before has none

    def of(self, split: Split) -> list[Member]:
        """The members of a split, in a stable order; ValueError for the holdout, which is sealed."""
        if split is Split.HOLDOUT:
            raise ValueError("the holdout is sealed: it is opened for a registered candidate only")
        return [m for m in self.members if m.split is split]

    def to_json(self) -> dict[str, Any]:
        """JSON-able; `from_json` reads it."""
        return {
            "digest": self.digest,
            "members": [member_json(m) for m in self.members],
            "exclusions": [asdict(e) for e in self.exclusions],
            "holdout_digest": self.holdout_digest,
            "holdout_counts": dict(self.holdout_counts),
            "flow": dict(self.flow),
            "settings": dict(self.settings),
            **({"table_1": dict(self.table_1)} if self.table_1 else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CohortManifest:
        """Read what `to_json` wrote.

        Raises
        ------
        InputRefused
            It is not what its digest says.
        """
        if value.get("digest") != digest_of({k: v for k, v in value.items() if k != "digest"}):
            raise InputRefused(f"cohort {str(value.get('digest'))[:12]} is not what its digest says; it was changed")
        return cls(
            members=tuple(member_from_json(m) for m in value["members"]),
            exclusions=tuple(Exclusion(**e) for e in value["exclusions"]),
            holdout_digest=value["holdout_digest"],
            holdout_counts=value["holdout_counts"],
            flow=value["flow"],
            settings=value["settings"],
            digest=value["digest"],
            table_1=value.get("table_1", {}),
        )


@frozen
class HoldoutOpening:
    """A sealed holdout was opened for a model: by whom, why and when."""

    model_version: str
    opened_by: str
    why: str
    opened_at: datetime


@frozen
class HoldoutLook:
    """A model looked at the sealed holdout of a cohort, however often."""

    digest: str
    model_version: str


def member_json(member: Member) -> dict[str, Any]:
    """A member as JSON-able values."""
    value = asdict(member)
    value |= {"study_on": str(member.study_on), "operated_on": str(member.operated_on), "slices": list(member.slices)}
    value |= {"label": str(member.label), "split": str(member.split)}
    value["key_slice_source"] = str(member.key_slice_source)
    value["covariates"] = {k: None if v is None else v for k, v in asdict(member.covariates).items()}
    if member.markers == Markers():  # as cohorts of before have it, whose digests stay
        del value["markers"]
    return value


def member_from_json(value: Mapping[str, Any]) -> Member:
    """Read what `member_json` wrote."""
    given = value["covariates"]
    return Member(
        **{
            **value,
            "slices": tuple(value["slices"]),
            "key_slice_source": KeySliceSource(value["key_slice_source"]),
            "label": TStage(value["label"]),
            "split": Split(value["split"]),
            "study_on": date.fromisoformat(value["study_on"]),
            "operated_on": date.fromisoformat(value["operated_on"]),
            "markers": Markers(**value.get("markers", {})),
            "covariates": Covariates(
                given["tumour_size_cm"],
                Differentiation(given["differentiation"]) if given["differentiation"] else None,
                Lauren(given["lauren"]) if given["lauren"] else None,
            ),
        }
    )


def digest_of(value: Any) -> str:
    """SHA-256 of canonical JSON: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
