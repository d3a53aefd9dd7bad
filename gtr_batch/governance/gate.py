"""The gate: is the candidate, on patients whom no training saw, not worse than the champion? Pass, fail or cannot tell.

Every criterion has three answers. It fails where the data show that the candidate is worse than allowed, it passes
where they show that it is not, and else it cannot tell: too few patients is never taken for no difference. The verdict
fails if one criterion fails, cannot tell if one cannot, and passes if all pass. Subgroups can fail it and are listed in
full; those that are too small to judge do not hold it up.
"""

from __future__ import annotations

import math

import numpy as np

from gtr_batch.config import AuditConfig, GovernanceConfig
from gtr_batch.domain.gate import Both, GateCriterion, Judgement, Look, Power
from gtr_batch.domain.shadow import ShadowCount
from gtr_batch.governance import criteria
from gtr_batch.governance.best_champion import best_champion
from gtr_batch.governance.criteria import CANNOT_TELL, FAIL, PASS, Paired, worst
from gtr_batch.governance.performance import performance
from gtr_batch.metrics.noninferiority import ALPHA, exact_power, patients_for, patients_needed

DRAWS, MOST_DRAWS, SEED = 2000, 20_000, 20251124


def judge(
    paired: Paired,
    settings: GovernanceConfig,
    *,
    shadow: ShadowCount | None = None,
    tolerated_odds_ratio: float = AuditConfig().tolerated_odds_ratio,
    look: Look | None = None,
    draws: int | None = None,
    seed: int = SEED,
) -> Judgement:
    """Judge a candidate against the champion.

    Parameters
    ----------
    paired : Paired
        Both models' answers on the sealed holdout, and those of earlier champions.
    settings : GovernanceConfig
        Margins, caps and what is asked of the shadow.
    shadow : ShadowCount, optional
        How long the candidate has staged in shadow.
    tolerated_odds_ratio : float
        Of pathology against the probabilities: `audit.tolerated_odds_ratio`, which the monitor has, too.
    look : Look, optional
        At a sealed holdout: the level that it leaves. None: the patients are not sealed, and the level is 5%.
    draws, seed : int
        Of the patient-cluster bootstrap: the same answers give the same verdict. Default: 2000, or as many more as the
        level of the look needs.

    Returns
    -------
    Judgement
        No patient in it.
    """
    level = look.level if look else ALPHA
    draws = draws or draws_for(level)
    of_both = criteria.redrawn(paired, draws, seed)
    subgroups = criteria.subgroups(paired, settings)
    found = criteria_of(paired, settings, of_both, tolerated_odds_ratio=tolerated_odds_ratio, level=level, seed=seed)
    if settings.shadow_nights or settings.shadow_cases:
        found.append(criteria.shadow(settings, shadow or ShadowCount()))
    found.append(criteria.of_subgroups(subgroups))
    verdict = worst(c.verdict for c in found)
    reasons = " ".join(c.sentence for c in found if c.verdict is verdict)
    sentence = {
        PASS: "The candidate is not worse than the champion by any criterion of the gate.",
        FAIL: f"The candidate is refused. {reasons}",
        CANNOT_TELL: f"The holdout cannot tell. {reasons}",
    }[verdict]
    return Judgement(
        verdict=verdict,
        sentence=sentence,
        n=len(paired.stages),
        patients=len(np.unique(paired.subjects)),
        criteria=tuple(found),
        subgroups=tuple(subgroups),
        power=_power(paired, settings, level),
        models=Both(
            candidate=performance(paired.stages, paired.candidate, of_both[:, 0]),
            champion=performance(paired.stages, paired.champion, of_both[:, 1]),
        ),
        draws=draws,
        seed=seed,
        look=look,
    )


def draws_for(level: float) -> int:
    """So many that ten or more lie beyond a bound at this level."""
    return min(max(DRAWS, math.ceil(10 / level)), MOST_DRAWS)


def criteria_of(
    paired: Paired,
    settings: GovernanceConfig,
    of_both: np.ndarray,
    *,
    tolerated_odds_ratio: float = AuditConfig().tolerated_odds_ratio,
    level: float = ALPHA,
    seed: int = SEED,
) -> list[GateCriterion]:
    """The criteria that rest on all patients of the holdout; `of_both`: `gtr_batch.governance.criteria.redrawn`."""
    drawn = of_both[:, 0] - of_both[:, 1]
    best = best_champion(paired, settings, level=level, draws=len(drawn), seed=seed)
    return [
        criteria.enough(paired, settings),
        criteria.accuracy(paired, settings, drawn[:, criteria.ACCURACY], level),
        criteria.kappa(paired, settings, drawn[:, criteria.KAPPA], level),
        *criteria.calibration(paired, settings, drawn, tolerated_odds_ratio, level),
        criteria.t4(paired, settings, level),
        *([] if best is None else [best]),
    ]


def _power(paired: Paired, settings: GovernanceConfig, level: float) -> Power:
    right, was = (a.votes == paired.stages for a in (paired.candidate, paired.champion))
    n = len(right)
    seen = float((right != was).mean()) if n else None
    margin, assumed = settings.accuracy_margin, settings.assumed_discordance
    by_formula, needed = patients_needed(margin, assumed, alpha=level), patients_for(margin, assumed, alpha=level)
    there = exact_power(by_formula, margin, assumed, 0.0, level)
    power = exact_power(n, margin, assumed, 0.0, level) if n else None
    known = f"{power:.0%}" if power is not None else "none"
    share = f"{seen:.1%}" if seen is not None else "none"
    return Power(
        margin=margin,
        assumed_discordance=assumed,
        seen_discordance=seen,
        patients=n,
        needed=by_formula,
        power_at_needed=there,
        needed_by_rule=needed,
        power=power,
        sentence=(
            f"Where {assumed:.0%} of pairs differ and the models are equally good, {by_formula} patients show a margin "
            f"of {margin:g} at a level of {100 * level:.2g}% with 90% power by the usual formula, {there:.0%} by the "
            f"gate's own rule, which needs {needed}; these {n} have {known}. Here {share} of pairs differ."
        ),
    )
