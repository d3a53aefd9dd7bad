"""The criteria of the gate: what each is held against, and when it passes, fails or cannot tell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from attrs import field, frozen
from scipy.stats import norm

from gtr_batch.audit.monitors.cusum import GRID, estimate_shift, shift_likelihood
from gtr_batch.config import GovernanceConfig
from gtr_batch.domain.gate import GateCriterion, Subgroup, Verdict
from gtr_batch.domain.shadow import ShadowCount
from gtr_batch.metrics.calibration import (
    Recalibration,
    at_least_t3,
    ece_null,
    ece_of_redrawn,
    ece_top,
    recalibration,
    slopes_of_redrawn,
)
from gtr_batch.metrics.classification import confusion, kappa_of, kappas_of_redrawn
from gtr_batch.metrics.intervals import redrawn_counts, wilson
from gtr_batch.metrics.noninferiority import ALPHA, tango_interval

PASS, FAIL, CANNOT_TELL = Verdict.PASS, Verdict.FAIL, Verdict.CANNOT_TELL
T4 = 3
# Columns of `redrawn`.
ACCURACY, KAPPA, ECE, SLOPE, SHIFT = range(5)
SPEAKS_AGAINST = 0.95  # one-sided confidence from which the holdout speaks against the tolerance
# ECE and slope ask the same question twice and share one error rate: of a calibrated model one of them is beyond chance
# in 5% of holdouts at most.
WITHIN_CHANCE = 1 - ALPHA / 2


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Fail if one fails, cannot tell if one cannot, pass if all pass."""
    found = set(verdicts)
    return FAIL if FAIL in found else (CANNOT_TELL if CANNOT_TELL in found else PASS)


@frozen(eq=False)
class Answers:
    """One model's answers on the holdout: the votes (n,), 0 to 3, and the mean calibrated probabilities (n, 4)."""

    votes: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)


@frozen(eq=False)
class Paired:
    """The same patients, staged by both models.

    `stages` (n,), 0 to 3; `subjects` (n,) keyed digests; `subgroups` (n,) words each, by the name of the grouping.
    `former`: what earlier champions say of them, by version; `not_asked`: earlier champions that cannot be asked.
    """

    stages: np.ndarray = field(repr=False)
    subjects: np.ndarray = field(repr=False)
    candidate: Answers
    champion: Answers
    subgroups: Mapping[str, Sequence[str]] = field(factory=dict, repr=False)
    former: Mapping[str, Answers] = field(factory=dict, repr=False)
    not_asked: Sequence[str] = ()


def redrawn(paired: Paired, draws: int, seed: int) -> np.ndarray:
    """(draws, 2, 5): the candidate's and the champion's accuracy, kappa, ECE, and how far the calibration slope lies
    from 1 and the logarithm of the stages' odds ratio from 0, on redrawn patients."""
    if not len(paired.stages):
        return np.full((draws, 2, 5), np.nan)
    both = (paired.candidate, paired.champion)
    blocks = [
        np.stack([_of_one(paired.stages, a, counts) for a in both], axis=1)
        for counts in redrawn_counts(paired.subjects, draws, seed)
    ]
    return np.concatenate(blocks)


def _of_one(labels: np.ndarray, answers: Answers, counts: np.ndarray) -> np.ndarray:
    votes, p = answers.votes, answers.probabilities
    return np.column_stack(
        [
            counts @ (labels == votes) / counts.sum(axis=1),
            kappas_of_redrawn(labels, votes, counts),
            ece_of_redrawn(p.argmax(axis=1) == labels, p.max(axis=1), counts),
            np.abs(slopes_of_redrawn(*at_least_t3(labels, p), counts) - 1),
            np.abs(GRID[(counts @ shift_likelihood(labels, p)).argmax(axis=1)]),
        ]
    )


def _bounds(drawn: np.ndarray, below: float = ALPHA, above: float = ALPHA) -> tuple[float | None, float | None]:
    """One-sided bounds at these levels; None where fewer than nine in ten draws had a value."""
    good = drawn[np.isfinite(drawn)]
    if len(good) < 0.9 * len(drawn) or not len(good):
        return None, None
    low, high = np.quantile(good, [below, 1 - above])
    return float(low), float(high)


