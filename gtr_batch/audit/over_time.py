"""What came in and what went out, week by week and month by month, as shares and quantiles for tables and pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta

import numpy as np

from gtr_batch.audit.found.service import (
    CameIn,
    Disagreement,
    HeaderOverTime,
    QualityOverTime,
    RefusalCount,
    RefusalsOverTime,
    SharesOverTime,
    WeekOfMeasure,
    WentOut,
)
from gtr_batch.domain.audit import AuditCase
from gtr_batch.domain.reference import Reference
from gtr_batch.domain.series_fact import FactKind, charted
from gtr_batch.domain.staging import STAGES

MOST = 6  # values of one header; the rarer ones are counted together
OTHER = "other"


def weeks(first: date, last: date) -> list[date]:
    """Mondays of the weeks from that of `first` to that of `last`."""
    monday = first - timedelta(days=first.weekday())
    return [monday + timedelta(days=7 * k) for k in range((last - monday).days // 7 + 1)]


def months(first: date, last: date) -> list[str]:
    """``2026-03`` of every month from that of `first` to that of `last`."""
    at, found = (first.year, first.month), []
    while at <= (last.year, last.month):
        found.append(f"{at[0]:04d}-{at[1]:02d}")
        at = (at[0] + 1, 1) if at[1] == 12 else (at[0], at[1] + 1)
    return found


def week_of(case: AuditCase) -> str:
    """The Monday of a case's week."""
    return str(case.night - timedelta(days=case.night.weekday()))


def shares_over_time(
    cases: Sequence[AuditCase],
    periods: Sequence[str],
    period: Callable[[AuditCase], str],
    value: Callable[[AuditCase], str],
    first: Sequence[str] = (),
) -> SharesOverTime:
    """Counts of each value by period.

    Parameters
    ----------
    first : sequence of str
        Values that come first, in this order; the others follow by how frequent they are.

    Returns
    -------
    SharesOverTime
    """
    counted: dict[str, Counter[str]] = {p: Counter() for p in periods}
    for c in cases:
        at = period(c)
        if at in counted:
            counted[at][value(c)] += 1
    total: Counter[str] = sum(counted.values(), Counter())
    frequent = [v for v, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))]
    order = [v for v in first if v in total] + [v for v in frequent if v not in first]
    named = order if len(order) <= MOST else order[: MOST - 1]
    values = {v: tuple(counted[p][v] for p in periods) for v in named}
    if len(named) < len(order):
        rare = order[MOST - 1 :]
        values[OTHER] = tuple(sum(counted[p][v] for v in rare) for p in periods)
    return SharesOverTime(tuple(periods), tuple(sum(counted[p].values()) for p in periods), values)


def header_value(name: str) -> Callable[[AuditCase], str]:
    """What a header says of a case, in words."""

    def of(case: AuditCase) -> str:
        value = case.facts.get(name)
        if value is None or value == "":
            return "not given"
        if isinstance(value, bool):
            return "yes" if value else "no"
        return f"{value:g}" if isinstance(value, int | float) else str(value)

    return of


def quantiles_over_time(cases: Sequence[AuditCase], periods: Sequence[str], name: str) -> tuple[WeekOfMeasure, ...]:
    """The 10%, 50% and 90% points of one measure, by week; None where nothing was measured."""
    measured: dict[str, list[float]] = {p: [] for p in periods}
    for c in cases:
        value = c.facts.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and week_of(c) in measured:
            measured[week_of(c)].append(float(value))
    rows = []
    for p in periods:
        found = np.quantile(measured[p], [0.1, 0.5, 0.9]).tolist() if measured[p] else [None] * 3
        rows.append(WeekOfMeasure(len(measured[p]), *found))
    return tuple(rows)


