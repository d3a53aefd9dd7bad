"""How many patients of the holdout each criterion of the gate needs for a candidate as good as the champion to pass."""

from __future__ import annotations

import math

import attrs
import numpy as np
from scipy.stats import binom, norm

from gtr_batch.audit.monitors.cusum import estimate_shift
from gtr_batch.config import AuditConfig, GovernanceConfig
from gtr_batch.governance.criteria import SPEAKS_AGAINST, T4, Answers, Paired
from gtr_batch.governance.error_rates import Draw, World
from gtr_batch.governance.looks import level_of
from gtr_batch.metrics.classification import confusion, kappa_of
from gtr_batch.metrics.intervals import wilson
from gtr_batch.metrics.noninferiority import patients_for

_PATIENTS, _HOLDOUTS, _MOST_T4 = 400, 60, 4000


def patients_each_criterion_needs(
    world: World,
    draw: Draw,
    settings: GovernanceConfig,
    *,
    power: float = 0.9,
    look: int = 1,
    tolerated_odds_ratio: float = AuditConfig().tolerated_odds_ratio,
    seed: int = 0,
) -> dict[str, int | None]:
    """Patients with which an equal, calibrated candidate passes each criterion alone, with this power.

    `look`: which look at the holdout it is.

    Accuracy and T4 are summed over what can happen; kappa and the odds ratio of the stages go by the spread that they
    have in drawn holdouts. ECE and slope are not here: a calibrated model passes them with any number of patients, in
    95%. Never fewer than `minimum_patients`. T4 passes by the cap or by the margin to the champion, whichever needs
    fewer. None: with no number, since a champion that stages as many T4 lower as the cap allows has no margin.
    """
    equal = attrs.evolve(world, patients=_PATIENTS, difference=0.0)
    drawn = [draw(equal, seed + k) for k in range(_HOLDOUTS)]
    right = [[a.votes == d.stages for a in (d.candidate, d.champion)] for d in drawn]
    discordance = float(np.mean([(a != b).mean() for a, b in right]))
    of_t4 = np.concatenate([d.champion.votes[d.stages == T4] for d in drawn])
    t4_share = float(np.mean([(d.stages == T4).mean() for d in drawn]))
    level = level_of(look, settings.error_budget)
    z, zp = float(norm.ppf(1 - level)), float(norm.ppf(power))
    kappas = [_kappa(d, d.candidate) - _kappa(d, d.champion) for d in drawn]
    shifts = [estimate_shift(d.stages, d.candidate.probabilities) for d in drawn]
    spread = float(np.std([math.log(s.odds_ratio) for s in shifts if s is not None], ddof=1))
    within = max(float(norm.ppf((1 + power) / 2)) - float(norm.ppf(SPEAKS_AGAINST)), 1e-9)
    allowed = math.log(tolerated_odds_ratio) / within
    of_both = [(d.candidate.votes[d.stages == T4] < T4) != (d.champion.votes[d.stages == T4] < T4) for d in drawn]
    t4_pairs = round(float(np.mean(np.concatenate(of_both))), 4)
    below_cap = _t4_needed(float((of_t4 < T4).mean()), settings.t4_understaging_cap, power, level)
    no_more = patients_for(settings.t4_margin, t4_pairs, power, level) if 0 < settings.t4_margin < 1 else None
    t4 = min((n for n in (below_cap, no_more) if n is not None), default=None)
    needed: dict[str, int | None] = {
        "accuracy": patients_for(settings.accuracy_margin, round(discordance, 4), power, level),
        "quadratic_kappa": math.ceil(
            _PATIENTS * (float(np.std(kappas, ddof=1)) * (z + zp) / settings.kappa_margin) ** 2
        ),
        "calibration_shift": math.ceil(_PATIENTS * (spread / allowed) ** 2),
        "t4_understaging": None if t4 is None else math.ceil(t4 / t4_share),
    }
    return {name: None if n is None else max(n, settings.minimum_patients) for name, n in needed.items()}


def _kappa(drawn: Paired, answers: Answers) -> float:
    return kappa_of(confusion(drawn.stages, answers.votes)) or 0.0


def _t4_needed(share: float, cap: float, power: float, level: float) -> int | None:
    """T4 patients of whom the upper bound lies below the cap with this power, and from there on."""
    if share >= cap:
        return None
    enough = None
    for n in range(10, _MOST_T4):
        most = -1
        while (bound := wilson(most + 1, n, level=1 - 2 * level)) is not None and bound[1] <= cap:
            most += 1
        if most >= 0 and binom.cdf(most, n, share) >= power:
            enough = n if enough is None else enough
            if n - enough >= 10:
                return enough
        else:
            enough = None
    return None
