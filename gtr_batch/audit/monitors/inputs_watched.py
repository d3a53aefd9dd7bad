"""Monitors of what comes in: headers, image quality, refusals, where key slices come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gtr_batch.audit.monitors.budget import QUARTER_EVERY
from gtr_batch.audit.monitors.details import Quantiles, Shares
from gtr_batch.audit.monitors.measures import Measure, Reading, measure_of, number_of
from gtr_batch.audit.monitors.power import detectable_share, least_count, percent
from gtr_batch.audit.monitors.watched import Watched
from gtr_batch.audit.monitors.weekly import least, since_of, watch_weekly, watches_anew
from gtr_batch.audit.monitors.weeks import watched_cases
from gtr_batch.domain.audit import AuditCase
from gtr_batch.domain.audit_run import AuditInputs
from gtr_batch.domain.series_fact import UNKNOWN, FactKind, FactMonitor, SeriesFact, watched_by


def watch_headers(inputs: AuditInputs) -> Watched:
    """Scanners and protocols of all series that validation measured; dose where facts have it."""
    cases = watched_cases(inputs, since_of(inputs, "headers"), lambda c: bool(c.facts))
    readings = [
        Reading(f.name, f.title, _header(f), f.weight, reference=_shares(inputs, "headers", f))
        for f in watched_by(FactMonitor.HEADERS)
        if f.kind is FactKind.NAME
    ]
    readings += [
        Reading(f.name, f.title, _number(f.name), f.weight, numeric=True, unit=f.unit)
        for f in watched_by(FactMonitor.HEADERS)
        if f.kind is FactKind.NUMBER and any(number_of(c.facts.get(f.name)) is not None for c in cases)
    ]
    measures = weighted(readings, cases)
    return watch_weekly(inputs, "headers", cases, measures, _new_value, fortnight=True)


def watch_quality(inputs: AuditInputs) -> Watched:
    """Image quality as validation measured it."""
    cases = watched_cases(inputs, since_of(inputs, "quality"), lambda c: bool(c.facts))
    readings = [
        Reading(
            f.name,
            f.title,
            _number(f.name),
            f.weight,
            numeric=True,
            unit=f.unit,
            reference=_quantiles(inputs, "quality", f.name),
        )
        for f in watched_by(FactMonitor.QUALITY)
        if any(f.name in c.facts for c in cases)
    ]
    return watch_weekly(inputs, "quality", cases, weighted(readings, cases), _beyond)


def watch_refusals(inputs: AuditInputs) -> Watched:
    """Share of studies that were refused, broke or got no stage, and why. The artefact knows nothing of them."""
    cases = watched_cases(inputs, since_of(inputs, "refusals"), lambda c: True)
    readings = [
        Reading("outcome", "outcome", _outcome, 2),
        Reading("code", "refusal code", lambda c: c.refusal or c.not_staged or ("failed" if c.failed else "staged"), 1),
    ]

    def power(measures: Sequence[Measure], week: int, quarter: int, alpha: float) -> str:
        return share_seen(measures, (week, quarter), alpha, name="outcome", value="refused", words="refused studies")

    return watch_weekly(inputs, "refusals", cases, weighted(readings, cases), power)


def watch_key_slice(inputs: AuditInputs) -> Watched:
    """Where key slices come from: reader's object, EHR, segmentation, or found automatically."""
    cases = watched_cases(inputs, since_of(inputs, "key_slice"), lambda c: bool(c.key_slice_source))
    readings = [Reading("source", "key slice from", lambda c: c.key_slice_source)]

    def power(measures: Sequence[Measure], week: int, quarter: int, alpha: float) -> str:
        words = "key slices found automatically"
        return share_seen(measures, (week, quarter), alpha, name="source", value="automatic", words=words)

    return watch_weekly(inputs, "key_slice", cases, weighted(readings, cases), power)


def weighted(readings: Sequence[Reading], cases: Sequence[AuditCase]) -> list[Measure]:
    """Measures of the readings, their weights scaled to sum to 1; none without cases."""
    total = sum(r.weight for r in readings)
    measures = [measure_of(r, cases) for r in readings] if cases else []
    for measure in measures:
        measure.weight /= total
    return measures


