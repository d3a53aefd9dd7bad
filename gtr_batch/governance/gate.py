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
from gtr_batch.governance import criteria as rules
from gtr_batch.governance.criteria import CANNOT_TELL, FAIL, PASS, Answers, Criterion, Paired
from gtr_batch.metrics.calibration import at_least_t3, ece_null_95, ece_top, recalibration
from gtr_batch.metrics.classification import accuracy, auc, auc_intervals, confusion, kappa_of, rates
from gtr_batch.metrics.intervals import wilson
from gtr_batch.metrics.noninferiority import patients_needed, power_of
from gtr_batch.metrics.probability import brier, log_loss, rps
from gtr_batch.metrics.utility import treatment

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
    drawn = rules.redrawn(paired, draws, seed)
    criteria = [
        rules.enough(paired, settings),
        rules.accuracy(paired, settings, drawn[:, rules.ACCURACY]),
        rules.kappa(paired, settings, drawn[:, rules.KAPPA]),
        *rules.calibration(paired, settings, drawn),
        rules.t4(paired, settings),
    ]
    if settings.shadow_nights or settings.shadow_cases:
        criteria.append(rules.shadow(settings, shadow or {}))
    subgroups = rules.subgroups(paired, settings)
    criteria.append(rules.of_subgroups(subgroups))
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
        "criteria": [_plain(c) for c in criteria],
        "subgroups": subgroups,
        "power": _power(paired, settings),
        "models": {"candidate": _metrics(paired, paired.candidate), "champion": _metrics(paired, paired.champion)},
        "draws": draws,
        "seed": seed,
    }


def _power(paired: Paired, settings: GovernanceConfig) -> dict[str, Any]:
    right, was = (a.votes == paired.stages for a in (paired.candidate, paired.champion))
    n = len(right)
    seen = float((right != was).mean()) if n else None
    margin, assumed = settings.accuracy_margin, settings.assumed_discordance
    needed = patients_needed(margin, assumed)
    power = power_of(n, margin, assumed)
    known = f"{power:.2f}" if power is not None else "none"
    share = f"{seen:.1%}" if seen is not None else "none"
    return {
        "margin": margin,
        "assumed_discordance": assumed,
        "seen_discordance": seen,
        "patients": n,
        "needed": needed,
        "power": power,
        "sentence": (
            f"{needed} patients would show a margin of {margin:g} with 90% power where {assumed:.0%} of pairs differ "
            f"and the models are equally good; these {n} have a power of {known}. Here {share} of pairs differ."
        ),
    }


def _metrics(paired: Paired, answers: Answers) -> dict[str, Any]:
    labels, p = paired.stages, answers.probabilities
    table = confusion(labels, answers.votes)
    n = len(labels)
    line = recalibration(*at_least_t3(labels, p)) if n else None
    positive, _ = at_least_t3(labels, p)
    use = treatment(positive, answers.votes >= 2)
    return {
        "n": n,
        "accuracy": accuracy(labels, answers.votes),
        "accuracy_ci": wilson(int((answers.votes == labels).sum()), n),
        "quadratic_kappa": kappa_of(table),
        "confusion": table.tolist(),
        "auc": auc(labels, p) if n else None,
        "auc_ci": auc_intervals(labels, p) if n else None,
        **rates(table),
        "rps": rps(labels, p),
        "brier": brier(labels, p),
        "log_loss": log_loss(labels, p),
        "ece": ece_top(labels, p),
        "ece_null_95": ece_null_95(p),
        "calibration": None if line is None else line.to_json(),
        "over_treatment": use.over,
        "under_treatment": use.under,
        "nnt": use.nnt,
    }


def _worst(verdicts: Any) -> str:
    found = set(verdicts)
    return FAIL if FAIL in found else (CANNOT_TELL if CANNOT_TELL in found else PASS)


def _plain(criterion: Criterion) -> dict[str, Any]:
    return {
        "name": criterion.name,
        "verdict": criterion.verdict,
        "sentence": criterion.sentence,
        "value": criterion.value,
        "low": criterion.low,
        "high": criterion.high,
        "limit": criterion.limit,
    }