def enough(paired: Paired, settings: GovernanceConfig) -> GateCriterion:
    counts = np.bincount(paired.stages, minlength=4)
    patients = len(np.unique(paired.subjects))
    absent = [f"T{k + 1}" for k in range(4) if counts[k] == 0]
    if absent or patients < settings.minimum_patients:
        why = f"no patient of {', '.join(absent)}" if absent else f"{settings.minimum_patients} are asked for"
        return GateCriterion(
            "patients",
            CANNOT_TELL,
            f"Patients: {patients} in the holdout, {why}.",
            patients,
            limit=settings.minimum_patients,
        )
    shares = ", ".join(f"T{k + 1} {counts[k]}" for k in range(4))
    return GateCriterion(
        "patients", PASS, f"Patients: {patients} ({shares}).", patients, limit=settings.minimum_patients
    )


def accuracy(
    paired: Paired, settings: GovernanceConfig, drawn: np.ndarray, level: float = ALPHA, other: str = "champion"
) -> GateCriterion:
    """`level`: one-sided, of the bound that must not lie below the margin; `other`: whom the candidate is held against,
    in words."""
    right, was = (a.votes == paired.stages for a in (paired.candidate, paired.champion))
    n, difference = len(right), float(right.mean() - was.mean()) if len(right) else None
    low, high = _bounds(drawn, level)
    one_row_each = len(np.unique(paired.subjects)) == n
    score = _score_bounds(right, was, level) if one_row_each else None
    if score is not None and low is not None and high is not None:
        # The wider of both: a bootstrap of few pairs that differ is far too sure of itself.
        low, high = min(low, score[0]), max(high, score[1])
    return _noninferior("accuracy", "Accuracy", (difference, low, high), settings.accuracy_margin, other)


def _score_bounds(good: np.ndarray, was: np.ndarray, level: float) -> tuple[float, float] | None:
    """Of the difference of two paired shares: the lower bound at `level`, the upper one at `ALPHA`."""
    gained, lost, n = int((good & ~was).sum()), int((was & ~good).sum()), len(good)
    low, high = tango_interval(gained, lost, n, level), tango_interval(gained, lost, n)
    return None if low is None or high is None else (low[0], high[1])


def kappa(
    paired: Paired, settings: GovernanceConfig, drawn: np.ndarray, level: float = ALPHA, other: str = "champion"
) -> GateCriterion:
    """As `accuracy`."""
    kappas = [kappa_of(confusion(paired.stages, a.votes)) for a in (paired.candidate, paired.champion)]
    difference = None if None in kappas else kappas[0] - kappas[1]  # type: ignore[operator]
    found = (difference, *_bounds(drawn, level))
    return _noninferior("quadratic_kappa", "Quadratic kappa", found, settings.kappa_margin, other)


def _noninferior(
    name: str, words: str, found: tuple[float | None, float | None, float | None], margin: float, other: str
) -> GateCriterion:
    value, low, high = found
    if value is None or low is None or high is None:
        return GateCriterion(name, CANNOT_TELL, f"{words}: cannot be computed on these patients.", limit=-margin)
    verdict = PASS if low >= -margin else (FAIL if high < -margin else CANNOT_TELL)
    ending = {
        PASS: f"not worse by {margin:g}",
        FAIL: f"worse by more than {margin:g}",
        CANNOT_TELL: f"may be worse by more than {margin:g}, and may not",
    }[verdict]
    sentence = f"{words}: candidate less {other} {value:+.3f} ({low:+.3f} to {high:+.3f}), {ending}."
    return GateCriterion(name, verdict, sentence, value, low, high, -margin)


