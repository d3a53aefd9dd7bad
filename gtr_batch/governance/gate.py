"""The gate: is the candidate, on patients whom no training saw, not worse than the champion? Pass, fail or cannot tell.

Every criterion has three answers. It fails where the data show that the candidate is worse than allowed, it passes
where they show that it is not, and else it cannot tell: too few patients is never taken for no difference. The verdict
fails if one criterion fails, cannot tell if one cannot, and passes if all pass. Subgroups can fail it and are listed in
full; those that are too small to judge do not hold it up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from attrs import field, frozen

from gtr_batch.config import GovernanceConfig
from gtr_batch.metrics.calibration import Recalibration, at_least_t3, ece_null_95, ece_top, recalibration
from gtr_batch.metrics.classification import accuracy, auc, auc_intervals, confusion, kappa_of, rates
from gtr_batch.metrics.intervals import cluster_bootstrap, wilson
from gtr_batch.metrics.noninferiority import ALPHA, patients_needed, power_of, tango_interval
from gtr_batch.metrics.probability import brier, log_loss, rps
from gtr_batch.metrics.utility import treatment

PASS, FAIL, CANNOT_TELL = "pass", "fail", "cannot tell"
DRAWS, SEED = 2000, 20251124
T4 = 3


@frozen(eq=False)
class Answers:
    """One model's answers on the holdout: the votes (n,), 0 to 3, and the mean calibrated probabilities (n, 4)."""

    votes: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)


@frozen(eq=False)
class Paired:
    """The same patients, staged by both models.

    `stages` (n,), 0 to 3; `subjects` (n,) keyed digests; `subgroups` (n,) words each, by the name of the grouping.
    """

    stages: np.ndarray = field(repr=False)
    subjects: np.ndarray = field(repr=False)
    candidate: Answers
    champion: Answers
    subgroups: Mapping[str, Sequence[str]] = field(factory=dict, repr=False)


@frozen
class Criterion:
    """One answer of the gate: `low` and `high` are one-sided 95% bounds of `value`, `limit` what it is held against."""

    name: str
    verdict: str
    sentence: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None


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
    drawn = _drawn(paired, draws, seed)
    criteria = [
        _enough(paired, settings),
        _accuracy(paired, settings, drawn[:, 0]),
        _kappa(paired, settings, drawn[:, 1]),
        *_calibration(paired, drawn[:, 2]),
        _t4(paired, settings),
    ]
    if settings.shadow_nights or settings.shadow_cases:
        criteria.append(_shadow(settings, shadow or {}))
    subgroups = _subgroups(paired, settings)
    criteria.append(_of_subgroups(subgroups))
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


def _enough(paired: Paired, settings: GovernanceConfig) -> Criterion:
    counts = np.bincount(paired.stages, minlength=4)
    patients = len(np.unique(paired.subjects))
    absent = [f"T{k + 1}" for k in range(4) if counts[k] == 0]
    if absent or patients < settings.minimum_patients:
        why = f"no patient of {', '.join(absent)}" if absent else f"{settings.minimum_patients} are asked for"
        return Criterion(
            "patients",
            CANNOT_TELL,
            f"Patients: {patients} in the holdout, {why}.",
            patients,
            limit=settings.minimum_patients,
        )
    shares = ", ".join(f"T{k + 1} {counts[k]}" for k in range(4))
    return Criterion("patients", PASS, f"Patients: {patients} ({shares}).", patients, limit=settings.minimum_patients)


def _accuracy(paired: Paired, settings: GovernanceConfig, drawn: np.ndarray) -> Criterion:
    right, was = (a.votes == paired.stages for a in (paired.candidate, paired.champion))
    n, difference = len(right), float(right.mean() - was.mean()) if len(right) else None
    low, high = _bounds(drawn)
    one_row_each = len(np.unique(paired.subjects)) == n
    score = tango_interval(int((right & ~was).sum()), int((was & ~right).sum()), n) if one_row_each else None
    if score is not None and low is not None and high is not None:
        # The wider of both: a bootstrap of few pairs that differ is far too sure of itself.
        low, high = min(low, score[0]), max(high, score[1])
    return _noninferior("accuracy", "Accuracy", (difference, low, high), settings.accuracy_margin)


