"""What is fitted after the network: temperature, rad-score, nomogram, locator, conformal sets, reference for drift,
and when no stage is given.
"""

from gtr_batch.training.fit.abstention import fit_abstention
from gtr_batch.training.fit.locator import fit_locator
from gtr_batch.training.fit.nomogram import SIZE_AT_LEAST_CM, NomogramFit, fit_nomogram, fit_proportional_odds
from gtr_batch.training.fit.rad_score import fit_rad_score
from gtr_batch.training.fit.temperature import fit_temperature

__all__ = [
    "SIZE_AT_LEAST_CM",
    "NomogramFit",
    "fit_abstention",
    "fit_locator",
    "fit_nomogram",
    "fit_proportional_odds",
    "fit_rad_score",
    "fit_temperature",
]
