"""This month's numbers against last month's and against the reference, and which of them are worse beyond chance."""

from __future__ import annotations

import numpy as np
from attrs import asdict, evolve

from gtr_batch.audit.chance import above_p, difference, ece_p, level_of, lower_p, slope_p
from gtr_batch.audit.cohorts import Cohort, Cohorts
from gtr_batch.audit.found.evaluation import Evaluation
from gtr_batch.audit.found.findings import ShownSettings
from gtr_batch.audit.found.performance import (
    Criterion,
    Headline,
    ReferenceNumbers,
    T4Understaging,
    Tally,
)
from gtr_batch.domain.audited_model import AuditedModel
from gtr_batch.metrics.calibration import at_least_t3
from gtr_batch.metrics.classification import kappa_of, rates
from gtr_batch.metrics.intervals import wilson

T4 = 3
COMPARISONS = 4  # accuracy against last month and the reference, ECE, slope: they share one error rate
_CAP_LEVEL = 0.05  # of T4 under-staging: a harm, so it is not held to the small level of the others


def measure(cohort: Cohort, *, draws: int, seed: int) -> Evaluation | None:
    """`evaluate` of a cohort; None without patients."""
    if not len(cohort):
        return None
    from gtr_batch.audit.evaluation import evaluate

    return evaluate(
        cohort.labels,
        cohort.probabilities,
        predicted=cohort.votes,
        patients=cohort.subjects,
        draws=draws,
        seed=seed,
    )


def t4_understaging(cohort: Cohort) -> T4Understaging:
    """How many with pT4 were staged lower."""
    of_t4 = cohort.votes[cohort.labels == T4]
    n, lower = len(of_t4), int((of_t4 < T4).sum())
    return T4Understaging(n, lower, lower / n if n else None, wilson(lower, n))


def reference_numbers(model: AuditedModel) -> ReferenceNumbers | None:
    """What the artefact says of its own accuracy, and such numbers as the headline has.

    None where the manifest holds no accuracy on patients whom the network was not trained on.
    """
    found = model.metrics
    for what, accuracy, n in (
        ("sealed holdout", found.holdout_accuracy, found.n_holdout),
        ("validation patients of the training", found.validation_accuracy, found.n_validation),
        ("phantoms that the training did not see", found.accuracy_unseen, found.n_unseen),
    ):
        if accuracy is None:
            continue
        numbers = ReferenceNumbers(what, n or None, accuracy, round(accuracy * n) if n else None)
        table = np.asarray(found.confusion_unseen or [], int)
        if table.shape != (4, 4):
            return numbers
        sensitivity = rates(table)["sensitivity"]
        return evolve(
            numbers,
            quadratic_kappa=kappa_of(table),
            sensitivity_T1=sensitivity["T1"],
            sensitivity_T2=sensitivity["T2"],
            sensitivity_T3=sensitivity["T3"],
            sensitivity_T4=sensitivity["T4"],
        )
    return None


def headline_of(evaluated: Evaluation | None, found: Cohorts, tallied: Tally, t4: T4Understaging) -> Headline:
    """The numbers that the next run compares itself with."""
    return evolve(
        numbers_of(evaluated),
        n=len(found.window),
        right=found.window.right,
        n_period=len(found.period),
        right_period=found.period.right,
        accuracy_period=found.period.right / len(found.period) if len(found.period) else None,
        t4_understaging=t4.share,
        n_t4=t4.n,
        **asdict(tallied),
    )


def numbers_of(evaluated: Evaluation | None) -> Headline:
    """Those numbers of a headline that an evaluation has."""
    if evaluated is None:
        return Headline()
    return Headline(
        accuracy=evaluated.accuracy,
        quadratic_kappa=evaluated.quadratic_kappa,
        macro_auc=evaluated.auc["macro"],
        rps=evaluated.rps,
        brier=evaluated.brier,
        log_loss=evaluated.log_loss,
        ece=evaluated.ece.top,
        ece_null_95=evaluated.ece.null_95,
        calibration_slope=evaluated.calibration.slope,
        calibration_intercept=evaluated.calibration.intercept,
        sensitivity_T1=evaluated.sensitivity["T1"],
        sensitivity_T2=evaluated.sensitivity["T2"],
        sensitivity_T3=evaluated.sensitivity["T3"],
        sensitivity_T4=evaluated.sensitivity["T4"],
        over_treatment=evaluated.over_treatment,
        under_treatment=evaluated.under_treatment,
        nnt=evaluated.nnt,
    )


def criteria(
    found: Cohorts,
    evaluated: Evaluation | None,
    t4: T4Understaging,
    *,
    previous: Headline | None,
    reference: ReferenceNumbers | None,
    settings: ShownSettings,
) -> tuple[Criterion, ...]:
    """Comparisons behind the answer."""
    level = level_of(settings.false_alarm_budget, settings.horizon_months, COMPARISONS)
    return (
        _against_last(found, previous or Headline(), level, settings.minimum_labels),
        _against_reference(found, reference, level, settings.minimum_labels),
        *_calibration(found, evaluated, level, settings),
        _t4(t4, settings.t4_understaging_cap),
    )


