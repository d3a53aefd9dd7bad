"""Step `nomogram`: rad-score and EHR covariates in; points and P(T1..T4) out."""

from gtr_batch.nomogram.drawing import nomogram_of
from gtr_batch.nomogram.inputs import NomogramInputs, parse_inputs
from gtr_batch.nomogram.rad_score import rad_score
from gtr_batch.nomogram.score import check_model, paper_table_3, score, score_as_json

__all__ = [
    "NomogramInputs",
    "check_model",
    "nomogram_of",
    "paper_table_3",
    "parse_inputs",
    "rad_score",
    "score",
    "score_as_json",
]
