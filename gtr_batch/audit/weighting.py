"""Accuracy on all staged patients from those with pathology, each weighted by the inverse of the chance to have it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

import numpy as np
from attrs import field, frozen

from gtr_batch.domain.audit import AuditCase, Classification, probability_rows
from gtr_batch.domain.audit_run import known_by
from gtr_batch.metrics.classification import CLASSES
from gtr_batch.metrics.intervals import Interval, percentile_interval, wide
from gtr_batch.metrics.redrawing import kappas_of, redrawn_counts

LEAST = 20  # patients with a label, below which who is labelled cannot be modelled
TRUNCATED_AT = (0.01, 0.99)  # percentiles of the weights (Cole, Hernan, Am J Epidemiol 2008)
RIDGE = 1.0  # on standardised covariates: mild, so that a rare level does not take the fit along
_HARDLY = 0.05


@frozen(eq=False)
class Weighted:
    """`n`: patients that the labelled ones stand for; `truncated`: weights that were cut to a percentile."""

    accuracy: float | None
    interval: Interval | None
    kappa: float | None
    n: int
    effective_n: float | None
    covariates: tuple[str, ...]
    truncated: int
    sentence: str
    weights: np.ndarray | None = field(default=None, repr=False)  # of the labelled, mean 1


def weighted_accuracy(
    chosen: Sequence[AuditCase], as_of: date, kind: Classification, *, wait_days: int, draws: int, seed: int
) -> Weighted:
    """Inverse-probability-weighted accuracy and kappa of the votes.

    Who has a label is modelled by a logistic regression with a mild ridge on what is known at staging: probabilities
    and vote, age, sex, tumour size, location, differentiation, the radiologist's cT and the endosonographer's uT (what
    is missing is a level of its own), and how long ago the CT was staged. Patients staged later than anybody who has a
    label are left out. Weights are stabilised and truncated. It is right where, among patients alike in these, who is
    labelled has nothing to do with whether the model is right.

    Parameters
    ----------
    chosen : sequence of AuditCase
        One a patient, as known by `as_of`, in a fixed order.
    wait_days : int
        After so many days more time no longer makes a label likelier.
    draws, seed : int
        Of the bootstrap over patients, which fits the model anew in every draw.

    References
    ----------
    Begg, Greenes, Biometrics 1983; Robins, Hernan, Brumback, Epidemiology 2000
    """
    stages = [c.pathology(as_of, kind) for c in chosen]
    last = max((c.night for c, s in zip(chosen, stages, strict=True) if s is not None), default=None)
    pairs = [(c, s) for c, s in zip(chosen, stages, strict=True) if last is not None and c.night <= last]
    cases, known = [c for c, _ in pairs], np.array([s is not None for _, s in pairs], bool)
    n, m = len(pairs), int(known.sum())
    if m < LEAST:
        return _nothing(n, f"{m} patients have a {kind}: too few to model who gets one ({LEAST} are needed).")
    votes = np.array([c.t_stage.position for c in cases if c.t_stage is not None], int)
    labels = np.array([s.position if s is not None else 0 for _, s in pairs], int)
    cells = np.eye(16)[labels * 4 + votes] * known[:, None]
    late = (
        f" {len(chosen) - n} patients staged later than anybody with a {kind} are left out." if n < len(chosen) else ""
    )
    if m == n:
        table = cells.sum(axis=0)
        value, kappa = _of(table)
        drawn = _redraw(lambda counts: counts @ cells, n, draws, seed)
        return Weighted(
            value, _interval(drawn), kappa, n, float(m), (), 0, f"All {n} have a {kind}: nothing to weight.{late}",
            np.ones(m),
        )  # fmt: skip
    names, x = _design(cases, as_of, wait_days)
    first = _fit(x, known, np.ones(n))
    weights, cut, limit = _weights(first, known, np.ones(n))

    def redrawn(counts: np.ndarray) -> np.ndarray:
        tables = []
        for c in counts:
            # A cohort without a labelled, or without an unlabelled patient has no model.
            both = 0 < (c * known).sum() < c.sum()
            w = _weights(_fit(x, known, c), known, c)[0] if both else np.full(n, np.nan)
            tables.append((c * w) @ cells)
        return np.asarray(tables)

    value, kappa = _of(weights @ cells)
    hardly = int((first < _HARDLY).sum())
    sentence = (
        f"{m} patients with a {kind} stand for {n}, weighted by the inverse of their chance to have one; {cut} weights "
        f"were cut to the 1st or 99th percentile (largest {limit:.2f}).{late} Assumes that among patients alike in "
        "these covariates, who is labelled does not depend on whether the model was right."
    )
    if hardly:
        sentence += f" Of {hardly} patients hardly one in twenty like them has a {kind}: there the weights guess."
    of_labelled = weights[known]
    return Weighted(
        accuracy=value,
        interval=_interval(_redraw(redrawn, n, draws, seed)),
        kappa=kappa,
        n=n,
        effective_n=float(of_labelled.sum() ** 2 / (of_labelled**2).sum()),
        covariates=names,
        truncated=cut,
        sentence=sentence,
        weights=of_labelled / of_labelled.mean(),
    )


def _design(cases: Sequence[AuditCase], as_of: date, wait_days: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of what was used, and standardised columns (n, k); columns without any variation are left out."""
    columns: dict[str, list[np.ndarray]] = {}
    p = probability_rows(c.probabilities for c in cases)
    votes = np.array([c.t_stage.position for c in cases if c.t_stage is not None], int)
    columns["probabilities"] = list(p[:, 1:].T)
    columns["vote"] = [(votes == k).astype(float) for k in range(1, len(CLASSES))]
    columns["age"] = _measured([c.age_years for c in cases])
    columns["sex"] = _levels([c.sex for c in cases])
    columns["tumour size"] = _measured([c.tumour_size_cm for c in cases])
    columns["location"] = _levels([c.location for c in cases])
    columns["differentiation"] = _levels([c.differentiation for c in cases])
    # Who is operated first goes by what people saw: without these two, weighting makes such a choice worse.
    reads = [known_by(c, as_of).read for c in cases]
    columns["cT"] = _levels([None if r is None or r.radiologist_ct is None else str(r.radiologist_ct) for r in reads])
    columns["uT"] = _levels(
        [None if r is None or r.endosonographer_ut is None else str(r.endosonographer_ut) for r in reads]
    )
    days = np.array([min((as_of - c.night).days, wait_days) for c in cases], float)
    columns["days since staging"] = [days, np.log1p(days)]
    names, kept = [], []
    for name, found in columns.items():
        varying = [v for v in found if np.ptp(v) > 1e-12]
        if varying:
            names.append(name)
        kept += [(v - v.mean()) / v.std() for v in varying]
    return tuple(names), np.column_stack(kept) if kept else np.zeros((len(cases), 1))