def _against_last(found: Cohorts, previous: Headline, level: float, least: int) -> Criterion:
    n, k = len(found.period), found.period.right
    before, right = previous.n_period, previous.right_period
    if before is None or right is None:
        return _cannot("last_month", "Accuracy against last month: no audit of the month before is on file.")
    if min(n, before) == 0:
        where = "this month" if n == 0 else "the month before"
        return _cannot("last_month", f"Accuracy against last month: no pT was reported in {where}.")
    bounds, p = difference(k, n, right, before), lower_p(k, n, right, before)
    assert bounds is not None and p is not None  # both sides have patients
    words = (
        f"Accuracy on patients reported this month {k}/{n} ({_percent(k / n)}), last month {right}/{before} "
        f"({_percent(right / before)}): difference {_points(k / n - right / before)} "
        f"(95% {_points(bounds[0])} to {_points(bounds[1])})"
    )
    return _judged("last_month", words, p, level, too_few=min(n, before) < least)


def _against_reference(found: Cohorts, reference: ReferenceNumbers | None, level: float, least: int) -> Criterion:
    n, k = len(found.window), found.window.right
    if reference is None or not reference.n or reference.right is None:
        return _cannot("reference", "Accuracy against the reference: the artefact names no accuracy to compare with.")
    if n == 0:
        return _cannot("reference", "Accuracy against the reference: no patient with a pT.")
    bounds, p = difference(k, n, reference.right, reference.n), lower_p(k, n, reference.right, reference.n)
    assert bounds is not None and p is not None
    words = (
        f"Accuracy on {_patients(n)} {_percent(k / n)}, on the {reference.n} {reference.what} "
        f"{_percent(reference.accuracy)}: difference {_points(k / n - reference.accuracy)} "
        f"(95% {_points(bounds[0])} to {_points(bounds[1])})"
    )
    return _judged("reference", words, p, level, too_few=n < least)


def _calibration(
    found: Cohorts, evaluated: Evaluation | None, level: float, settings: ShownSettings
) -> list[Criterion]:
    window, least = found.window, settings.minimum_labels
    if evaluated is None:
        return [
            _cannot("ece", "Calibration error: no patient with a pT."),
            _cannot("slope", "Calibration of T3 or T4: no patient with a pT."),
        ]
    value, null = evaluated.ece.top, evaluated.ece.null_95
    p = ece_p(window.labels, window.probabilities, seed=settings.seed)
    assert value is not None and null is not None and p is not None  # there are patients
    words = f"Calibration error (ECE) {value:.3f} on {_patients(len(window))}; by chance below {null:.3f} in 95%"
    both = [_judged("ece", words, p, level, too_few=len(window) < least)]
    p = slope_p(*at_least_t3(window.labels, window.probabilities))
    line = evaluated.calibration
    if p is None or line.slope is None or line.intercept is None:
        why = "all patients have T3 or T4, or none has, or all have the same probability"
        return [*both, _cannot("slope", f"Calibration slope of T3 or T4: no line can be fitted, {why}.")]
    words = f"Calibration of T3 or T4: slope {line.slope:.2f} (1 is right), intercept {line.intercept:+.2f} (0)"
    if line.penalised:
        words += ", by a penalised fit since the probability separates the outcomes nearly completely"
    return [*both, _judged("slope", words, p, level, too_few=len(window) < least)]


def _t4(t4: T4Understaging, cap: float) -> Criterion:
    n, lower = t4.n, t4.lower
    p = above_p(lower, n, cap)
    if p is None:
        return _cannot("t4_understaging", "T4 staged lower: no patient with pT4.")
    words = f"T4 staged lower: {lower}/{n} ({_percent(lower / n)}), cap {_percent(cap)}"
    if p <= _CAP_LEVEL:
        return Criterion("t4_understaging", "worse", f"{words}; above it beyond chance (p {_p(p)}).", p)
    if lower / n > cap:
        return Criterion("t4_understaging", "not shown", f"{words}; above it, but chance may do that (p {_p(p)}).", p)
    return Criterion("t4_understaging", "not shown", f"{words}.", p)


def _judged(name: str, words: str, p: float, level: float, *, too_few: bool) -> Criterion:
    if p <= level:
        return Criterion(name, "worse", f"{words}; worse beyond chance (p {_p(p)}).", p)
    if too_few:
        return Criterion(name, "cannot tell", f"{words}; too few patients to tell (p {_p(p)}).", p)
    return Criterion(name, "not shown", f"{words}; not worse beyond chance (p {_p(p)}).", p)


def _cannot(name: str, sentence: str) -> Criterion:
    return Criterion(name, "cannot tell", sentence, None)


def _patients(n: int) -> str:
    return "1 patient" if n == 1 else f"{n} patients"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def _points(value: float) -> str:
    return f"{100 * value:+.1f} points"


def _p(value: float) -> str:
    return "below 0.0001" if value < 1e-4 else f"{value:.2g}"