def _kappa(paired: Paired, settings: GovernanceConfig, drawn: np.ndarray) -> Criterion:
    kappas = [kappa_of(confusion(paired.stages, a.votes)) for a in (paired.candidate, paired.champion)]
    difference = None if None in kappas else kappas[0] - kappas[1]  # type: ignore[operator]
    return _noninferior("quadratic_kappa", "Quadratic kappa", (difference, *_bounds(drawn)), settings.kappa_margin)


def _noninferior(
    name: str, words: str, found: tuple[float | None, float | None, float | None], margin: float
) -> Criterion:
    value, low, high = found
    if value is None or low is None or high is None:
        return Criterion(name, CANNOT_TELL, f"{words}: cannot be computed on these patients.", limit=-margin)
    verdict = PASS if low >= -margin else (FAIL if high < -margin else CANNOT_TELL)
    ending = {
        PASS: f"not worse by {margin:g}",
        FAIL: f"worse by more than {margin:g}",
        CANNOT_TELL: f"may be worse by more than {margin:g}, and may not",
    }[verdict]
    sentence = f"{words}: candidate less champion {value:+.3f} ({low:+.3f} to {high:+.3f}), {ending}."
    return Criterion(name, verdict, sentence, value, low, high, -margin)


def _calibration(paired: Paired, drawn: np.ndarray) -> list[Criterion]:
    """No worse: within what a calibrated model shows by chance, or not further off than the champion."""
    value = ece_top(paired.stages, paired.candidate.probabilities)
    null = ece_null_95(paired.candidate.probabilities, seed=SEED)
    low, high = _bounds(drawn)
    if value is None or null is None or low is None or high is None:
        found = [Criterion("ece", CANNOT_TELL, "ECE: cannot be computed on these patients.")]
    else:
        verdict = PASS if value <= null or high <= 0 else (FAIL if low > 0 else CANNOT_TELL)
        against = f"{value - null:+.3f} against what a calibrated model stays below by chance ({null:.3f})"
        sentence = (
            f"ECE: {value:.3f}, {against}; candidate less champion {low:+.3f} to {high:+.3f}: "
            + {
                PASS: "no worse.",
                FAIL: "worse than by chance, and worse than the champion.",
                CANNOT_TELL: "cannot tell.",
            }[verdict]
        )
        found = [Criterion("ece", verdict, sentence, value, low, high, null)]
    lines = [recalibration(*at_least_t3(paired.stages, a.probabilities)) for a in (paired.candidate, paired.champion)]
    for what, ideal in (("slope", 1.0), ("intercept", 0.0)):
        found.append(_line(what, ideal, *lines))
    return found


def _line(what: str, ideal: float, own: Recalibration | None, other: Recalibration | None) -> Criterion:
    name, words = f"calibration_{what}", f"Calibration {what} (T3 or T4)"
    if own is None:
        return Criterion(name, CANNOT_TELL, f"{words}: cannot be computed on these patients.", limit=ideal)
    value, error = getattr(own, what), getattr(own, f"{what}_se")
    low, high = value - 1.96 * error, value + 1.96 * error
    off = abs(value - ideal)
    before = None if other is None else abs(getattr(other, what) - ideal)
    covered = low <= ideal <= high
    verdict = PASS if covered or (before is not None and off <= before) else FAIL
    sentence = f"{words}: {value:.2f} ({low:.2f} to {high:.2f}), ideal {ideal:g}"
    sentence += "" if before is None else f", champion's {getattr(other, what):.2f}"
    sentence += {PASS: ": no worse.", FAIL: ": off, and further off than the champion's."}[verdict]
    return Criterion(name, verdict, sentence, value, low, high, ideal)


def _t4(paired: Paired, settings: GovernanceConfig) -> Criterion:
    of_t4 = paired.candidate.votes[paired.stages == T4]
    n, lower = len(of_t4), int((of_t4 < T4).sum())
    cap = settings.t4_understaging_cap
    interval = wilson(lower, n, level=1 - 2 * ALPHA)
    if interval is None:
        return Criterion("t4_understaging", CANNOT_TELL, "T4 staged lower: no patient with T4.", limit=cap)
    low, high = interval
    verdict = PASS if high <= cap else (FAIL if low > cap else CANNOT_TELL)
    ending = {PASS: "below the cap", FAIL: "above the cap", CANNOT_TELL: "too few to tell"}[verdict]
    sentence = f"T4 staged lower: {lower} of {n} ({low:.3f} to {high:.3f}), cap {cap:g}: {ending}."
    return Criterion("t4_understaging", verdict, sentence, lower / n, low, high, cap)