def _measured(values: Sequence[float | None]) -> list[np.ndarray]:
    """The number, its mean where missing, and whether it is missing."""
    found = np.array([np.nan if v is None else v for v in values], float)
    missing = ~np.isfinite(found)
    mean = float(found[~missing].mean()) if (~missing).any() else 0.0
    return [np.where(missing, mean, found), missing.astype(float)]


def _levels(values: Sequence[str | None]) -> list[np.ndarray]:
    """A column a level but the first; what is not known is a level."""
    words = np.array([v or "unknown" for v in values], object)
    return [(words == level).astype(float) for level in sorted(set(words.tolist()))[1:]]


def _fit(x: np.ndarray, known: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Each patient's chance of a label, (n,)."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / RIDGE, solver="newton-cholesky", max_iter=50)
    model.fit(x, known, sample_weight=counts)
    return np.clip(model.predict_proba(x)[:, 1], 1e-6, 1.0)


def _weights(chance: np.ndarray, known: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, int, float]:
    """Stabilised weights (n,), 0 without a label; how many were cut, and the largest."""
    weights = np.where(known, (counts @ known) / counts.sum() / chance, 0.0)
    drawn = known & (counts > 0)
    low, high = np.quantile(np.repeat(weights[drawn], counts[drawn].astype(int)), TRUNCATED_AT)
    cut = int((weights[drawn] < low).sum() + (weights[drawn] > high).sum())
    return np.where(known, np.clip(weights, low, high), 0.0), cut, float(high)


def _of(table: np.ndarray) -> tuple[float, float | None]:
    square = table.reshape(1, 4, 4)
    kappa = float(kappas_of(square)[0])
    return float(np.trace(square[0]) / square.sum()), kappa if np.isfinite(kappa) else None


def _redraw(tables_of: Callable[[np.ndarray], np.ndarray], n: int, draws: int, seed: int) -> np.ndarray:
    if not draws:
        return np.zeros(0)
    found = []
    for counts in redrawn_counts(n, n, draws, seed):
        tables = tables_of(counts).reshape(-1, 4, 4)
        found.append(np.trace(tables, axis1=1, axis2=2) / tables.sum(axis=(1, 2)))
    return np.concatenate(found)


def _interval(drawn: np.ndarray) -> Interval | None:
    return wide(percentile_interval(drawn)) if len(drawn) else None


def _nothing(n: int, sentence: str) -> Weighted:
    return Weighted(None, None, None, n, None, (), 0, sentence)
