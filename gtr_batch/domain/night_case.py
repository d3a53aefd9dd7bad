"""A case of a night as people are shown it: where it ended, what was said of it, and why where nothing was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from gtr_batch.domain.abstention import AbstentionCode
from gtr_batch.domain.case import CaseState
from gtr_batch.domain.refusal import RefusalCode
from gtr_batch.domain.score import AnswerSource, StageAnswer
from gtr_batch.domain.staging import Flag, KeySliceSource, StageProbabilities, StageSet, TStage


@frozen
class NightCase:
    """One case; no PHI.

    `t_stage` and `probabilities` are those that count, the answer of `primary`; `supporting` is the other answer where
    there is one. `points`: the nomogram's, by predictor. `reason`: why it was refused, failed or held back, or why it
    has no stage (`not_staged`); empty where it was not.
    """

    case_id: str
    study_uid: str
    series_uid: str
    state: CaseState
    reached: CaseState
    t_stage: TStage | None = None
    probabilities: StageProbabilities | None = None
    stage_set: StageSet | None = None
    primary: AnswerSource | None = None
    supporting: StageAnswer | None = None
    points: Mapping[str, float] | None = None
    key_slice_source: KeySliceSource | None = None
    flags: tuple[Flag, ...] = ()
    model_version: str | None = None
    refusal: RefusalCode | None = None
    reason: str = ""
    not_staged: AbstentionCode | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-able, as `gtr status --json` prints it."""
        return {
            "case_id": self.case_id,
            "study_uid": self.study_uid,
            "series_uid": self.series_uid,
            "state": str(self.state),
            "reached": str(self.reached),
            "t_stage": self.t_stage and str(self.t_stage),
            "probabilities": self.probabilities and list(self.probabilities.values),
            "stage_set": self.stage_set and str(self.stage_set),
            "primary": self.primary and str(self.primary),
            "supporting": self.supporting
            and {
                "source": str(self.supporting.source),
                "t_stage": str(self.supporting.t_stage),
                "probabilities": list(self.supporting.probabilities.values),
            },
            "points": None if self.points is None else dict(self.points),
            "key_slice_source": self.key_slice_source and str(self.key_slice_source),
            "flags": [str(flag) for flag in self.flags],
            "model_version": self.model_version,
            "refusal": self.refusal and str(self.refusal),
            "reason": self.reason,
            "not_staged": self.not_staged and str(self.not_staged),
        }