def inputs_over_time(cases: Sequence[AuditCase], first: date, last: date, reference: Reference) -> CameIn:
    """Headers and image quality of staged cases by week, with what the artefact's reference had where there is one."""
    staged = [c for c in cases if c.t_stage is not None]
    periods = tuple(str(w) for w in weeks(first, last))
    known = reference.headers
    headers = {}
    for name in (fact.name for fact in charted(FactKind.NAME)):
        found = shares_over_time(staged, periods, week_of, header_value(name))
        expected = _reference_shares(known.get(name), found.values)
        headers[name] = HeaderOverTime(found.periods, found.n, found.values, expected)
    levels, quality = reference.levels, reference.quality
    measures = {
        name: QualityOverTime(quantiles_over_time(staged, periods, name), _reference_band(quality.get(name), levels))
        for name in (fact.name for fact in charted(FactKind.NUMBER))
    }
    return CameIn(headers, measures, periods)


def outputs_over_time(
    cases: Sequence[AuditCase], first: date, last: date, reference: Sequence[float] | None = None
) -> WentOut:
    """What the model said, by month: stages, votes that differ, where key slices came from.

    Parameters
    ----------
    reference : sequence of float, optional
        The artefact's shares of T1 to T4.
    """
    staged = [c for c in cases if c.t_stage is not None]
    periods = months(first, last)
    voted = [c for c in staged if c.slice_stages]
    return WentOut(
        stages=shares_over_time(staged, periods, lambda c: c.month, lambda c: str(c.t_stage), [str(s) for s in STAGES]),
        key_slice=shares_over_time(staged, periods, lambda c: c.month, lambda c: c.key_slice_source or "not given"),
        disagreement=Disagreement(
            n=tuple(sum(c.month == p for c in voted) for p in periods),
            apart=tuple(sum(len(set(c.slice_stages)) > 1 for c in voted if c.month == p) for p in periods),
        ),
        reference=None if reference is None else tuple(reference),
    )


def refusals_over_time(cases: Sequence[AuditCase], first: date, last: date) -> RefusalsOverTime:
    """Refusals by code, by month, with how many cases were seen."""
    periods = months(first, last)
    refused = [c for c in cases if c.refusal]
    found = shares_over_time(refused, periods, lambda c: c.month, lambda c: c.refusal)
    return RefusalsOverTime(
        periods=found.periods,
        n=found.n,
        values=found.values,
        seen=tuple(sum(c.month == p for c in cases) for p in periods),
        failed=tuple(sum(c.month == p and c.failed for c in cases) for p in periods),
    )


def refusals_by_code(now: Sequence[AuditCase], before: Sequence[AuditCase]) -> tuple[RefusalCount, ...]:
    """Refusals of the period by code, most frequent first, beside the share that the code had before."""
    counted, earlier = (Counter(c.refusal for c in some if c.refusal) for some in (now, before))
    return tuple(
        RefusalCount(
            code=code,
            n=counted[code],
            share=counted[code] / len(now) if now else None,
            before=earlier[code] / len(before) if before else None,
        )
        for code in sorted(counted | earlier, key=lambda code: (-counted[code], -earlier[code], code))
    )


def _reference_shares(
    known: Mapping[str, float] | None, values: Mapping[str, Sequence[int]]
) -> dict[str, float] | None:
    if not known:
        return None
    found = dict.fromkeys(values, 0.0)
    for raw, share in known.items():
        word = _as_value(raw)
        key = word if word in found else OTHER
        found[key] = found.get(key, 0.0) + float(share)
    return found


def _as_value(raw: str) -> str:
    """A reference's value, which was kept as Python wrote it, as `header_value` says it."""
    if raw in ("True", "False", "unknown", "None", ""):
        return {"True": "yes", "False": "no"}.get(raw, "not given")
    try:
        return f"{float(raw):g}"
    except ValueError:
        return raw


def _reference_band(values: Sequence[float] | None, levels: Sequence[float]) -> tuple[float, ...] | None:
    if not values or len(values) != len(levels):
        return None
    at = dict(zip((round(float(level), 3) for level in levels), values, strict=True))
    return tuple(at[k] for k in (0.1, 0.5, 0.9)) if {0.1, 0.5, 0.9} <= set(at) else None
