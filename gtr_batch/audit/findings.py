"""What an audit found: a pure function of its inputs, JSON-able, without a clock, without NaN, without a patient."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import attrs
import numpy as np

from gtr_batch.audit.calibrated import reliability_of_stages
from gtr_batch.audit.cohorts import Cohorts, cohorts, first_night, in_period, of_model, settings_of, tally
from gtr_batch.audit.coverage import coverage
from gtr_batch.audit.over_time import inputs_over_time, months, outputs_over_time, refusals_by_code, refusals_over_time
from gtr_batch.audit.performance import criteria, headline_of, measure, reference_numbers, t4_understaging
from gtr_batch.audit.reading import eus_decision, overrides
from gtr_batch.audit.subgroups import subgroups
from gtr_batch.audit.unjudged import fates, not_judged
from gtr_batch.audit.verdict import answer
from gtr_batch.domain.audit import AuditCase
from gtr_batch.domain.audit_json import to_json
from gtr_batch.domain.audit_run import AuditInputs, AuditKind
from gtr_batch.metrics.intervals import wilson

_ALARM = ("monitor", "level", "night", "on", "watching_since", "sentence", "acknowledged_by", "note")
_SHOWN_SETTINGS = (
    "false_alarm_budget", "horizon_months", "odds_ratio", "tolerated_odds_ratio", "minimum_labels", "minimum_cases",
    "baseline_weeks", "label_wait_days", "t4_understaging_cap", "stop_monitors", "pause_delivery", "draws", "seed",
)  # fmt: skip


def compute(inputs: AuditInputs) -> dict[str, Any]:
    """Judge a period.

    Parameters
    ----------
    inputs : AuditInputs

    Returns
    -------
    dict
        ``run``, ``answer`` (yes | look | stop | cannot tell), ``reasons``, ``headline`` (what the next run compares
        with), ``monitors``, ``alarms``, ``counts``, ``inputs`` (headers and quality by week), ``outputs``,
        ``refusals``, ``not_judged``, ``could_have_seen``, ``settings``; in a monthly run also ``performance``,
        ``criteria``, ``previous``, ``reference``, ``labels``, ``readers``, ``subgroups``, ``overrides``, ``fates``,
        ``coverage``. The same inputs give the same findings; what cannot be computed is None, and a sentence says why.
    """
    from gtr_batch.audit.monitors import watch

    digest, rows = inputs.digest, len(inputs.cases)
    inputs = _each_case_once(inputs)
    settings, alarms = settings_of(inputs), to_json(inputs.alarms)
    weekly = inputs.kind is AuditKind.WEEK
    monitors = [dict(w.to_json()) for w in watch(inputs)]
    found = cohorts(inputs)
    now = in_period(inputs)
    tallied = tally(now)
    body: dict[str, Any] = {"monitors": monitors, "counts": tallied}
    monthly: dict[str, Any] = {"criteria": []}
    headline: dict[str, Any] = {**tallied, "n": len(found.window), "right": found.window.right}
    if not weekly:
        monthly = _monthly(inputs, found, settings)
        headline = headline_of(monthly["performance"]["window"], found, tallied, monthly["performance"]["t4"])
    word, reasons = answer(
        monitors,
        alarms,
        monthly["criteria"],
        tallied,
        n_labelled=len(found.window),
        minimum_labels=int(settings["minimum_labels"]),
        weekly=weekly,
    )
    since = max(inputs.since, min((c.night for c in inputs.cases), default=inputs.first))
    body |= {
        "run": _run(inputs, found) | {"run_id": digest, "rows": rows},
        "answer": word,
        "reasons": reasons,
        "headline": headline,
        "alarms": [{k: _text(a[k]) for k in _ALARM if a.get(k) is not None} for a in alarms],
        "inputs": inputs_over_time(of_model(inputs), since, inputs.last, inputs.reference),
        "outputs": outputs_over_time(of_model(inputs), since, inputs.last)
        | {"reference": inputs.reference.output.t_stage or None},
        "refusals": {
            "now": refusals_by_code(now, [c for c in inputs.cases if c.night < inputs.first]),
            "over_time": refusals_over_time(inputs.cases, since, inputs.last),
        },
        "not_judged": not_judged(inputs, found, monitors, monthly["criteria"], int(settings["minimum_labels"]))
        + _said_twice(rows, len(inputs.cases)),
        "could_have_seen": _could_have_seen(monitors),
        "settings": {k: _text(settings[k]) for k in _SHOWN_SETTINGS}
        | {"shares": {k.removeprefix("share_"): v for k, v in sorted(settings.items()) if k.startswith("share_")}},
    }
    cleaned: dict[str, Any] = plain(body | monthly)
    return cleaned


def _monthly(inputs: AuditInputs, found: Cohorts, settings: Mapping[str, Any]) -> dict[str, Any]:
    from gtr_batch.audit.labels import estimates, maturity
    from gtr_batch.audit.readers import compare_readers

    draws, seed, wait = int(settings["draws"]), int(settings["seed"]), int(settings["label_wait_days"])
    mine = of_model(inputs)
    window = measure(found.window, draws=draws, seed=seed)
    t4 = t4_understaging(found.window)
    reference = reference_numbers(inputs.model)
    lately = [c for c in mine if c.night >= found.window_first]
    return {
        "performance": {
            "window": window,
            "period": measure(found.period, draws=0, seed=seed),
            "window_first": found.window_first,
            "until": found.until,
            "since_promotion": found.since_promotion,
            "t4": t4,
            "reliability": reliability_of_stages(found.window),
            "stages": np.bincount(found.window.labels, minlength=4),
            "by_month": _by_month(inputs, found),
            "eus": eus_decision(found.window),
        },
        "criteria": criteria(found, window, t4, previous=inputs.previous, reference=reference, settings=settings),
        "previous": dict(inputs.previous) or None,
        "reference": reference,
        "labels": {
            "maturity": maturity(mine, inputs.as_of, wait),
            "estimates": estimates(lately, inputs.as_of, wait_days=wait, draws=draws, seed=seed),
        },
        "readers": compare_readers(found.window.cases, inputs.as_of, draws=draws, seed=seed),
        "subgroups": subgroups(found.window),
        "overrides": overrides(inputs, mine),
        "fates": fates(inputs, found.everybody.cases, wait),
        "coverage": coverage(found.window, inputs.model),
    }


def _run(inputs: AuditInputs, found: Cohorts) -> dict[str, Any]:
    return {
        "kind": inputs.kind,
        "period": inputs.period,
        "first": inputs.first,
        "last": inputs.last,
        "since": inputs.since,
        "as_of": inputs.as_of,
        "model_version": inputs.model_version,
        "model": inputs.model.name or "",
        "demo": bool(inputs.model.demo),
        "code_version": inputs.code_version,
        "cases": len(inputs.cases),
        "term": first_night(inputs),
        "window_first": found.window_first,
        "until": found.until,
    }


def _by_month(inputs: AuditInputs, found: Cohorts) -> list[dict[str, Any]]:
    """Accuracy by the month in which pathology was reported, over the window."""
    rows = []
    for month in months(found.window_first, found.until):
        inside = found.window.where([_reported(c) == month for c in found.window.cases])
        n, k = len(inside), inside.right
        rows.append({"month": month, "n": n, "right": k, "accuracy": k / n if n else None, "ci": wilson(k, n)})
    return rows


def _reported(case: AuditCase) -> str:
    assert case.surgery is not None and case.surgery.reported_on is not None  # it has a pT
    return f"{case.surgery.reported_on:%Y-%m}"


def _could_have_seen(monitors: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [{"title": m["title"], "sentence": m["could_have_seen"]} for m in monitors if m.get("could_have_seen")]


def _each_case_once(inputs: AuditInputs) -> AuditInputs:
    """One row a case, whatever their order: of rows that say different things, the last in the order of their JSON."""
    if len({c.case_id for c in inputs.cases}) == len(inputs.cases):
        return inputs
    ordered = sorted(inputs.cases, key=lambda c: json.dumps(to_json(c), sort_keys=True))
    return attrs.evolve(inputs, cases=tuple({c.case_id: c for c in ordered}.values()))


def _said_twice(rows: int, cases: int) -> list[str]:
    if rows == cases:
        return []
    return [f"{rows - cases} of {rows} rows say again what another row said of the same case; one of each counts."]


def plain(value: Any) -> Any:
    """JSON-able: arrays as lists, dates and enums as text, floats to ten digits, None for what is not finite."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, Enum):
        return str(value.value)
    if value is None or isinstance(value, bool | np.bool_):
        return None if value is None else bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{value:.10g}") if math.isfinite(value) else None
    return str(value)


def _text(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | list | tuple) else str(value)
