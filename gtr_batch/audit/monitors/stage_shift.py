"""Pathology against the probabilities, patient after patient in the order of the reports.

Only operated patients have one. What the probabilities promise among them depends on who is operated, which is known
under assumptions only (`selection`): an alarm is a shift that is one under each of them. Where they disagree the
monitor cannot tell from operated patients, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from itertools import pairwise

import numpy as np
from attrs import evolve, field, frozen

from gtr_batch.audit.labels import one_a_patient
from gtr_batch.audit.monitors.budget import DAYS_A_MONTH, share_of
from gtr_batch.audit.monitors.cusum import (
    cusum,
    detectable_odds_ratio,
    estimate_shift,
    increments,
    threshold_for,
)
from gtr_batch.audit.monitors.details import DatedShiftEstimate, OperatedEstimate, ShiftDetail, ShiftEstimate
from gtr_batch.audit.monitors.selection import (
    ASSUMPTIONS,
    LEAST_LABELLED,
    LEAST_STAGED,
    RECORDED,
    STAGE,
    Operated,
    operated_over_time,
    staged_patients,
    tilted,
)
from gtr_batch.audit.monitors.watched import ALARM, CANNOT_TELL, OFF, QUIET, TITLES, Watched, level_of, silent
from gtr_batch.audit.monitors.weekly import since_of
from gtr_batch.audit.monitors.weeks import staged_by_this_model, watched_cases
from gtr_batch.domain.audit import AuditCase, Classification, probability_rows
from gtr_batch.domain.audit_run import AuditInputs
from gtr_batch.domain.audit_settings import AuditSettings

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
    """CUSUMs of a shift up and of one down by the settings' odds ratio, each with half of the monitor's share.

    Each is the lowest of three: of what the probabilities promise among the operated under three assumptions on who is.
    """
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

    operated = operated_over_time(staged_patients(cases), since, inputs.as_of)
    if not operated:
        return silent(
            inputs,
            NAME,
            since,
            f"{n} patients with a pT by {inputs.as_of} since {since}: too few to say who is operated, and so what the "
            f"probabilities promise among the operated ({LEAST_LABELLED} of {LEAST_STAGED} staged within half a year).",
        )
    seen = evolve(seen, days=tuple(max(day, operated[0].since) for day in seen.days))
    mix = probability_rows(c.probabilities for c in cases)  # all staged: who gets a pT next is not known
    horizon = expected_labels(seen.days, len(cases), since, inputs)
    height = _threshold(mix, settings, horizon, level)
    paths = {name: _path(seen, promised, settings) for name, promised in _promised(seen, operated).items()}
    up = np.minimum.reduce([p.up for p in paths.values()])
    down = np.minimum.reduce([p.down for p in paths.values()])
    both = np.maximum(up, down)
    crossing = np.flatnonzero(both >= height)
    crossed = int(crossing[0]) if len(crossing) else None
    found = tuple(_alone(name, p, seen, height) for name, p in paths.items())
    days = _by_day(seen.days)
    path = tuple((day, float(both[rows].max()), height) for day, rows in days)
    lately = [k for k, day in enumerate(seen.days) if day >= inputs.first]
    hidden = _hidden(found)
    apart = any(f.highest >= height for f in found) or (hidden is not None and hidden >= settings.odds_ratio)
    state = ALARM if crossed is not None else CANNOT_TELL if apart else QUIET
    sentence = (
        _cannot_tell(found, operated[-1], n, since, height)
        if state == CANNOT_TELL
        else _sentence(seen, {"up": up, "down": down}, crossed, height, since)
    )
    seeing = _could_have_seen(
        mix,
        math.log(settings.odds_ratio),
        height,
        lately=len(lately),
        n=n,
        months=(inputs.as_of - since).days / DAYS_A_MONTH,
    )
    return Watched(
        NAME,
        TITLES[NAME],
        state,
        level_of(inputs, NAME),
        since,
        None if crossed is None else seen.days[crossed],
        path[-1][1],
        height,
        path,
        sentence,
        seeing + ("" if hidden is None else f" Who is operated may hide an odds ratio of up to {hidden:.2f}."),
        ShiftDetail(
            labelled=n,
            labelled_this_period=len(lately),
            horizon_patients=horizon,
            tolerated_odds_ratio=settings.tolerated_odds_ratio,
            odds_ratio=settings.odds_ratio,
            up=tuple((day, float(up[rows].max())) for day, rows in days),
            down=tuple((day, float(down[rows].max())) for day, rows in days),
            estimate=estimate_shift(seen.labels, seen.probabilities),
            estimate_first=_estimate(seen, range(min(n, 2 * minimum))),
            estimate_last=_estimate(seen, range(max(n - 2 * minimum, 0), n)),
            by_assumption=found,
            chances_of_pT=operated[-1].chances,
        ),
    )


def _threshold(mix: np.ndarray, settings: AuditSettings, horizon: int, level: float) -> float:
    shift, tolerated = math.log(settings.odds_ratio), math.log(settings.tolerated_odds_ratio)
    return max(threshold_for(mix, sign * shift, horizon, level / 2, truth=sign * tolerated) for sign in (1.0, -1.0))


def _promised(seen: Pathology, operated: Sequence[Operated]) -> dict[str, np.ndarray]:
    """What the probabilities promise among the operated, by assumption: (n, 4), as was known when each report came."""
    begins = np.array([o.since.toordinal() for o in operated])
    which = np.searchsorted(begins, [day.toordinal() for day in seen.days], side="right") - 1
    return {
        name: tilted(seen.probabilities, np.array([o.log_chances[name] for o in operated])[which])
        for name in ASSUMPTIONS
    }


@frozen(eq=False)
class _Path:
    up: np.ndarray
    down: np.ndarray
    estimate: ShiftEstimate | None


def _path(seen: Pathology, promised: np.ndarray, settings: AuditSettings) -> _Path:
    rows, shift = np.arange(len(seen.labels)), math.log(settings.odds_ratio)
    up, down = (cusum(increments(promised, sign * shift)[rows, seen.labels]) for sign in (1.0, -1.0))
    return _Path(up, down, estimate_shift(seen.labels, promised))


def _alone(name: str, path: _Path, seen: Pathology, height: float) -> OperatedEstimate:
    both = np.maximum(path.up, path.down)
    at = np.flatnonzero(both >= height)
    return OperatedEstimate(name, float(both.max()), path.estimate, seen.days[int(at[0])] if len(at) else None)


def _hidden(found: Sequence[OperatedEstimate]) -> float | None:
    """How far the assumptions on who is operated lie apart, as an odds ratio; None where one has no estimate."""
    fits = [f.estimate.odds_ratio for f in found if f.estimate is not None]
    return max(fits) / min(fits) if len(fits) == len(found) else None


def _cannot_tell(found: Sequence[OperatedEstimate], operated: Operated, n: int, since: date, height: float) -> str:
    by_name = {f.assumption: f for f in found}
    said = [
        f"odds times {_interval(by_name[name].estimate)} ({by_name[name].highest:.1f} nats) if {ASSUMPTIONS[name]}"
        for name in (RECORDED, STAGE)
    ]
    shares = ", ".join(f"{100 * c:.0f}" for c in operated.chances)
    return (
        "Cannot tell from operated patients: whether pathology is what the probabilities say depends on how patients "
        f"are chosen for an operation. Over {n} patients with a pT since {since}: {'; '.join(said)}; the threshold is "
        f"{height:.1f}. As a share of the stage that gets a pT most often, T1 to T4 get one in {shares}%. Needed to "
        "tell: cT and uT of every staged patient, also of those not operated; or the stage of a sample of those not "
        "operated (laparoscopy, endosonography, follow-up)."
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


def _interval(found: ShiftEstimate | None) -> str:
    if found is None:
        return "no number"
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
