"""Values that a person typed, checked once and named when they are nonsense."""

from __future__ import annotations

import math
from typing import cast

from attrs import frozen

from gtr_batch.domain.clinical import Covariates, Differentiation, Lauren, parse_choice
from gtr_batch.errors import InputRefused


@frozen
class NomogramInputs:
    """What the nomogram is computed from."""

    rad_score: float
    covariates: Covariates


def parse_inputs(
    size_cm: float | str | None,
    differentiation: str | None,
    lauren: str | None,
    rad_score: float | str,
) -> NomogramInputs:
    """Check typed values.

    Parameters
    ----------
    size_cm : float, str or None
        Largest tumour diameter, cm; None or empty where it is not known.
    differentiation, lauren : str or None
        ``well``, ``moderate``, ``poor``; ``intestinal``, ``diffuse``, ``mixed``; None or empty where not known.
    rad_score : float or str
        In SD of the training cohort.

    Raises
    ------
    InputRefused
        Names the input, its value and what would be possible.
    """
    score = _number(rad_score, "rad-score")
    if score is None or not math.isfinite(score):
        raise InputRefused(f"rad-score {rad_score!r} is not possible: a finite number, in SD of the training cohort")
    covariates = Covariates(
        tumour_size_cm=_number(size_cm, "tumour size (cm)"),
        differentiation=cast(Differentiation | None, parse_choice(Differentiation, differentiation, "differentiation")),
        lauren=cast(Lauren | None, parse_choice(Lauren, lauren, "Lauren type")),
    )
    return NomogramInputs(score, covariates)


def _number(value: float | str | None, what: str) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputRefused(f"{what} {value!r} is not a number") from None
