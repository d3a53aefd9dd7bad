"""The nomogram: proportional odds, ``P(T <= j) = sigmoid(threshold_j - lp)``, and its points.

Points follow R's `rms::nomogram`. Each predictor has an axis over a declared range: the rad-score from -3 to 3 SD, the
others over their levels. The predictor whose effect on the linear predictor spans most gets 0 to 100 points; the
others get points in the same proportion; each axis has 0 points at its least effect. So ``lp`` is a straight line of
the total. (With Table 3 the rad-score spans most: 0.87 x 6 = 5.22; its axis is the 0 to 100 one.) Outside -3..3 SD
the points stay at the end of the axis and the answer is marked as clipped; lp and probabilities are not clipped.

A covariate that is missing is marginalised over the shares of its levels in ``NomogramModel.distribution``, which has,
for ``tumour_size``, the levels ``below`` and ``at_least`` (of `size_at_least_cm`), for ``differentiation`` and
``lauren`` their own; covariates are taken as independent. Probabilities are the weighted means, and so are points and
lp; `low` and `high` are the smallest and largest P of each stage over the possible values.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from gtr_batch.domain.clinical import Covariates, Differentiation, Lauren
from gtr_batch.domain.model import PAPER_TABLE_3, NomogramModel
from gtr_batch.domain.score import NomogramScore
from gtr_batch.domain.staging import STAGES, StageProbabilities
from gtr_batch.errors import InputRefused, ModelArtefactError

RAD_AXIS_SD = (-3.0, 3.0)
BELOW, AT_LEAST = "below", "at_least"

Effects = dict[str, dict[str, float]]  # predictor -> level -> share of the linear predictor


def score(model: NomogramModel, rad_score: float, covariates: Covariates) -> NomogramScore:
    """Points and P(T1..T4) of one patient.

    Parameters
    ----------
    model : NomogramModel
        Coefficients, thresholds and the cohort's shares.
    rad_score : float
        In SD of the training cohort.
    covariates : Covariates
        None where not known.

    Raises
    ------
    ModelArtefactError
        An impossible model (see `check_model`), or no shares for a covariate that is missing.
    InputRefused
        A rad-score that is not finite.
    """
    check_model(model)
    if not math.isfinite(rad_score):
        raise InputRefused(f"rad-score {rad_score} is not possible: a finite number, in SD of the training cohort")
    effects = _effects(model)
    known = _known(model, covariates)
    missing = tuple(name for name, level in known.items() if level is None)
    shares = {
        name: {level: 1.0} if level is not None else _shares(model, name, effects[name])
        for name, level in known.items()
    }

    lp, mean, low, high = 0.0, [0.0] * 4, [1.0] * 4, [0.0] * 4
    for levels in itertools.product(*(s.items() for s in shares.values())):
        weight = math.prod(share for _, share in levels)
        here = model.rad_score * rad_score + sum(effects[n][lv] for n, (lv, _) in zip(shares, levels, strict=True))
        p = stage_probabilities(here, model.thresholds)
        lp += weight * here
        mean = [m + weight * x for m, x in zip(mean, p, strict=True)]
        low, high = [min(pair) for pair in zip(low, p, strict=True)], [max(pair) for pair in zip(high, p, strict=True)]
    if not missing:
        low = high = mean

    return NomogramScore(
        rad_score=rad_score,
        linear_predictor=lp,
        points=_points(model, rad_score, shares),
        probabilities=StageProbabilities((mean[0], mean[1], mean[2], mean[3])),
        low=(low[0], low[1], low[2], low[3]),
        high=(high[0], high[1], high[2], high[3]),
        missing=missing,
        coefficients=model.name,
        rad_score_clipped=not RAD_AXIS_SD[0] <= rad_score <= RAD_AXIS_SD[1],
    )


def stage_probabilities(lp: float, thresholds: tuple[float, float, float]) -> tuple[float, float, float, float]:
    """P(T1), …, P(T4) from ``P(T <= j) = sigmoid(thresholds[j] - lp)``."""
    a, b, c = (_sigmoid(t - lp) for t in thresholds)
    return a, max(0.0, b - a), max(0.0, c - b), _sigmoid(lp - thresholds[2])


def check_model(model: NomogramModel) -> None:
    """Refuse a nomogram whose answers could not be probabilities.

    Raises
    ------
    ModelArtefactError
        Thresholds that do not rise, a coefficient that is not finite, a level without coefficient or of another name,
        no named reference level (coefficient 0), shares that are negative or sum to 0, no effect at all.
    """
    try:
        _check(model)
    except TypeError as err:
        raise ModelArtefactError(f"nomogram {model.name!r}: a value is not a number: {err}") from err


def _check(model: NomogramModel) -> None:
    def need(holds: bool, field: str, why: str) -> None:
        if not holds:
            raise ModelArtefactError(f"nomogram {model.name!r}: {field} {why}")

    t = model.thresholds
    need(len(t) == 3 and all(map(math.isfinite, t)), "thresholds", f"are not three finite numbers: {list(t)}")
    need(t[0] < t[1] < t[2], "thresholds", f"do not rise: {list(t)}; cumulative probabilities would not be monotone")
    need(
        math.isfinite(model.size_at_least_cm) and model.size_at_least_cm > 0,
        "size_at_least_cm",
        f"is {model.size_at_least_cm}, not above 0",
    )
    need(math.isfinite(model.rad_score), "rad_score", f"is {model.rad_score}")
    need(math.isfinite(model.tumour_size), "tumour_size", f"is {model.tumour_size}")
    for field, given, kind in (
        ("differentiation", model.differentiation, Differentiation),
        ("lauren", model.lauren, Lauren),
    ):
        need(set(given) == set(kind), field, f"has levels {sorted(given)}, not {sorted(kind)}")
        need(all(math.isfinite(c) for c in given.values()), field, "holds a coefficient that is not finite")
        need(0.0 in given.values(), field, "has no reference level (coefficient 0)")
    effects = _effects(model)
    for name, shares in model.distribution.items():
        need(name in effects, "distribution", f"has an unknown covariate {name!r}; known: {', '.join(effects)}")
        need(set(shares) <= set(effects[name]), f"distribution.{name}", f"has levels {sorted(shares)}")
        fine = all(math.isfinite(s) and s >= 0 for s in shares.values()) and sum(shares.values()) > 0
        need(fine, f"distribution.{name}", f"is not a set of shares: {dict(shares)}")
    need(_largest_span(model) > 0, "coefficients", "are all 0")


def paper_table_3() -> NomogramModel:
    """The paper's Table 3 with the shares of its Table 1 (training, n = 953).

    Table 1 gives tumour size as mean and SD only (3.86 +/- 2.42 cm). The share of tumours of 5 cm and more, 319 of
    1192, is counted in the clinical table that the authors published, training and internal test together (3.85 +/-
    2.42 cm).
    """
    return NomogramModel(
        name=PAPER_TABLE_3,
        rad_score=0.87,
        tumour_size=0.69,
        size_at_least_cm=5.0,
        differentiation={"well": 0.0, "moderate": 0.22, "poor": 1.15},
        lauren={"intestinal": 0.0, "diffuse": 1.06, "mixed": -0.08},
        thresholds=(-3.20, -1.17, 1.24),  # type: ignore[arg-type]  # mypy cannot see through attrs' converter=tuple
        distribution={
            "tumour_size": {BELOW: 873 / 1192, AT_LEAST: 319 / 1192},
            "differentiation": {"well": 116 / 953, "moderate": 343 / 953, "poor": 494 / 953},
            "lauren": {"intestinal": 360 / 953, "diffuse": 319 / 953, "mixed": 274 / 953},
        },
        note=(
            "Coefficients of the paper's Table 3, an arithmetic fixture and not fitted on this hospital's patients. "
            "Reference levels: smaller than 5 cm, well differentiated, intestinal. Shares: Table 1, training; the "
            "share of 5 cm and more is that of the authors' published clinical table (319 of 1192 rows)."
        ),
    )


def score_as_json(answer: NomogramScore) -> dict[str, Any]:
    """A plain dict for ``gtr nomogram --json``."""

    def by_stage(values: tuple[float, ...]) -> dict[str, float]:
        return {str(stage): value for stage, value in zip(STAGES, values, strict=True)}

    return {
        "coefficients": answer.coefficients,
        "rad_score": answer.rad_score,
        "rad_score_clipped": answer.rad_score_clipped,
        "linear_predictor": answer.linear_predictor,
        "points": dict(answer.points),
        "probabilities": by_stage(answer.probabilities.values),
        "low": by_stage(answer.low),
        "high": by_stage(answer.high),
        "missing": list(answer.missing),
    }


def _effects(model: NomogramModel) -> Effects:
    return {
        "tumour_size": {BELOW: 0.0, AT_LEAST: model.tumour_size},
        "differentiation": dict(model.differentiation),
        "lauren": dict(model.lauren),
    }


def _known(model: NomogramModel, covariates: Covariates) -> dict[str, str | None]:
    size = covariates.tumour_size_cm
    return {
        "tumour_size": None if size is None else AT_LEAST if size >= model.size_at_least_cm else BELOW,
        "differentiation": covariates.differentiation,
        "lauren": covariates.lauren,
    }


def _shares(model: NomogramModel, name: str, levels: Mapping[str, float]) -> dict[str, float]:
    given = model.distribution.get(name)
    if not given:
        raise ModelArtefactError(f"nomogram {model.name!r}: distribution.{name} is absent, and {name} is missing")
    total = sum(given.values())
    return {level: given.get(level, 0.0) / total for level in levels}


def _largest_span(model: NomogramModel) -> float:
    rad = abs(model.rad_score) * (RAD_AXIS_SD[1] - RAD_AXIS_SD[0])
    return max(rad, *(max(e.values()) - min(e.values()) for e in _effects(model).values()))


def _points(model: NomogramModel, rad_score: float, shares: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    a_point = _largest_span(model) / 100
    ends = [model.rad_score * end for end in RAD_AXIS_SD]
    on_axis = min(max(rad_score, RAD_AXIS_SD[0]), RAD_AXIS_SD[1])
    points = {"rad_score": (model.rad_score * on_axis - min(ends)) / a_point}
    for name, effect in _effects(model).items():
        expected = sum(share * effect[level] for level, share in shares[name].items())
        points[name] = (expected - min(effect.values())) / a_point
    return points | {"total": sum(points.values())}


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
