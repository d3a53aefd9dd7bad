"""Pathology against the probabilities, patient after patient in the order of the reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from itertools import pairwise

import numpy as np
from attrs import field, frozen

from gtr_batch.audit.labels import one_a_patient
from gtr_batch.audit.monitors.budget import DAYS_A_MONTH, share_of
from gtr_batch.audit.monitors.cusum import (
    cusum,
    detectable_odds_ratio,
    estimate_shift,
    increments,
    threshold_for,
)
from gtr_batch.audit.monitors.details import DatedShiftEstimate, ShiftDetail, ShiftEstimate
from gtr_batch.audit.monitors.watched import ALARM, OFF, QUIET, TITLES, Watched, level_of, silent
from gtr_batch.audit.monitors.weekly import since_of
from gtr_batch.audit.monitors.weeks import staged_by_this_model, watched_cases
from gtr_batch.domain.audit import AuditCase, Classification, probability_rows
from gtr_batch.domain.audit_run import AuditInputs

NAME = "stage_shift"
_ENOUGH_DAYS = 120  # of reports: from then on their own rate is believed, before that the rate of staging
_ROUND = 60


@frozen(eq=False)
class Pathology:
    """Patients with a pT: `days` of the reports in order, `labels` (n,) 0 to 3, `probabilities` (n, 4)."""

    days: tuple[date, ...]
    labels: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)


def pathology_of(cases: Sequence[AuditCase], as_of: date) -> Pathology:
    """One case for each operated patient, by the day of the report; which one, `one_a_patient` says."""
    found = []
    for case in one_a_patient(cases, as_of):
        stage, surgery = case.pathology(as_of, Classification.PT), case.surgery
        if stage is None or surgery is None:
            continue
        assert surgery.reported_on is not None  # else it has no stage
        found.append((surgery.reported_on, case.night, case.case_id, stage.position, case.probabilities))
    found.sort(key=lambda f: f[:3])
    return Pathology(
        tuple(f[0] for f in found),
        np.array([f[3] for f in found], int),
        probability_rows(f[4] for f in found),
    )


def watch_stage_shift(inputs: AuditInputs) -> Watched:
    """CUSUMs of a shift up and of one down by the settings' odds ratio, each with half of the monitor's share."""
    settings, since = inputs.settings, since_of(inputs, NAME)
    level = share_of(settings, NAME)
    if level == 0:
        return silent(inputs, NAME, since, "Its share of the budget is 0: turned off in the settings.", OFF)
    cases = watched_cases(inputs, since, staged_by_this_model(inputs))
    seen = pathology_of(cases, inputs.as_of)
    n, minimum = len(seen.labels), settings.minimum_labels
    if n < minimum:
        waiting = sum(c.surgery is not None and c.surgery.operated_on <= inputs.as_of for c in cases) - n
        return silent(
            inputs,
            NAME,
            since,
            f"{n} patients with a pT reported by {inputs.as_of} since {since}, fewer than {minimum}; of {len(cases)} "
            f"staged cases {max(waiting, 0)} more were operated without a pT that counts.",
        )

    odds_ratio = settings.odds_ratio
    tolerated = math.log(settings.tolerated_odds_ratio)
    mix = probability_rows(c.probabilities for c in cases)  # all staged: who gets a pT next is not known
    horizon = expected_labels(seen.days, len(cases), since, inputs)
    up, down = math.log(odds_ratio), -math.log(odds_ratio)
    height = max(
        threshold_for(mix, up, horizon, level / 2, truth=tolerated),
        threshold_for(mix, down, horizon, level / 2, truth=-tolerated),
    )
    rows = np.arange(n)
    paths = {
        "up": cusum(increments(seen.probabilities, up)[rows, seen.labels]),
        "down": cusum(increments(seen.probabilities, down)[rows, seen.labels]),
    }
    both = np.maximum(paths["up"], paths["down"])
    crossing = np.flatnonzero(both >= height)
    crossed = int(crossing[0]) if len(crossing) else None
    days = _by_day(seen.days)
    path = tuple((day, float(both[rows].max()), height) for day, rows in days)
    lately = [k for k, day in enumerate(seen.days) if day >= inputs.first]
    return Watched(
        NAME,
        TITLES[NAME],
        QUIET if crossed is None else ALARM,
        level_of(inputs, NAME),
        since,
        None if crossed is None else seen.days[crossed],
        path[-1][1],
        height,
        path,
        _sentence(seen, paths, crossed, height, since),
        _could_have_seen(mix, up, height, lately=len(lately), n=n, months=(inputs.as_of - since).days / DAYS_A_MONTH),
        ShiftDetail(
            labelled=n,
            labelled_this_period=len(lately),
            horizon_patients=horizon,
            tolerated_odds_ratio=math.exp(tolerated),
            odds_ratio=odds_ratio,
            up=tuple((day, float(paths["up"][rows].max())) for day, rows in days),
            down=tuple((day, float(paths["down"][rows].max())) for day, rows in days),
            estimate=estimate_shift(seen.labels, seen.probabilities),
            estimate_first=_estimate(seen, range(min(n, 2 * minimum))),
            estimate_last=_estimate(seen, range(max(n - 2 * minimum, 0), n)),
        ),
    )


def expected_labels(days: Sequence[date], staged: int, since: date, inputs: AuditInputs) -> int:
    """Patients with a pT to come within the horizon, from the rate seen; in steps of 60, so that it hardly moves.

    Before reports have come for four months their rate says little, and every staged case is counted as if its pT came.
    """
    horizon = inputs.settings.horizon_months * DAYS_A_MONTH
    span = (inputs.as_of - days[0]).days + 1 if days else 0
    rate = len(days) / span if span >= _ENOUGH_DAYS else staged / max((inputs.last - since).days + 1, 28)
    return max(_ROUND, math.ceil(max(rate * horizon, len(days)) / _ROUND) * _ROUND)


def _by_day(days: Sequence[date]) -> list[tuple[date, slice]]:
    edges = [k for k, day in enumerate(days) if k == 0 or day != days[k - 1]] + [len(days)]
    return [(days[a], slice(a, b)) for a, b in pairwise(edges)]


def _estimate(seen: Pathology, rows: range) -> DatedShiftEstimate | None:
    found = estimate_shift(seen.labels[rows.start : rows.stop], seen.probabilities[rows.start : rows.stop])
    if found is None:
        return None
    return DatedShiftEstimate(
        found.odds_ratio, found.low, found.high, found.n, first=seen.days[rows.start], last=seen.days[rows.stop - 1]
    )


def _sentence(seen: Pathology, paths: dict[str, np.ndarray], crossed: int | None, height: float, since: date) -> str:
    n = len(seen.labels)
    whole = estimate_shift(seen.labels, seen.probabilities)
    fits = "" if whole is None else f" Over all {n} the odds fit best times {_interval(whole)}."
    if crossed is None:
        highest = max(float(p.max()) for p in paths.values())
        return f"Quiet over {n} patients with a pT since {since}: at most {highest:.1f} of {height:.1f} nats.{fits}"
    side, words = ("up", "more") if paths["up"][crossed] >= height else ("down", "less")
    empty = np.flatnonzero(paths[side][: crossed + 1] <= 0)
    began = int(empty[-1]) + 1 if len(empty) else 0
    recent = estimate_shift(seen.labels[began : crossed + 1], seen.probabilities[began : crossed + 1])
    size = "" if recent is None else f", odds times {_interval(recent)} in {crossed + 1 - began} patients"
    return (
        f"Crossed on {seen.days[crossed]}, with patient {crossed + 1}: pathology is {words} advanced than the "
        f"probabilities say{size} since the reports of about {seen.days[began]}.{fits}"
    )


def _interval(found: ShiftEstimate) -> str:
    return f"{found.odds_ratio:.2f} ({found.low:.2f} to {found.high:.2f})"


def _could_have_seen(mix: np.ndarray, up: float, height: float, *, lately: int, n: int, months: float) -> str:
    alone = detectable_odds_ratio(mix, up, lately, height)
    since = detectable_odds_ratio(mix, up, n, height)
    first = "no shift" if alone is None else f"an odds ratio of {alone:.1f}"
    whole = "none, either" if since is None else f"one of {since:.1f}"
    return (
        f"This period's {lately} patients with a pT alone would have shown {first} with 80% power; all {n} in "
        f"{months:.0f} months, {whole}."
    )
