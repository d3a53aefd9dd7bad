"""The gate: is the candidate, on patients whom no training saw, not worse than the champion? Pass, fail or cannot tell.

Every criterion has three answers. It fails where the data show that the candidate is worse than allowed, it passes
where they show that it is not, and else it cannot tell: too few patients is never taken for no difference. The verdict
fails if one criterion fails, cannot tell if one cannot, and passes if all pass. Subgroups can fail it and are listed in
full; those that are too small to judge do not hold it up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gtr_batch.config import GovernanceConfig
from gtr_batch.governance import criteria as gate_criteria
from gtr_batch.governance.criteria import CANNOT_TELL, FAIL, PASS, Criterion, Paired
from gtr_batch.governance.performance import performance
from gtr_batch.metrics.noninferiority import exact_power, patients_for, patients_needed

DRAWS, SEED = 2000, 20251124


def judge(
    paired: Paired,
    settings: GovernanceConfig,
    *,
    shadow: Mapping[str, Any] | None = None,
    draws: int = DRAWS,
    seed: int = SEED,
) -> dict[str, Any]:
    """Judge a candidate against the champion.

    Parameters
    ----------
    paired : Paired
        Both models' answers on the sealed holdout.
    settings : GovernanceConfig
        Margins, caps and what is asked of the shadow.
    shadow : mapping, optional
        ``nights`` and ``cases`` that the candidate has staged in shadow, and ``errors``.
    draws, seed : int
        Of the patient-cluster bootstrap: the same answers give the same verdict.

    Returns
    -------
    dict
        JSON-able: ``verdict``, ``sentence``, ``criteria``, ``subgroups``, ``power``, ``models`` (both models' metrics),
        ``n``, ``patients``, ``draws``, ``seed``. No patient in it.
    """
    of_both = gate_criteria.redrawn(paired, draws, seed)
    drawn = of_both[:, 0] - of_both[:, 1]
    criteria = [
        gate_criteria.enough(paired, settings),
        gate_criteria.accuracy(paired, settings, drawn[:, gate_criteria.ACCURACY]),
        gate_criteria.kappa(paired, settings, drawn[:, gate_criteria.KAPPA]),
        *gate_criteria.calibration(paired, settings, drawn),
        gate_criteria.t4(paired, settings),
    ]
    if settings.shadow_nights or settings.shadow_cases:
        criteria.append(gate_criteria.shadow(settings, shadow or {}))
    subgroups = gate_criteria.subgroups(paired, settings)
    criteria.append(gate_criteria.of_subgroups(subgroups))
    verdict = _worst(c.verdict for c in criteria)
    told = [c.sentence for c in criteria if c.verdict == verdict] if verdict != PASS else []
    sentence = {
        PASS: "The candidate is not worse than the champion by any criterion of the gate.",
        FAIL: "The candidate is refused. " + " ".join(told),
        CANNOT_TELL: "The holdout cannot tell. " + " ".join(told),
    }[verdict]
    return {
        "verdict": verdict,
        "sentence": sentence,
        "n": len(paired.stages),
        "patients": len(np.unique(paired.subjects)),
        "criteria": [_json_of(c) for c in criteria],
        "subgroups": subgroups,
        "power": _power(paired, settings),
        "models": {
            "candidate": performance(paired.stages, paired.candidate, of_both[:, 0]),
            "champion": performance(paired.stages, paired.champion, of_both[:, 1]),
        },
        "draws": draws,
        "seed": seed,
    }


def _power(paired: Paired, settings: GovernanceConfig) -> dict[str, Any]:
    right, was = (a.votes == paired.stages for a in (paired.candidate, paired.champion))
    n = len(right)
    seen = float((right != was).mean()) if n else None
    margin, assumed = settings.accuracy_margin, settings.assumed_discordance
    by_formula, needed = patients_needed(margin, assumed), patients_for(margin, assumed)
    there = exact_power(by_formula, margin, assumed)
    power = exact_power(n, margin, assumed) if n else None
    known = f"{power:.0%}" if power is not None else "none"
    share = f"{seen:.1%}" if seen is not None else "none"
    return {
        "margin": margin,
        "assumed_discordance": assumed,
        "seen_discordance": seen,
        "patients": n,
        "needed": by_formula,
        "power_at_needed": there,
        "needed_by_rule": needed,
        "power": power,
        "sentence": (
            f"Where {assumed:.0%} of pairs differ and the models are equally good, {by_formula} patients show a margin "
            f"of {margin:g} with 90% power by the usual formula, {there:.0%} by the gate's own rule, which needs "
            f"{needed}; these {n} have {known}. Here {share} of pairs differ."
        ),
    }


def _worst(verdicts: Any) -> str:
    found = set(verdicts)
    return FAIL if FAIL in found else (CANNOT_TELL if CANNOT_TELL in found else PASS)


def _json_of(criterion: Criterion) -> dict[str, Any]:
    return {
        "name": criterion.name,
        "verdict": criterion.verdict,
        "sentence": criterion.sentence,
        "value": criterion.value,
        "low": criterion.low,
        "high": criterion.high,
        "limit": criterion.limit,
    }