def calibration(
    paired: Paired,
    settings: GovernanceConfig,
    drawn: np.ndarray,
    tolerated_odds_ratio: float,
    level: float = ALPHA,
) -> list[GateCriterion]:
    """No worse: within what a calibrated model shows by chance, or not further off than the champion by a margin.

    The odds ratio of the stages against the probabilities is held against the tolerance that the audit's monitor has.
    """
    value = ece_top(paired.stages, paired.candidate.probabilities)
    null = _ece_by_chance(paired.candidate.probabilities)
    lines = [recalibration(*at_least_t3(paired.stages, a.probabilities)) for a in (paired.candidate, paired.champion)]
    found = [_ece(value, null, _bounds(drawn[:, ECE], above=level), settings.ece_margin)]
    found.append(_slope(lines, (*_bounds(drawn[:, SLOPE], above=level), settings.slope_margin)))
    found.append(shift(paired, tolerated_odds_ratio, drawn[:, SHIFT]))
    return found


def _ece_by_chance(probabilities: np.ndarray) -> float | None:
    null = ece_null(probabilities)
    return None if null is None else float(np.quantile(null, WITHIN_CHANCE))


def shift(paired: Paired, tolerated: float, drawn: np.ndarray) -> GateCriterion:
    """The odds ratio of the stages against the candidate's probabilities, within what the monitor will tolerate.

    It passes where the holdout does not speak against the tolerance (one-sided, 95%), fails where the candidate is
    further off than the champion as well; else it cannot tell.
    """
    name, words = "calibration_shift", "Stages against the probabilities"
    stages, p = paired.stages, paired.candidate.probabilities
    fitted = estimate_shift(stages, p, level=2 * SPEAKS_AGAINST - 1, open_ended=True)
    assert fitted is not None
    low, _ = _bounds(drawn)
    inside = fitted.low <= tolerated and fitted.high >= 1 / tolerated
    verdict = PASS if inside else (FAIL if low is not None and low > 0 else CANNOT_TELL)
    ending = {
        PASS: "within what the monitor tolerates, as far as these patients can tell",
        FAIL: "further off than the monitor tolerates, and than the champion",
        CANNOT_TELL: "may be further off than the monitor tolerates",
    }[verdict]
    lowest, highest = (end if 0 < end < math.inf else None for end in (fitted.low, fitted.high))
    low_end, high_end = ("no bound" if end is None else f"{end:.2f}" for end in (lowest, highest))
    sentence = (
        f"{words}: odds times {fitted.odds_ratio:.2f} ({low_end} to {high_end}), tolerated "
        f"{1 / tolerated:.2f} to {tolerated:.2f}: {ending}."
    )
    return GateCriterion(name, verdict, sentence, fitted.odds_ratio, lowest, highest, tolerated)


def _ece(
    value: float | None, null: float | None, bounds: tuple[float | None, float | None], margin: float
) -> GateCriterion:
    low, high = bounds
    if value is None or null is None or low is None or high is None:
        return GateCriterion("ece", CANNOT_TELL, "ECE: cannot be computed on these patients.")
    verdict = PASS if value <= null or high <= margin else (FAIL if low > 0 else CANNOT_TELL)
    sentence = (
        f"ECE: {value:.3f}, a calibrated model stays below {null:.3f} by chance; candidate less champion {low:+.3f} to "
        f"{high:+.3f}: {_no_worse(verdict)}."
    )
    return GateCriterion("ece", verdict, sentence, value, low, high, null)


def _slope(lines: Sequence[Recalibration | None], further: tuple[float | None, float | None, float]) -> GateCriterion:
    """`further`: bounds of how much further from 1 the candidate lies than the champion, and the margin."""
    name, words, ideal = "calibration_slope", "Calibration slope (T3 or T4)", 1.0
    own, other = lines
    low, high, margin = further
    if own is None:
        return GateCriterion(name, CANNOT_TELL, f"{words}: cannot be computed on these patients.", limit=ideal)
    value, error = own.slope, own.slope_se
    half = float(norm.ppf((1 + WITHIN_CHANCE) / 2)) * error
    own_low, own_high = value - half, value + half
    verdict = PASS if own_low <= ideal <= own_high else CANNOT_TELL
    against = "the champion's cannot be compared"
    if other is not None and low is not None and high is not None:
        verdict = PASS if verdict is PASS or high <= margin else (FAIL if low > 0 else CANNOT_TELL)
        against = f"champion's {other.slope:.2f}; further off than it by {low:+.2f} to {high:+.2f}"
    sentence = (
        f"{words}: {value:.2f} ({own_low:.2f} to {own_high:.2f}), ideal {ideal:g}, {against}: {_no_worse(verdict)}."
    )
    return GateCriterion(name, verdict, sentence, value, own_low, own_high, ideal)


