"""Labels as they really come: weeks late, only for patients who are operated, and after treatment of another kind.

The unit is the patient. A patient counts once: with the last staged case before the first operation, and without an
operation with the last staged case. Nothing that was reported after `as_of` counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
from attrs import field, frozen

from gtr_batch.audit.found.patients import (
    AgainstPathology,
    ApartAccuracy,
    Bounds,
    Estimates,
    MonthOfLabels,
    NaiveAccuracy,
    ReaderAsReference,
    SecondReference,
    WeightedAccuracy,
)
from gtr_batch.audit.weighting import Weighted, weighted_accuracy
from gtr_batch.domain.audit import AuditCase, Classification, probability_rows
from gtr_batch.domain.audit_run import known_by
from gtr_batch.metrics.agreement import agreement
from gtr_batch.metrics.classification import accuracy, quadratic_kappa
from gtr_batch.metrics.intervals import wilson

RULE = (
    "A patient counts once: with the last staged case before the first operation, and without an operation with the "
    "last staged case."
)


@frozen(eq=False)
class Labelled:
    """Patients whose pathology is known, one case each, in the order of their subjects.

    `labels`, `votes` (n,) 0 to 3; `probabilities` (n, 4); `subjects` (n,); `nomogram` (n, 4), NaN in the rows where
    `has_nomogram` (n,) is false.
    """

    labels: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    votes: np.ndarray = field(repr=False)
    subjects: np.ndarray = field(repr=False)
    cases: tuple[AuditCase, ...] = field(repr=False)
    nomogram: np.ndarray = field(repr=False)
    has_nomogram: np.ndarray = field(repr=False)


def one_a_patient(cases: Sequence[AuditCase], as_of: date) -> list[AuditCase]:
    """The case that stands for each patient who was staged by the end of `as_of`, as it was known then, by subject."""
    by_subject: dict[str, list[AuditCase]] = {}
    for case in cases:
        if case.t_stage is not None and case.probabilities is not None and case.night <= as_of:
            by_subject.setdefault(case.subject or case.case_id, []).append(known_by(case, as_of))
    chosen = []
    for subject in sorted(by_subject):
        of_patient = by_subject[subject]
        days = [c.surgery.operated_on for c in of_patient if c.surgery is not None]
        if days:
            first = min(days)
            of_patient = [c for c in of_patient if c.surgery is not None and c.surgery.operated_on == first]
        chosen.append(max(of_patient, key=lambda c: (c.study_on, c.night, c.case_id)))
    return chosen


def labelled(cases: Sequence[AuditCase], as_of: date, kind: Classification = Classification.PT) -> Labelled:
    """Patients whose pathology of one kind had been reported by the end of `as_of`, T1 to T4."""
    return _labelled(one_a_patient(cases, as_of), as_of, kind)


def maturity(cases: Sequence[AuditCase], as_of: date, wait_days: int) -> tuple[MonthOfLabels, ...]:
    """How much is known by now of the patients of each staging month.

    Parameters
    ----------
    cases : sequence of AuditCase
    as_of : date
    wait_days : int
        A patient who is not operated so many days after the CT was staged is taken as never to be.

    Returns
    -------
    tuple of MonthOfLabels
        Oldest first, months between without a patient too.
    """
    chosen = one_a_patient(cases, as_of)
    rows = []
    for month in _months([c.month for c in chosen]):
        inside = [c for c in chosen if c.month == month]
        operations = [c.surgery for c in inside if c.surgery is not None]
        reports = [s for s in operations if s.reported_on is not None]
        pt = sum(s.classification is Classification.PT for s in reports)
        ypt = sum(s.classification is Classification.YPT for s in reports)
        unresected = sum(c.surgery is None and (as_of - c.night).days > wait_days for c in inside)
        known = len(reports) + unresected
        rows.append(
            MonthOfLabels(
                month=month,
                staged=len(inside),
                operated=len(operations),
                reported=pt,
                ypt=ypt,
                other_report=len(reports) - pt - ypt,
                no_stage=sum(s.t_stage is None and s.classification is not None for s in reports),
                waiting=len(operations) - len(reports),
                unresected=unresected,
                open=len(inside) - len(operations) - unresected,
                maturity=known / len(inside) if inside else None,
            )
        )
    return tuple(rows)


def estimates(
    cases: Sequence[AuditCase],
    as_of: date,
    *,
    wait_days: int,
    draws: int,
    seed: int,
    kind: Classification = Classification.PT,
) -> Estimates:
    """Accuracy on all staged patients, of whom only some have pathology: naive, weighted and at worst and best.

    Parameters
    ----------
    cases : sequence of AuditCase
    as_of : date
    wait_days : int
        As in `maturity`.
    draws, seed : int
        Of the bootstrap of the weighted estimate.
    kind : Classification
        Which pathology; the other kind stands apart under ``apart``.

    Returns
    -------
    Estimates
        `naive`: labelled patients as they are; `ipw`: weighted by the inverse of their chance to be labelled; `bounds`:
        all without a label wrong, all right; `apart`: the other kind of pathology; `overrides`: the reader as a second
        reference.
    """
    everyone = one_a_patient(cases, as_of)
    outside = [c for c in everyone if _reported_outside(c, kind)]
    chosen = [c for c in everyone if not _reported_outside(c, kind)]
    known = _labelled(chosen, as_of, kind)
    n, m = len(chosen), len(known.labels)
    right = int((known.votes == known.labels).sum())
    weighted = weighted_accuracy(chosen, as_of, kind, wait_days=wait_days, draws=draws, seed=seed)
    other = Classification.YPT if kind is Classification.PT else Classification.PT
    apart = _labelled(everyone, as_of, other)
    low, high = (right / n, (right + n - m) / n) if n else (None, None)
    sentences = [RULE]
    if outside:
        sentences.append(f"{len(outside)} patients with {kind} T0 or Tis are left out: the model has no such stage.")
    if len(apart.labels):
        sentences.append(
            f"{len(apart.labels)} patients have a {other}; they stand apart and count as without a {kind}."
        )
    if n and not m:
        sentences.append(f"No patient has a {kind} by {as_of}: there is no accuracy yet.")
    return Estimates(
        kind=str(kind),
        rule=RULE,
        n_staged=n,
        n_labelled=m,
        naive=NaiveAccuracy(
            accuracy=accuracy(known.labels, known.votes),
            ci=wilson(right, m),
            quadratic_kappa=quadratic_kappa(known.labels, known.votes),
        ),
        ipw=_ipw(weighted),
        bounds=Bounds(low, high),
        worst_best=_worst_best(n, m, low, high),
        apart=ApartAccuracy(
            kind=str(other),
            n=len(apart.labels),
            accuracy=accuracy(apart.labels, apart.votes),
            ci=wilson(int((apart.votes == apart.labels).sum()), len(apart.labels)),
        ),
        overrides=overrides(chosen, as_of, kind),
        sentences=tuple(sentences),
    )


def overrides(chosen: Sequence[AuditCase], as_of: date, kind: Classification = Classification.PT) -> ReaderAsReference:
    """The radiologist who read with the AI result at hand, as a second reference: early, for everybody, not the truth.

    Parameters
    ----------
    chosen : sequence of AuditCase
        One a patient, as known by `as_of`.

    Returns
    -------
    ReaderAsReference
        `higher` and `lower` than the AI; `against_pathology`: where the two differ and pathology came;
        `second_reference`: accuracy with pathology where it came, and the reader elsewhere.
    """
    read = [c for c in chosen if c.read is not None and c.read.with_ai and c.read.radiologist_ct is not None]
    ai, reader = (np.array([_position_given_by(c, k) for c in read], int) for k in ("ai", "reader"))
    found = agreement(ai, reader)
    truth = [c.pathology(as_of, kind) for c in read]
    apart = [(a, r, t.position) for a, r, t in zip(ai.tolist(), reader.tolist(), truth, strict=True) if t and a != r]
    by_pathology = [
        (_position_given_by(c, "ai"), t.position) for c in chosen if (t := c.pathology(as_of, kind)) is not None
    ]
    by_reader = [(a, r) for a, r, t in zip(ai.tolist(), reader.tolist(), truth, strict=True) if t is None]
    both = by_pathology + by_reader
    hits = sum(a == reference for a, reference in both)
    return ReaderAsReference(
        n=found["cases"],
        agree=found["agree"],
        share=found["share"],
        ci=None if found["share_95"] is None else (found["share_95"][0], found["share_95"][1]),
        kappa=found["kappa"],
        higher=found["higher"],
        lower=found["lower"],
        table=tuple(tuple(row) for row in found["table"]),
        against_pathology=AgainstPathology(
            n=len(apart),
            reader_right=sum(r == t for _, r, t in apart),
            ai_right=sum(a == t for a, _, t in apart),
        ),
        second_reference=SecondReference(
            n=len(both),
            from_pathology=len(by_pathology),
            from_reader=len(by_reader),
            accuracy=hits / len(both) if both else None,
            ci=wilson(hits, len(both)),
        ),
        sentence=(
            "The reader as reference is a second opinion and no pathology: a reader who saw the AI result leans "
            "towards it, which flatters the model."
            if read
            else "No radiologist's stage that was written with the AI result at hand is known: there are no overrides."
        ),
    )


def _labelled(chosen: Sequence[AuditCase], as_of: date, kind: Classification) -> Labelled:
    known = [(c, stage) for c in chosen if (stage := c.pathology(as_of, kind)) is not None]
    cases = tuple(c for c, _ in known)
    nomogram = probability_rows(c.nomogram for c in cases)
    return Labelled(
        labels=np.array([stage.position for _, stage in known], int),
        probabilities=probability_rows(c.probabilities for c in cases),
        votes=np.array([_position_given_by(c, "ai") for c in cases], int),
        subjects=np.array([c.subject for c in cases], object),
        cases=cases,
        nomogram=nomogram,
        has_nomogram=np.isfinite(nomogram).all(axis=1),
    )


def _position_given_by(case: AuditCase, who: str) -> int:
    if who == "reader":
        assert case.read is not None and case.read.radiologist_ct is not None  # the caller chose such
        return case.read.radiologist_ct.position
    assert case.t_stage is not None  # only staged cases stand for a patient
    return case.t_stage.position


def _reported_outside(case: AuditCase, kind: Classification) -> bool:
    """T0 or Tis of this kind."""
    s = case.surgery
    return s is not None and s.reported_on is not None and s.classification is kind and s.t_stage is None


def _ipw(found: Weighted) -> WeightedAccuracy:
    return WeightedAccuracy(
        accuracy=found.accuracy,
        ci=found.interval,
        quadratic_kappa=found.kappa,
        n=found.n,
        effective_n=found.effective_n,
        covariates=found.covariates,
        truncated=found.truncated,
        sentence=found.sentence,
    )


def _worst_best(n: int, m: int, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "No patient was staged: there are no bounds."
    return (
        f"If all {n - m} of {n} staged patients without a label were staged wrongly, accuracy would be {low:.3f}; if "
        f"all were staged rightly, {high:.3f}. No assumption is behind these two."
    )


def _months(found: Sequence[str]) -> list[str]:
    if not found:
        return []
    year, month = map(int, min(found).split("-"))
    months, last = [], max(found)
    while (name := f"{year}-{month:02d}") <= last:
        months.append(name)
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    return months
