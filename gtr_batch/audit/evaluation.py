"""Every metric of staged patients whose pathology is known, with its interval.

What cannot be computed is None, and a sentence says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import evolve

from gtr_batch.audit.found.evaluation import (
    CalibrationError,
    CalibrationLine,
    Evaluation,
    HosmerLemeshow,
    Interval95,
    NetBenefit,
    ReliabilityBin,
)
from gtr_batch.errors import InputRefused
from gtr_batch.metrics import calibration as cal
from gtr_batch.metrics import classification as cls
from gtr_batch.metrics import linearised
from gtr_batch.metrics.intervals import percentile_interval, wide, wilson
from gtr_batch.metrics.probability import brier, log_loss, rps
from gtr_batch.metrics.redrawing import WeightedAuc, confusion_by_patient, kappas_of, redrawn_counts
from gtr_batch.metrics.reliability import reliability
from gtr_batch.metrics.roc import roc_points
from gtr_batch.metrics.selective import risk_coverage
from gtr_batch.metrics.utility import decision_curve, treatment

FEW = 20  # patients; below, a bootstrap is too sure of itself
_REPEATED = 0.02  # share of rows; probabilities of few digits are alike now and then
_AUCS = (*cls.CLASSES, "macro")


def evaluate(
    labels: Sequence[int] | np.ndarray,
    probabilities: Sequence[Sequence[float]] | np.ndarray,
    *,
    predicted: Sequence[int] | np.ndarray | None = None,
    patients: Sequence[Any] | np.ndarray | None = None,
    draws: int = 1000,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Evaluation:
    """All metrics of stages and probabilities against pathology. The order of the rows does not matter.

    Parameters
    ----------
    labels : array, (n,), int
        Pathological stages as positions 0 to 3 of T1 to T4.
    probabilities : array, (n, 4)
        P(T1) to P(T4); used as they are, not scaled to sum to 1.
    predicted : array, (n,), int, optional
        The stage that was given, where it is not the likeliest one (a vote); decides accuracy, kappa, rates, treatment.
    patients : array, (n,), optional
        Whose row it is, for the cluster bootstrap. None: every row is its own patient.
    draws, seed : int
        Of the bootstrap; 0 draws: none, and what needs it is None.
    progress : callable, optional
        Told how many draws are done.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputRefused
        Arrays do not belong together, a label is not 0 to 3, or a row is not four probabilities.
    """
    y, p, given, who = _ordered(labels, probabilities, predicted, patients)
    n = len(y)
    count = int(who.max()) + 1 if n else 0
    table = cls.confusion(y, given)
    right = int((given == y).sum())
    rates = cls.rates(table)
    placed = [cls.placements(y == k, p[:, k]) for k in range(len(cls.CLASSES))]
    auc, auc_ci = cls.auc_with_intervals(y, p, placed=placed)
    positive, said = cal.at_least_t3(y, p)
    line = cal.recalibration(positive, said)
    tests = {s: cal.hosmer_lemeshow(y == k, p[:, k]) for k, s in enumerate(cls.CLASSES)}
    use = treatment(positive, given >= 2)
    if draws and count > linearised.FROM:
        drawn = _linearised((y, given, who), placed, draws, progress)
    else:
        drawn = _redrawn((y, p, given, who), count, draws, seed, progress)
    found = Evaluation(
        n=n,
        patients=count,
        stages={s: int((y == k).sum()) for k, s in enumerate(cls.CLASSES)},
        accuracy=cls.accuracy(y, given),
        accuracy_ci=wilson(right, n),
        accuracy_ci_cluster=drawn["accuracy"],
        auc=auc,
        auc_ci={s: auc_ci[s] for s in _AUCS},
        auc_ci_cluster={s: drawn[s] for s in _AUCS},
        sensitivity=rates["sensitivity"],
        specificity=rates["specificity"],
        ppv=rates["ppv"],
        npv=rates["npv"],
        sensitivity_ci=_rate_intervals(table, "sensitivity"),
        specificity_ci=_rate_intervals(table, "specificity"),
        ppv_ci=_rate_intervals(table, "ppv"),
        npv_ci=_rate_intervals(table, "npv"),
        confusion=tuple(tuple(row) for row in table.astype(int).tolist()),
        quadratic_kappa=cls.kappa_of(table),
        quadratic_kappa_ci=drawn["kappa"],
        rps=rps(y, p),
        brier=brier(y, p),
        log_loss=log_loss(y, p),
        ece=CalibrationError(cal.ece_top(y, p), cal.ece_classwise(y, p), cal.ece_null_95(p)),
        hosmer_lemeshow=_tests(tests),
        calibration=_line(line),
        net_benefit=tuple(NetBenefit(**row) for row in decision_curve(positive, said)),  # type: ignore[arg-type]
        over_treatment=use.over,
        under_treatment=use.under,
        nnt=use.nnt,
        reliability=tuple(ReliabilityBin(**row) for row in reliability(y, p)),
        roc={s: _points(roc_points(y == k, p[:, k])) for k, s in enumerate(cls.CLASSES)},
        draws=draws,
        seed=seed,
    )
    curve = risk_coverage(given == y, p.max(axis=1))
    return evolve(found, sentences=tuple(_sentences(found, y, p, who, draws)), risk_coverage=curve)


def _ordered(labels: Any, probabilities: Any, predicted: Any, patients: Any) -> tuple[np.ndarray, ...]:
    """Checked arrays in an order of their own, so that sums and draws do not depend on how the rows came."""
    p = np.asarray(probabilities, float)
    p = p.reshape(0, 4) if p.size == 0 else p
    n = len(p)
    if p.ndim != 2 or p.shape[1] != 4:
        raise InputRefused(f"probabilities must be (n, 4), P(T1) to P(T4); these are {p.shape}")
    bad = ~(np.isfinite(p).all(axis=1) & (p >= 0).all(axis=1) & (np.abs(p.sum(axis=1) - 1) <= 1e-3 + 1e-9))
    if bad.any():
        raise InputRefused(
            f"{int(bad.sum())} of {n} rows are not four finite probabilities that sum to 1 within 0.001; "
            f"the first is at position {int(bad.argmax())}"
        )
    y = _positions(labels, n, "labels")
    given = p.argmax(axis=1) if predicted is None else _positions(predicted, n, "predicted stages")
    if patients is None:
        order = np.lexsort((given, *p.T, y))
        return y[order], p[order], given[order], np.arange(n)
    if len(patients) != n:
        raise InputRefused(f"{len(patients)} patients for {n} rows")
    _, who = np.unique(_quickly_sorted(np.asarray(patients)), return_inverse=True)
    order = np.lexsort((given, *p.T, y, who))
    return y[order], p[order], given[order], who[order]


def _quickly_sorted(patients: np.ndarray) -> np.ndarray:
    """The same patients in the same order: short words as fixed-width text, which sorts four times as fast."""
    if patients.dtype != object or not all(type(one) is str and len(one) <= 64 for one in patients):
        return patients
    return patients.astype(str)


def _positions(values: Any, n: int, what: str) -> np.ndarray:
    found = np.asarray(values)
    if found.shape != (n,):
        raise InputRefused(f"{what} must be ({n},), one a row of probabilities; these are {found.shape}")
    if n and (found.dtype.kind not in "iu" or found.min() < 0 or found.max() > 3):
        raise InputRefused(f"{what} must be whole numbers 0 to 3, the positions of T1 to T4")
    return found.astype(int)


def _redrawn(
    rows: tuple[np.ndarray, ...], count: int, draws: int, seed: int, progress: Callable[[int], object] | None
) -> dict[str, Interval95 | None]:
    """Percentile intervals of accuracy, kappa and the AUCs over redrawn patients."""
    y, p, given, who = rows
    names = ("accuracy", "kappa", *_AUCS)
    if draws < 1 or count < 2:  # of one patient nothing can be redrawn
        return dict.fromkeys(names)
    of_patient = confusion_by_patient(y, given, who, count)
    auc = WeightedAuc(y, p)
    values, done = [], 0
    for counts in redrawn_counts(count, len(y), draws, seed):
        tables = (counts @ of_patient).reshape(-1, 4, 4)
        accuracy = np.trace(tables, axis1=1, axis2=2) / tables.sum(axis=(1, 2))
        values.append(np.column_stack([accuracy, kappas_of(tables), auc(counts[:, who])]))
        done += len(counts)
        if progress is not None:
            progress(done)
    columns = np.concatenate(values).T
    return {name: wide(percentile_interval(v)) for name, v in zip(names, columns, strict=True)}


def _linearised(
    rows: tuple[np.ndarray, ...], placed: Sequence[cls.Placed], draws: int, progress: Callable[[int], object] | None
) -> dict[str, Interval95 | None]:
    """The same of so many patients that it can be computed without drawing."""
    y, given, who = rows
    found = linearised.linearised_intervals(y, given, placed, who)
    if progress is not None:
        progress(draws)
    return {name: wide(interval) for name, interval in found.items()}


def _rate_intervals(table: np.ndarray, name: str) -> dict[str, Interval95 | None]:
    n, found = int(table.sum()), {}
    for k, stage in enumerate(cls.CLASSES):
        hit, true, called = int(table[k, k]), int(table[k].sum()), int(table[:, k].sum())
        missed = n - true - called + hit
        part, whole = {
            "sensitivity": (hit, true),
            "specificity": (missed, n - true),
            "ppv": (hit, called),
            "npv": (missed, n - called),
        }[name]
        found[stage] = wilson(part, whole)
    return found


def _tests(found: Mapping[str, dict[str, float] | None]) -> dict[str, HosmerLemeshow]:
    known = {stage: test for stage, test in found.items() if test is not None}
    together = dict(zip(known, cal.holm([test["p"] for test in known.values()]), strict=True))
    return {
        stage: HosmerLemeshow(None, None)
        if test is None
        else HosmerLemeshow(
            test["statistic"] if math.isfinite(test["statistic"]) else None, test["p"], test["p_df8"], together[stage]
        )
        for stage, test in found.items()
    }


def _line(found: cal.Recalibration | None) -> CalibrationLine:
    return CalibrationLine() if found is None else CalibrationLine(**found.to_json())


def _points(found: list[list[float]] | None) -> tuple[tuple[float, float], ...] | None:
    return None if found is None else tuple((x, y) for x, y in found)


def _sentences(found: Evaluation, y: np.ndarray, p: np.ndarray, who: np.ndarray, draws: int) -> list[str]:
    """Why something is None, and what a number must not be taken for."""
    n, count = found.n, found.patients
    if not n:
        return ["There is no row: nothing can be computed."]
    told = []
    if count < n:
        several = _with_several_labels(y, who)
        told.append(
            f"{n} rows are of {count} patients: Wilson's and DeLong's intervals take rows as independent and are too "
            "narrow; hold to the cluster intervals."
        )
        if several:
            told.append(f"{several} patients have rows with different pathological stages.")
    again = _said_again(y, p, who if count < n else None)
    if again > n * _REPEATED:
        told.append(
            f"{again} rows repeat another row{' of the same patient' if count < n else ''} to the last digit: if they "
            "are the same cases, they count twice."
        )
    absent = [s for s, k in found.stages.items() if k == 0]
    if absent:
        there = "that stage" if len(absent) == 1 else "those stages"
        told.append(
            f"No row of pathological {' or '.join(absent)}: sensitivity and AUC of {there} and the macro AUC cannot be "
            "computed."
        )
    uncalled = [s for s in cls.CLASSES if found.ppv[s] is None]
    if uncalled:
        told.append(f"No row was staged {' or '.join(uncalled)}: no PPV there.")
    parted = [s for s in _AUCS if found.auc[s] is not None and found.auc_ci[s] is None]
    if parted:
        told.append(
            f"AUC of {', '.join(parted)}: no DeLong interval, since one side has a single row, the two are parted "
            "without an error, or the same was said of all."
        )
    few = [s for s, k in found.stages.items() if 1 < min(k, found.n - k) < cls.FEW]
    if few:
        told.append(
            f"AUC of {', '.join(few)}: fewer than {cls.FEW} patients on one side; Newcombe's interval stands in place "
            "of DeLong's, which covers too little there, and the macro AUC's is widened. Such a number hardly tells."
        )
    if found.quadratic_kappa is None:
        told.append("Kappa is not defined: label and answer are one and the same stage throughout.")
    if draws and count < 2:
        told.append("All rows are of one patient: no cluster interval.")
    elif draws and count > linearised.FROM:
        told.append(
            f"{count} patients: the cluster intervals are computed from each patient's influence, which redrawing only "
            "approaches; nothing was drawn."
        )
    elif draws and count < FEW:
        told.append(f"A bootstrap of {count} patients is too sure of itself: take the cluster intervals as too narrow.")
    told += _of_calibration(found, y, p)
    if found.nnt is None:
        told.append("NNT is not defined: not more patients would be treated rightly than wrongly.")
    return told


def _of_calibration(found: Evaluation, y: np.ndarray, p: np.ndarray) -> list[str]:
    told = []
    top, limit = found.ece.top, found.ece.null_95
    assert top is not None and limit is not None  # there are rows
    told.append(
        f"ECE {top:.3g} lies {'above' if top > limit else 'within'} what a perfectly calibrated model shows in 95% of "
        f"such samples (up to {limit:.3g})."
    )
    line = found.calibration
    if line.slope is None:
        told.append(
            "Calibration of T3 or more cannot be fitted: only one outcome occurred, or the same was said of all."
        )
    elif line.penalised:
        told.append("Calibration of T3 or more is nearly separated: slope and intercept are Firth's, pulled towards 0.")
    none = [s for s, t in found.hosmer_lemeshow.items() if t.p is None]
    if none:
        told.append(
            f"Hosmer-Lemeshow of {', '.join(none)}: fewer than ten rows, only one outcome, or too few different "
            "probabilities."
        )
    endless = [s for s, t in found.hosmer_lemeshow.items() if t.p is not None and t.statistic is None]
    if endless:
        told.append(
            f"Hosmer-Lemeshow of {', '.join(endless)}: a group of rows was said to be impossible or certain and was "
            "not; the statistic has no bound."
        )
    impossible = int((p[np.arange(len(y)), y] <= 0).sum())
    if impossible:
        told.append(f"{impossible} rows had a probability of 0 for the true stage: log-loss counts it as 1e-15.")
    return told


def _said_again(y: np.ndarray, p: np.ndarray, who: np.ndarray | None) -> int:
    # Rows come in order, so what repeats lies side by side.
    alike = (y[1:] == y[:-1]) & (p[1:] == p[:-1]).all(axis=1)
    return int(alike.sum() if who is None else (alike & (who[1:] == who[:-1])).sum())


def _with_several_labels(y: np.ndarray, who: np.ndarray) -> int:
    # Rows come in order: what is alike lies side by side.
    another = (who[1:] == who[:-1]) & (y[1:] != y[:-1])
    return len(np.unique(who[1:][another]))
