"""The nomogram's answer."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from gtr_batch.domain.staging import StageProbabilities


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
