"""One case as the audit sees it: what was staged, what is known of the scan, and what pathology said later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import Any

import numpy as np
from attrs import field, frozen

from gtr_batch.domain.clinical import Characteristics, Covariates, Differentiation, Lauren, Markers
from gtr_batch.domain.staging import StageProbabilities, StageSet, TStage


class Classification(StrEnum):
    """Pathology before any treatment (pT) or after neoadjuvant treatment (ypT); never mixed."""

    PT = "pT"
    YPT = "ypT"


@frozen
class Surgery:
    """The first operation after the staged CT. Not reported yet: `reported_on` and what follows are None."""

    operated_on: date
    reported_on: date | None = None
    classification: Classification | None = None
    t_category: str | None = None  # as pathology wrote it: T0, Tis, T1a, ..., T4b
    t_stage: TStage | None = None  # None for T0 and Tis


@frozen
class Read:
    """What people said of the study."""

    read_on: date
    radiologist_ct: TStage | None = None
    endosonographer_ut: TStage | None = None
    with_ai: bool | None = None  # read on or after the day that the AI result was delivered; None: cannot be told


@frozen
class ConsoleReading:
    """What one reader said of the result that a case carries; with the days on which they did.

    `ai_stage` is the stage that the page shows; `own_stage` what the reader gave before it was shown to them; `said`
    their stage by the word that holds, the AI's where they agree. None: they gave none.
    """

    ai_stage: TStage
    own_stage: TStage | None = None
    own_on: date | None = None
    said: TStage | None = None
    said_on: date | None = None

    def known_by(self, day: date) -> ConsoleReading | None:
        """What was said by the end of a day; None where nothing was."""
        own = self.own_on is not None and self.own_on <= day
        said = self.said_on is not None and self.said_on <= day
        if not own and not said:
            return None
        return ConsoleReading(
            self.ai_stage,
            self.own_stage if own else None,
            self.own_on if own else None,
            self.said if said else None,
            self.said_on if said else None,
        )


@frozen
class AuditCase:
    """A case that a model staged, or that was refused. Nothing in it names a person.

    `facts` are the series' as validation measured them, under the names of `gtr_batch.domain.series_fact`; empty where
    intake refused the study.
    """

    case_id: str
    subject: str  # keyed digest of the patient
    night: date
    study_on: date
    model_version: str = ""
    refusal: str = ""  # code; empty: staged
    failed: bool = False  # neither staged nor refused: it broke
    t_stage: TStage | None = None  # the vote; None also where the model gave none, then `not_staged` says why
    not_staged: str = ""  # code of an abstention
    probabilities: StageProbabilities | None = None  # mean calibrated
    slice_stages: tuple[TStage, ...] = ()  # below, key, above
    flags: tuple[str, ...] = ()
    key_slice_source: str = ""
    nomogram: StageProbabilities | None = None
    stage_set: StageSet | None = None  # as it was reported
    # Penultimate, of the key slice; read from book and file as an `array` of float32, an eighth of a tuple's memory.
    features: Sequence[float] | None = field(default=None, repr=False, eq=lambda given: given and tuple(given))
    facts: Mapping[str, Any] = field(factory=dict, repr=False)
    sex: str = "unknown"  # female | male | other | unknown
    age_years: int | None = None
    location: str | None = None  # lower | middle | upper third of the stomach
    differentiation: str | None = None
    lauren: str | None = None
    tumour_size_cm: float | None = None
    markers: Markers = field(factory=Markers)
    delivered_on: date | None = None
    surgery: Surgery | None = None
    read: Read | None = None
    readings: tuple[ConsoleReading, ...] = ()  # one a reader

    @property
    def month(self) -> str:
        """Staging month, ``2026-03``."""
        return f"{self.night:%Y-%m}"

    @property
    def characteristics(self) -> Characteristics:
        """What a table of patients says of this one."""
        covariates = Covariates(
            self.tumour_size_cm,
            Differentiation(self.differentiation) if self.differentiation else None,
            Lauren(self.lauren) if self.lauren else None,
        )
        return Characteristics(self.sex, self.age_years, self.location, covariates, self.markers)

    def pathology(self, until: date, kind: Classification = Classification.PT) -> TStage | None:
        """The pathological stage of one kind, as far as it had been reported by the end of `until`."""
        surgery = self.surgery
        if surgery is None or surgery.classification is not kind or surgery.reported_on is None:
            return None
        return surgery.t_stage if surgery.reported_on <= until else None


def probability_rows(found: Iterable[StageProbabilities | None]) -> np.ndarray:
    """Probabilities of several cases, for arithmetic: (n, 4), a row of not-a-numbers where there are none."""
    rows = [(np.nan,) * 4 if one is None else one.values for one in found]
    return np.array(rows, float).reshape(-1, 4)