def usable(inputs: AuditInputs, monitor: str) -> int:
    """Patients in the artefact's reference; 0 where there is none, it is too small, or the monitor watches anew."""
    known = inputs.reference.n
    return 0 if known < least(inputs) or watches_anew(inputs, monitor) else known


def _shares(inputs: AuditInputs, monitor: str, fact: SeriesFact) -> Shares | None:
    n, shares = usable(inputs, monitor), inputs.reference.headers.get(fact.name)
    if not n or not shares:
        return None
    found: dict[str, float] = {}
    for value, share in sorted(shares.items()):
        said = fact.binned(value)
        found[said] = found.get(said, 0.0) + float(share)
    # A header that nobody recorded when the model was made says nothing of the scanners.
    return None if set(found) == {UNKNOWN} else Shares(n, found)


def _quantiles(inputs: AuditInputs, monitor: str, name: str) -> Quantiles | None:
    n, quantiles = usable(inputs, monitor), inputs.reference.quality.get(name)
    levels = inputs.reference.levels
    if not n or not quantiles or not levels or len(quantiles) != len(levels):
        return None
    return Quantiles(n, 0, levels, quantiles)


def _header(fact: SeriesFact) -> Callable[[AuditCase], str]:
    return lambda case: fact.binned(case.facts.get(fact.name, UNKNOWN))


def _number(name: str) -> Callable[[AuditCase], float | None]:
    return lambda case: number_of(case.facts.get(name))


def _outcome(case: AuditCase) -> str:
    if case.not_staged:
        return "not staged"
    return "failed" if case.failed else "refused" if case.refusal else "staged"


def _new_value(measures: Sequence[Measure], week: int, quarter: int, alpha: float) -> str:
    model = next((m for m in measures if m.name == "model"), None)
    if model is None:
        return "Nothing: the scanner's model is not known."
    level = alpha / 4 * model.weight / 4
    needed = least_count(model.known, 0, week, level)
    share = detectable_share(model.known, 0, quarter, 2 * level * QUARTER_EVERY)
    if needed is None:
        return f"With {week} cases a week, not even a new scanner that made all of them would have crossed within one."
    slow = (
        "" if share is None else f"; over a quarter, a new scanner that makes {percent(share)} of the cases (80% power)"
    )
    return f"A scanner never seen before would have crossed with {needed} of a week's {week} cases{slow}."


def _beyond(measures: Sequence[Measure], week: int, quarter: int, alpha: float) -> str:
    if not measures:
        return "Nothing: no measure has a comparison."
    known, level = measures[0].known, alpha / 2 * measures[0].weight / 20
    share = detectable_share(known, round(0.05 * known), week, level)
    slow = detectable_share(known, round(0.05 * known), quarter, level * QUARTER_EVERY)
    if share is None and slow is None:
        return "No shift of a single measure would have crossed with so few cases."
    seen = [f"{percent(s)} of a {span}'s cases" for s, span in ((share, "week"), (slow, "quarter")) if s is not None]
    return (
        f"A measure beyond the comparison's 95th percentile in {' or '.join(seen)} would have crossed with 80% power."
    )


def share_seen(
    measures: Sequence[Measure], spans: tuple[int, int], alpha: float, *, name: str, value: str, words: str
) -> str:
    """Which rise of a value's share a week or a quarter (`spans`: their cases) would have shown."""
    measure = next((m for m in measures if m.name == name), None)
    if measure is None:
        return "Nothing: there is no comparison."
    comparison = measure.summary(None)
    usual = comparison.shares.get(value, 0.0) if isinstance(comparison, Shares) else 0.0
    marked, level = round(usual * measure.known), alpha / 2 * measure.weight / 3
    found = [
        (detectable_share(measure.known, marked, n, level * factor), span)
        for n, span, factor in ((spans[0], "week", 1), (spans[1], "quarter", QUARTER_EVERY))
    ]
    seen = [f"to {percent(s)} within a {span}" for s, span in found if s is not None]
    if not seen:
        return f"No rise of {words} from {percent(usual)} would have crossed with so few cases."
    return f"A rise of {words} from {percent(usual)} {' or '.join(seen)} would have crossed with 80% power."