def _shadow(settings: GovernanceConfig, shadow: Mapping[str, Any]) -> Criterion:
    nights, cases = int(shadow.get("nights", 0)), int(shadow.get("cases", 0))
    enough = nights >= settings.shadow_nights and cases >= settings.shadow_cases
    sentence = (
        f"Shadow: {nights} nights, {cases} cases; {settings.shadow_nights} and {settings.shadow_cases} are asked for."
    )
    return Criterion("shadow", PASS if enough else CANNOT_TELL, sentence, nights, limit=settings.shadow_nights)


def _subgroups(paired: Paired, settings: GovernanceConfig) -> list[dict[str, Any]]:
    """Accuracy of both models in every subgroup, the difference's bounds shared among those that are judged."""
    right, was = (a.votes == paired.stages for a in (paired.candidate, paired.champion))
    groups = [
        (by, word, np.array([w == word for w in words], bool))
        for by, words in sorted(paired.subgroups.items())
        for word in sorted(set(words))
    ]
    judged = sum(int(mask.sum()) >= settings.subgroup_patients for _, _, mask in groups)
    rows = []
    for by, word, mask in groups:
        n = int(mask.sum())
        a, b = right[mask], was[mask]
        bounds = None
        if n >= settings.subgroup_patients:
            bounds = tango_interval(int((a & ~b).sum()), int((b & ~a).sum()), n, ALPHA / judged)
        verdict = CANNOT_TELL
        if bounds is not None:
            # No subgroup alone has the patients to show that all is well; that something is wrong it can show.
            verdict = FAIL if bounds[1] < -settings.accuracy_margin else PASS
        rows.append(
            {
                "by": by,
                "group": word,
                "n": n,
                "candidate": float(a.mean()),
                "candidate_ci": wilson(int(a.sum()), n),
                "champion": float(b.mean()),
                "difference": float(a.mean() - b.mean()),
                "bounds": None if bounds is None else list(bounds),
                "verdict": verdict,
            }
        )
    return rows


def _of_subgroups(rows: Sequence[Mapping[str, Any]]) -> Criterion:
    worse = [f"{r['by']} {r['group']} ({r['difference']:+.3f} of {r['n']})" for r in rows if r["verdict"] == FAIL]
    small = sum(r["verdict"] == CANNOT_TELL for r in rows)
    if worse:
        return Criterion("subgroups", FAIL, f"Subgroups: worse in {'; '.join(worse)}.")
    return Criterion(
        "subgroups",
        PASS,
        f"Subgroups: none of {len(rows) - small} is shown to be worse; {small} are too small to judge.",
    )


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
        "ece_null_95": ece_null_95(p, seed=SEED),
        "calibration": None if line is None else line.to_json(),
        "over_treatment": use.over,
        "under_treatment": use.under,
        "nnt": use.nnt,
    }


def _drawn(paired: Paired, draws: int, seed: int) -> np.ndarray:
    """(draws, 3): differences, candidate less champion, of accuracy, kappa and ECE on redrawn patients."""
    if not len(paired.stages):
        return np.full((draws, 3), np.nan)

    def differences(rows: np.ndarray) -> np.ndarray:
        values = []
        for answers in (paired.candidate, paired.champion):
            labels, votes = paired.stages[rows], answers.votes[rows]
            kappa = kappa_of(confusion(labels, votes))
            error = ece_top(labels, answers.probabilities[rows])
            values.append([float((labels == votes).mean()), np.nan if kappa is None else kappa, error])
        return np.array(values[0], float) - np.array(values[1], float)

    return cluster_bootstrap(differences, paired.subjects, draws, seed)


def _bounds(drawn: np.ndarray) -> tuple[float | None, float | None]:
    """One-sided bounds; None where fewer than nine in ten draws had a value."""
    good = drawn[np.isfinite(drawn)]
    if len(good) < 0.9 * len(drawn) or not len(good):
        return None, None
    low, high = np.quantile(good, [ALPHA, 1 - ALPHA])
    return float(low), float(high)


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
