"""Monitors of what comes out: mix of stages, slices that vote apart, and what the probabilities promise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gtr_batch.audit.monitors.details import PromiseDetail, Shares
from gtr_batch.audit.monitors.inputs_watched import share_seen, usable, weighted
from gtr_batch.audit.monitors.measures import Measure, Reading
from gtr_batch.audit.monitors.watched import QUIET, TITLES, Watched, silent
from gtr_batch.audit.monitors.weekly import since_of, watch_weekly
from gtr_batch.audit.monitors.weeks import blocks_of, staged_by_this_model, watched_cases
from gtr_batch.domain.audit import AuditCase
from gtr_batch.domain.audit_run import AlarmLevel, AuditInputs
from gtr_batch.domain.staging import STAGES


def watch_output(inputs: AuditInputs) -> Watched:
    """Shares of the likeliest stages. (The vote differs from them in a few; the reference counts the likeliest.)"""
    cases = watched_cases(inputs, since_of(inputs, "output"), staged_by_this_model(inputs))
    n, shares = usable(inputs, "output"), inputs.reference.output.t_stage
    reference = None
    if n and len(shares) == len(STAGES):
        reference = Shares(n, {str(s): x for s, x in zip(STAGES, shares, strict=True)})
    reading = Reading("t_stage", "likeliest stage", _likeliest, reference=reference)

    def power(measures: Sequence[Measure], week: int, quarter: int, alpha: float) -> str:
        return share_seen(measures, (week, quarter), alpha, name="t_stage", value="T4", words="T4")

    return watch_weekly(inputs, "output", cases, weighted([reading], cases), power)


def watch_disagreement(inputs: AuditInputs) -> Watched:
    """Share of cases whose three slices do not all say the same."""
    choice = staged_by_this_model(inputs)
    cases = watched_cases(inputs, since_of(inputs, "disagreement"), lambda c: choice(c) and len(c.slice_stages) > 1)
    n, share = usable(inputs, "disagreement"), inputs.reference.disagreement_share
    reference = None if not n or share is None else Shares(n, {"apart": share, "together": 1 - share})
    reading = Reading("slices", "slices", _votes, reference=reference)

    def power(measures: Sequence[Measure], week: int, quarter: int, alpha: float) -> str:
        words = "cases whose slices vote apart"
        return share_seen(measures, (week, quarter), alpha, name="slices", value="apart", words=words)

    return watch_weekly(inputs, "disagreement", cases, weighted([reading], cases), power)


def watch_confidence(inputs: AuditInputs) -> Watched:
    """The accuracy that the probabilities promise, by week. It assumes that nothing changed, and so never alarms."""
    name = "confidence"
    since = inputs.watching_since.get(name, inputs.watching_since.get("output", inputs.since))
    cases = watched_cases(inputs, since, staged_by_this_model(inputs))
    period = [c for c in cases if inputs.first <= c.night]
    blocks = blocks_of(cases, since, inputs.last, inputs.settings.minimum_cases)
    if not period:
        return silent(inputs, name, since, "No case was staged in this period: no probabilities to ask.")
    promised = np.array([_promised(c) for c in cases])
    now = promised[[k for k, c in enumerate(cases) if inputs.first <= c.night]]
    before = promised[[k for k, c in enumerate(cases) if c.night < inputs.first]]
    usual = float(before.mean()) if len(before) else float(now.mean())
    path = tuple((b.last, float(promised[b.rows].mean()), usual) for b in blocks)
    error = float(now.std() / np.sqrt(len(now)))
    compare = f"; before, {100 * usual:.0f}% in {len(before)} cases" if len(before) else ""
    sentence = (
        f"The probabilities of this period's {len(now)} cases promise an accuracy of {100 * now.mean():.0f}% (standard "
        f"error {100 * error:.1f} points){compare}. "
        "Assumes no concept drift: a model that is wrong and sure promises as much."
    )
    return Watched(
        name,
        TITLES[name],
        QUIET,
        AlarmLevel.LOOK,
        since,
        None,
        float(now.mean()),
        None,
        path,
        sentence,
        "Nothing about errors: it repeats what the model believes of itself, and never alarms.",
        PromiseDetail(
            expected_accuracy=float(now.mean()),
            standard_error=error,
            n=len(now),
            before=usual if len(before) else None,
            n_before=len(before),
            assumes="no concept drift",
        ),
    )


def _likeliest(case: AuditCase) -> str:
    assert case.probabilities is not None  # chosen so
    return str(case.probabilities.most_likely)


def _votes(case: AuditCase) -> str:
    return "together" if len(set(case.slice_stages)) == 1 else "apart"


def _promised(case: AuditCase) -> float:
    """What the probabilities say of the stage that was given: the vote's, not the largest."""
    assert case.probabilities is not None and case.t_stage is not None
    return float(case.probabilities[case.t_stage])
