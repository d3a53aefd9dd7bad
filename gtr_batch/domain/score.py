"""The nomogram's answer, and which of two answers counts."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from attrs import frozen

from gtr_batch.domain.staging import CaseStaging, StageProbabilities, TStage


@frozen
class NomogramScore:
    """Points and probabilities of one patient.

    `points` per predictor (``rad_score``, ``tumour_size``, ``differentiation``, ``lauren``) and ``total``, R `rms`
    convention. With missing covariates, `probabilities` are marginalised over the cohort's distribution and `low` /
    `high` are the smallest and largest P of each stage over the possible values; else they equal `probabilities`.
    """

    rad_score: float
    linear_predictor: float
    points: Mapping[str, float]
    probabilities: StageProbabilities
    low: tuple[float, float, float, float]
    high: tuple[float, float, float, float]
    missing: tuple[str, ...] = ()
    coefficients: str = ""  # which table: "champion", "paper-table-3", …
    rad_score_clipped: bool = False  # outside -3..3 SD, where the points axis ends
    is_primary: bool = False  # the site's answer is the nomogram's, where there is one


class AnswerSource(StrEnum):
    """Who answers (`report.primary`)."""

    NETWORK = "network"  # vote of the three slices, and their mean probabilities
    NOMOGRAM = "nomogram"  # its likeliest stage, and its probabilities


@frozen
class StageAnswer:
    """A stage with the probabilities behind it."""

    source: AnswerSource
    t_stage: TStage
    probabilities: StageProbabilities


@frozen
class CaseAnswers:
    """What counts, and what supports it; None where there is no other answer."""

    primary: StageAnswer
    supporting: StageAnswer | None


def answers_of(staging: CaseStaging, score: NomogramScore | None) -> CaseAnswers | None:
    """The network's and the nomogram's answer on a case, what counts apart from the other; None without a stage."""
    if staging.t_stage is None or staging.probabilities is None:
        return None
    network = StageAnswer(AnswerSource.NETWORK, staging.t_stage, staging.probabilities)
    if score is None:
        return CaseAnswers(network, None)
    nomogram = StageAnswer(AnswerSource.NOMOGRAM, score.probabilities.most_likely, score.probabilities)
    return CaseAnswers(nomogram, network) if score.is_primary else CaseAnswers(network, nomogram)
