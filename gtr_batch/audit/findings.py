"""What an audit finds: a pure function of its inputs, without a clock, without a patient."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date

import attrs
import numpy as np

from gtr_batch.audit.calibrated import reliability_of_stages
from gtr_batch.audit.cohorts import Cohorts, cohorts, first_night, in_period, of_model, settings_of, tally
from gtr_batch.audit.coverage import coverage
from gtr_batch.audit.found.filed import alarm_from, findings_from_json, findings_to_json, headline_from
from gtr_batch.audit.found.findings import (
    AuditRun,
    CouldHaveSeen,
    Findings,
    MonthFindings,
    ShownSettings,
)
from gtr_batch.audit.found.patients import Labels
from gtr_batch.audit.found.performance import Headline, MonthOfReports, Performance, Tally, WeeklyHeadline
from gtr_batch.audit.found.service import Refusals
from gtr_batch.audit.labels import estimates, maturity, one_a_patient
from gtr_batch.audit.over_time import inputs_over_time, months, outputs_over_time, refusals_by_code, refusals_over_time
from gtr_batch.audit.performance import criteria, headline_of, measure, reference_numbers, t4_understaging
from gtr_batch.audit.readers import compare_readers
from gtr_batch.audit.reading import console_readings, eus_decision, overrides
from gtr_batch.audit.subgroups import subgroups
from gtr_batch.audit.unjudged import fates, not_judged
from gtr_batch.audit.verdict import answer
from gtr_batch.domain.audit import AuditCase
from gtr_batch.domain.audit_json import to_json
from gtr_batch.domain.audit_run import AuditInputs, AuditKind
from gtr_batch.metrics.intervals import wilson
from gtr_batch.metrics.table_one import TableOne, table_one


def compute(inputs: AuditInputs) -> Findings:
    """Judge a period.

    Returns
    -------
    Findings
        With every number as ``report.json`` will hold it, so that a report drawn from the kept file is the same. The
        same inputs give the same findings; what cannot be computed is None, and a sentence says why.
    """
    from gtr_batch.audit.monitors import watch

    digest, rows = inputs.digest, len(inputs.cases)
    inputs = _each_case_once(inputs)
    settings = settings_of(inputs)
    monitors = tuple(watch(inputs))
    alarms = tuple(alarm_from(a) for a in inputs.alarms)
    found = cohorts(inputs)
    now = in_period(inputs)
    tallied = tally(now)
    since = max(inputs.since, min((c.night for c in inputs.cases), default=inputs.first))
    month = None if inputs.kind is AuditKind.WEEK else _month(inputs, found, settings)
    word, reasons = answer(
        monitors,
        alarms,
        () if month is None else month.criteria,
        tallied,
        n_labelled=len(found.window),
        minimum_labels=settings.minimum_labels,
        weekly=month is None,
    )
    unknown = not_judged(inputs, found, monitors, () if month is None else month.criteria, settings.minimum_labels)
    raw = Findings(
        monitors=monitors,
        counts=tallied,
        run=_run(inputs, found, digest, rows),
        answer=word,
        reasons=tuple(reasons),
        headline=_headline(month, found, tallied),
        alarms=alarms,
        inputs=inputs_over_time(of_model(inputs), since, inputs.last, inputs.reference),
        outputs=outputs_over_time(of_model(inputs), since, inputs.last, inputs.reference.output.t_stage or None),
        refusals=Refusals(
            now=refusals_by_code(now, [c for c in inputs.cases if c.night < inputs.first]),
            over_time=refusals_over_time(inputs.cases, since, inputs.last),
        ),
        not_judged=(*unknown, *_repeated(rows, len(inputs.cases))),
        could_have_seen=tuple(CouldHaveSeen(m.title, m.could_have_seen) for m in monitors if m.could_have_seen),
        settings=settings,
        month=month,
    )
    return findings_from_json(findings_to_json(raw))


def _headline(month: MonthFindings | None, found: Cohorts, tallied: Tally) -> WeeklyHeadline | Headline:
    if month is None:
        return WeeklyHeadline(**attrs.asdict(tallied), n=len(found.window), right=found.window.right)
    return headline_of(month.performance.window, found, tallied, month.performance.t4)


def _month(inputs: AuditInputs, found: Cohorts, settings: ShownSettings) -> MonthFindings:
    draws, seed, wait = settings.draws, settings.seed, settings.label_wait_days
    mine = of_model(inputs)
    window, t4 = measure(found.window, draws=draws, seed=seed), t4_understaging(found.window)
    previous, reference = headline_from(inputs.previous), reference_numbers(inputs.model)
    lately = [c for c in mine if c.night >= found.window_first]
    return MonthFindings(
        performance=Performance(
            window=window,
            period=measure(found.period, draws=0, seed=seed),
            window_first=found.window_first,
            until=found.until,
            since_promotion=found.since_promotion,
            t4=t4,
            reliability=reliability_of_stages(found.window),
            stages=tuple(np.bincount(found.window.labels, minlength=4).tolist()),
            by_month=_by_month(found),
            eus=eus_decision(found.window),
        ),
        criteria=criteria(found, window, t4, previous=previous, reference=reference, settings=settings),
        previous=previous,
        reference=reference,
        labels=Labels(
            maturity=maturity(mine, inputs.as_of, wait),
            estimates=estimates(lately, inputs.as_of, wait_days=wait, draws=draws, seed=seed),
        ),
        readers=compare_readers(found.window.cases, inputs.as_of, draws=draws, seed=seed),
        subgroups=subgroups(found.window),
        overrides=overrides(inputs, mine),
        fates=fates(inputs, found.everybody.cases, wait),
        coverage=coverage(found.window),
        table_1=_table_one(lately, inputs.as_of),
        console=console_readings(inputs, mine),
    )


def _table_one(staged: Sequence[AuditCase], as_of: date) -> TableOne:
    """Patients whose pathology is known beside those of whom it is not: whom the numbers speak for."""
    chosen = one_a_patient(staged, as_of)
    with_pt = [c.characteristics for c in chosen if c.pathology(as_of) is not None]
    without = [c.characteristics for c in chosen if c.pathology(as_of) is None]
    return table_one({"with pT": with_pt, "without pT": without})


def _run(inputs: AuditInputs, found: Cohorts, digest: str, rows: int) -> AuditRun:
    return AuditRun(
        kind=inputs.kind,
        period=inputs.period,
        first=inputs.first,
        last=inputs.last,
        since=inputs.since,
        as_of=inputs.as_of,
        model_version=inputs.model_version,
        model=inputs.model.name or "",
        demo=bool(inputs.model.demo),
        code_version=inputs.code_version,
        cases=len(inputs.cases),
        term=first_night(inputs),
        window_first=found.window_first,
        until=found.until,
        run_id=digest,
        rows=rows,
    )


def _by_month(found: Cohorts) -> tuple[MonthOfReports, ...]:
    """Accuracy by the month in which pathology was reported, over the window."""
    rows = []
    for month in months(found.window_first, found.until):
        inside = found.window.where([_reported(c) == month for c in found.window.cases])
        n, k = len(inside), inside.right
        rows.append(MonthOfReports(month, n, k, k / n if n else None, wilson(k, n)))
    return tuple(rows)


def _reported(case: AuditCase) -> str:
    assert case.surgery is not None and case.surgery.reported_on is not None  # it has a pT
    return f"{case.surgery.reported_on:%Y-%m}"


def _each_case_once(inputs: AuditInputs) -> AuditInputs:
    """One row a case, whatever their order: of rows that say different things, the last in the order of their JSON."""
    if len({c.case_id for c in inputs.cases}) == len(inputs.cases):
        return inputs
    ordered = sorted(inputs.cases, key=lambda c: json.dumps(to_json(c), sort_keys=True))
    return attrs.evolve(inputs, cases=tuple({c.case_id: c for c in ordered}.values()))


def _repeated(rows: int, cases: int) -> list[str]:
    if rows == cases:
        return []
    return [f"{rows - cases} of {rows} rows say again what another row said of the same case; one of each counts."]
