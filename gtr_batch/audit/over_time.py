"""What came in and what went out, week by week and month by month, as shares and quantiles for tables and pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np

from gtr_batch.domain.audit import AuditCase
from gtr_batch.domain.reference import Reference
from gtr_batch.domain.staging import STAGES

HEADERS = ("model", "kvp", "thickness_mm", "kernel", "contrast_agent")
QUALITY = ("slices", "coverage_mm", "spacing_mm", "air_hu", "aorta_hu", "liver_hu")
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
) -> dict[str, Any]:
    """Counts of each value by period.

    Parameters
    ----------
    first : sequence of str
        Values that come first, in this order; the others follow by how frequent they are.

    Returns
    -------
    dict
        ``periods``, ``n`` (a period each), and ``values``: counts by period of each value, the rarest joined.
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
    values = {v: [counted[p][v] for p in periods] for v in named}
    if len(named) < len(order):
        rare = order[MOST - 1 :]
        values[OTHER] = [sum(counted[p][v] for v in rare) for p in periods]
    return {"periods": list(periods), "n": [sum(counted[p].values()) for p in periods], "values": values}


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


def quantiles_over_time(cases: Sequence[AuditCase], periods: Sequence[str], name: str) -> list[dict[str, Any]]:
    """``n``, and the 10%, 50% and 90% points of one measure, by week; None where nothing was measured."""
    measured: dict[str, list[float]] = {p: [] for p in periods}
    for c in cases:
        value = c.facts.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and week_of(c) in measured:
            measured[week_of(c)].append(float(value))
    rows = []
    for p in periods:
        found = np.quantile(measured[p], [0.1, 0.5, 0.9]).tolist() if measured[p] else [None] * 3
        rows.append({"n": len(measured[p]), "low": found[0], "median": found[1], "high": found[2]})
    return rows


def inputs_over_time(cases: Sequence[AuditCase], first: date, last: date, reference: Reference) -> dict[str, Any]:
    """Headers and image quality of staged cases by week, with what the reference had where there is one."""
    staged = [c for c in cases if c.t_stage is not None]
    periods = [str(w) for w in weeks(first, last)]
    headers = {name: shares_over_time(staged, periods, week_of, header_value(name)) for name in HEADERS}
    known = reference.headers
    for name, found in headers.items():
        found["reference"] = _reference_shares(known.get(name), found["values"])
    levels, quality = reference.levels, reference.quality
    return {
        "headers": headers,
        "quality": {
            name: {
                "weeks": quantiles_over_time(staged, periods, name),
                "reference": _reference_band(quality.get(name), levels),
            }
            for name in QUALITY
        },
        "weeks": periods,
    }


def outputs_over_time(cases: Sequence[AuditCase], first: date, last: date) -> dict[str, Any]:
    """What the model said, by month: stages, votes that differ, where key slices came from."""
    staged = [c for c in cases if c.t_stage is not None]
    periods = months(first, last)
    stages = shares_over_time(staged, periods, lambda c: c.month, lambda c: str(c.t_stage), [str(s) for s in STAGES])
    source = shares_over_time(staged, periods, lambda c: c.month, lambda c: c.key_slice_source or "not given")
    voted = [c for c in staged if c.slice_stages]
    apart = [sum(len(set(c.slice_stages)) > 1 for c in voted if c.month == p) for p in periods]
    return {
        "stages": stages,
        "key_slice": source,
        "disagreement": {"n": [sum(c.month == p for c in voted) for p in periods], "apart": apart},
    }


def refusals_over_time(cases: Sequence[AuditCase], first: date, last: date) -> dict[str, Any]:
    """Refusals by code, by month, with how many cases were seen."""
    periods = months(first, last)
    refused = [c for c in cases if c.refusal]
    found = shares_over_time(refused, periods, lambda c: c.month, lambda c: c.refusal)
    found["seen"] = [sum(c.month == p for c in cases) for p in periods]
    found["failed"] = [sum(c.month == p and c.failed for c in cases) for p in periods]
    return found


def refusals_by_code(now: Sequence[AuditCase], before: Sequence[AuditCase]) -> list[dict[str, Any]]:
    """Refusals of the period by code, most frequent first, beside the share that the code had before."""
    counted, earlier = (Counter(c.refusal for c in some if c.refusal) for some in (now, before))
    return [
        {
            "code": code,
            "n": counted[code],
            "share": counted[code] / len(now) if now else None,
            "before": earlier[code] / len(before) if before else None,
        }
        for code in sorted(counted | earlier, key=lambda code: (-counted[code], -earlier[code], code))
    ]


def _reference_shares(known: Mapping[str, float] | None, values: Mapping[str, Any]) -> dict[str, float] | None:
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


def _reference_band(values: Sequence[float] | None, levels: Sequence[float]) -> list[float] | None:
    if not values or len(values) != len(levels):
        return None
    at = dict(zip((round(float(level), 3) for level in levels), values, strict=True))
    return [at[k] for k in (0.1, 0.5, 0.9)] if {0.1, 0.5, 0.9} <= set(at) else None