def _no_worse(verdict: Verdict) -> str:
    return {PASS: "no worse", FAIL: "worse than by chance, and worse than the champion", CANNOT_TELL: "cannot tell"}[
        verdict
    ]


def t4(paired: Paired, settings: GovernanceConfig, level: float = ALPHA, other: str = "champion") -> GateCriterion:
    """The share of T4 that is staged lower: below the cap, or not more than a margin above the champion's.

    It fails where the share is shown to lie above the cap, and above the champion's.
    """
    name, words, cap, margin = "t4_understaging", "T4 staged lower", settings.t4_understaging_cap, settings.t4_margin
    of_t4 = paired.stages == T4
    own, was = (a.votes[of_t4] >= T4 for a in (paired.candidate, paired.champion))
    n, lower = len(own), int((~own).sum())
    interval, strict = wilson(lower, n, level=1 - 2 * ALPHA), wilson(lower, n, level=1 - 2 * level)
    score = _score_bounds(own, was, level)
    if interval is None or strict is None or score is None:
        return GateCriterion(name, CANNOT_TELL, f"{words}: no patient with T4.", limit=cap)
    low, high = interval[0], strict[1]
    above = -score[1], -score[0]  # how much more of them than the champion
    below_cap, no_more = high <= cap, above[1] <= margin
    verdict = PASS if below_cap or no_more else (FAIL if low > cap and above[0] > 0 else CANNOT_TELL)
    ending = {
        PASS: "below the cap" if below_cap else f"not more by {margin:g} than the {other}",
        FAIL: f"above the cap, and more than the {other}",
        CANNOT_TELL: "cannot tell",
    }[verdict]
    sentence = (
        f"{words}: {lower} of {n} ({low:.3f} to {high:.3f}), cap {cap:g}; of the {other} {int((~was).sum())}, "
        f"difference {above[0]:+.3f} to {above[1]:+.3f}: {ending}."
    )
    return GateCriterion(name, verdict, sentence, lower / n, low, high, cap)


def shadow(settings: GovernanceConfig, seen: ShadowCount) -> GateCriterion:
    nights, cases = seen.nights, seen.cases
    enough = nights >= settings.shadow_nights and cases >= settings.shadow_cases
    sentence = (
        f"Shadow: {nights} nights, {cases} cases; {settings.shadow_nights} and {settings.shadow_cases} are asked for."
    )
    return GateCriterion("shadow", PASS if enough else CANNOT_TELL, sentence, nights, limit=settings.shadow_nights)


def subgroups(paired: Paired, settings: GovernanceConfig) -> list[Subgroup]:
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
            Subgroup(
                by=by,
                group=word,
                n=n,
                candidate=float(a.mean()),
                candidate_ci=wilson(int(a.sum()), n),
                champion=float(b.mean()),
                difference=float(a.mean() - b.mean()),
                bounds=bounds,
                verdict=verdict,
            )
        )
    return rows


def of_subgroups(rows: Sequence[Subgroup]) -> GateCriterion:
    worse = [f"{r.by} {r.group} ({r.difference:+.3f} of {r.n})" for r in rows if r.verdict is FAIL]
    small = sum(r.verdict is CANNOT_TELL for r in rows)
    if worse:
        return GateCriterion("subgroups", FAIL, f"Subgroups: worse in {'; '.join(worse)}.")
    return GateCriterion(
        "subgroups",
        PASS,
        f"Subgroups: none of {len(rows) - small} is shown to be worse; {small} are too small to judge.",
    )
