"""Many simulated histories through the monitors: how often they alarm for nothing, and how soon for something.

Each history is watched once, at its end: monitors are stateless, and a path tells on which day it crossed first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from typing import Any

import attrs
import numpy as np
from attrs import frozen
from scipy.stats import beta
from threadpoolctl import threadpool_limits

from gtr_batch.audit.monitors import MONITORS, watch
from gtr_batch.audit.monitors.budget import DAYS_A_MONTH
from gtr_batch.audit.monitors.stage_shift import pathology_of
from gtr_batch.config import AuditConfig
from gtr_batch.metrics.intervals import wilson
from gtr_batch.simulation.hospital.months import FIRST, Months, inputs_of

# Which monitor is meant to see which shift.
MEANT = {"or": "stage_shift", "scanner": "headers", "scanner-midweek": "headers"}


@frozen
class History:
    """What the monitors said of one history: first crossings by monitor, and reports of pT by day."""

    seed: int
    crossed: dict[str, date]
    silent: tuple[str, ...]  # monitors that could not tell even at the end
    labelled: int
    labelled_after: tuple[tuple[date, int], ...]  # after the shift began: day, patients staged since whose pT was known


def one_history(months: Months, config: AuditConfig) -> History:
    """Simulate and watch one history."""
    with threadpool_limits(1):
        inputs = inputs_of(months, config)
        watched = watch(inputs)
    seen = pathology_of(inputs.cases, inputs.as_of)
    after: list[tuple[date, int]] = []
    if months.shifts_on is not None:
        late = pathology_of([c for c in inputs.cases if c.night >= months.shifts_on], inputs.as_of)
        after = [(day, k) for k, day in enumerate(late.days, 1)]
    return History(
        months.seed,
        {w.name: w.crossed_on for w in watched if w.crossed_on is not None},
        tuple(w.name for w in watched if w.state == "cannot tell"),
        len(seen.labels),
        tuple(after),
    )


def study(
    months: Months,
    runs: int,
    *,
    config: AuditConfig | None = None,
    processes: int = 2,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Watch many histories.

    Parameters
    ----------
    months : Months
        Its seed is the first history's; the others follow.
    runs : int
    config : AuditConfig, optional
        Settings of the audit; default: the defaults.
    processes : int
    progress : callable
        Called with the number of histories done.

    Returns
    -------
    dict
        As `summary`, with ``wall_seconds`` and ``load`` (of the machine, over the last minute).
    """
    began, settings = time.monotonic(), config or AuditConfig()
    each = [attrs.evolve(months, seed=months.seed + k) for k in range(runs)]
    found = []
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for history in pool.map(one_history, each, [settings] * runs, chunksize=4):
            found.append(history)
            progress(len(found))
    table = summary(months, found, settings)
    return {**table, "wall_seconds": round(time.monotonic() - began, 1), "load": round(os.getloadavg()[0], 2)}


def summary(months: Months, found: Sequence[History], settings: AuditConfig) -> dict[str, Any]:
    """False alarms with their intervals, and delays of detection.

    A false alarm is one before the shift begins, or any without a shift. A delay counts from the first night of the
    shift to the day of the crossing, of the histories in which the monitor had not alarmed before; where it did not
    alarm by the end, the delay is longer than the history lasted, and counts as such in the quantiles.
    """
    on, runs = months.shifts_on, len(found)
    early = {m: [h for h in found if _false(h, m, on)] for m in MONITORS}
    any_false = sum(any(_false(h, m, on) for m in MONITORS) for h in found)
    watched_days = ((on or months.last) - FIRST).days
    result: dict[str, Any] = {
        "months": months.months,
        "per_month": months.per_month,
        "everyone_operated": months.everyone,
        "reference_patients": months.reference,
        "shift": f"{months.shift.kind}" + ("" if months.shift.kind == "none" else f"={months.shift.size:g}"),
        "shift_begins": None if on is None else str(on),
        "seed": months.seed,
        "runs": runs,
        "labelled_a_month": round(float(np.mean([h.labelled for h in found])) / months.months, 1) if runs else None,
        "budget": settings.false_alarm_budget,
        "false_alarms": {
            "months_at_risk": round(watched_days / DAYS_A_MONTH, 1),
            "histories": any_false,
            "share": any_false / runs if runs else None,
            "wilson": wilson(any_false, runs),
            "exact": clopper_pearson(any_false, runs),
            "by_monitor": {m: len(early[m]) for m in MONITORS},
        },
        "could_not_tell": {m: sum(m in h.silent for h in found) for m in MONITORS},
        "detection": None,
    }
    if on is not None:
        delays = {m: _delays(months, [h for h in found if not _false(h, m, on)], m) for m in MONITORS}
        result["detection"] = delays | {"any": _delays(months, [h for h in found if not _any_false(h, on)], None)}
        result["meant"] = MEANT.get(months.shift.kind, months.shift.kind)
    return result


def clopper_pearson(k: int, n: int, level: float = 0.95) -> tuple[float, float] | None:
    """Exact interval of a share; None where there is nothing to count."""
    if not n:
        return None
    tail = (1 - level) / 2
    low = 0.0 if k == 0 else float(beta.ppf(tail, k, n - k + 1))
    return low, 1.0 if k == n else float(beta.ppf(1 - tail, k + 1, n - k))


def _false(history: History, monitor: str, on: date | None) -> bool:
    crossed = history.crossed.get(monitor)
    return crossed is not None and (on is None or crossed < on)


def _any_false(history: History, on: date) -> bool:
    return any(_false(history, m, on) for m in MONITORS)


def _delays(months: Months, histories: Sequence[History], monitor: str | None) -> dict[str, Any]:
    on = months.shifts_on
    assert on is not None  # asked only with a shift
    days: list[float] = []
    labels: list[float] = []
    week = 0
    for history in histories:
        crossings = [d for m, d in history.crossed.items() if monitor in (None, m)]
        crossed = min(crossings) if crossings else None
        days.append(np.inf if crossed is None else (crossed - on).days)
        known = [k for d, k in history.labelled_after if crossed is not None and d <= crossed]
        labels.append(np.inf if crossed is None else max(known, default=0))
        week += crossed is not None and crossed.isocalendar()[:2] == on.isocalendar()[:2]
    n, hits = len(days), sum(np.isfinite(days))
    return {
        "histories": n,
        "found": int(hits),
        "found_in_its_week": week,
        "share_in_its_week": week / n if n else None,
        "median_days": _quantile(days, 0.5),
        "p90_days": _quantile(days, 0.9),
        "median_months": _months(_quantile(days, 0.5)),
        "p90_months": _months(_quantile(days, 0.9)),
        "median_labelled": _quantile(labels, 0.5),
        "p90_labelled": _quantile(labels, 0.9),
    }


def _quantile(values: Sequence[float], level: float) -> float | None:
    """The empirical quantile that was reached: None where it lies beyond the end of the histories."""
    if not values:
        return None
    value = float(np.quantile(np.asarray(values, float), level, method="inverted_cdf"))
    return value if np.isfinite(value) else None


def _months(days: float | None) -> float | None:
    return None if days is None else round(days / DAYS_A_MONTH, 2)
