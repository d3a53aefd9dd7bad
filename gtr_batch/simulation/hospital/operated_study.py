"""Worlds in which who is operated depends on something, through the monitor of pathology against the probabilities.

Beside the monitor as it is stand the ways it could have been: the operated taken as they are, this hospital's own
first half year as the null, and each assumption on who is operated alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from multiprocessing import get_context

import numpy as np
from attrs import field, frozen
from threadpoolctl import threadpool_limits

from gtr_batch.audit.monitors.cusum import cusum, increments
from gtr_batch.audit.monitors.details import ShiftDetail
from gtr_batch.audit.monitors.selection import RECORDED, STAGE, log_shift, tilted
from gtr_batch.audit.monitors.stage_shift import Pathology, pathology_of, watch_stage_shift
from gtr_batch.audit.monitors.watched import CANNOT_TELL
from gtr_batch.config import AuditConfig
from gtr_batch.domain.audit import AuditCase, Classification, Read, Surgery
from gtr_batch.domain.audit_run import AuditInputs
from gtr_batch.domain.audit_settings import AuditSettings
from gtr_batch.domain.staging import STAGES, StageProbabilities
from gtr_batch.simulation.hospital.months import FIRST, MODEL, weekly_inputs
from gtr_batch.simulation.worlds.operated import DAYS_A_MONTH, OperatedPatients, OperatedWorld, draw_patients

BASELINE_DAYS = 182
MONITOR, AS_THEY_ARE, BASELINE = "monitor", "as they are", "baseline"
WAYS = (AS_THEY_ARE, BASELINE, RECORDED, STAGE, MONITOR)


@frozen
class OperatedHistory:
    """Days from the first night to the first crossing, by way; infinite where there was none."""

    crossed: Mapping[str, float]
    cannot_tell: bool
    labelled: int


@frozen
class OperatedResult:
    """Of `runs` histories of one selection, by way: false alarms, and months to detection (None: fewer than half)."""

    selection: str
    runs: int
    labelled_a_month: float
    false_alarms: Mapping[str, int]
    cannot_tell: int
    found: Mapping[str, int] = field(factory=dict)
    median_months: Mapping[str, float | None] = field(factory=dict)


def study(
    name: str,
    world: OperatedWorld,
    runs: int,
    *,
    config: AuditConfig | None = None,
    reads: bool = True,
    seed: int = 1,
    processes: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> OperatedResult:
    """Watch `runs` histories of a world; `reads`: cT and uT reach the audit.

    A false alarm is one before the shift begins, or any without a shift.
    """
    settings = config or AuditConfig(horizon_months=world.months)
    jobs = ([world] * runs, range(seed, seed + runs), [settings] * runs, [reads] * runs)
    found: list[OperatedHistory] = []
    if processes <= 1:
        for history in map(one_history, *jobs):
            found.append(history)
            progress(len(found))
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            for history in pool.map(one_history, *jobs, chunksize=4):
                found.append(history)
                progress(len(found))
    return _result(name, world, found)


def one_history(world: OperatedWorld, seed: int, config: AuditConfig, reads: bool) -> OperatedHistory:
    """Simulate one, and watch it at its end."""
    with threadpool_limits(1):
        inputs = inputs_of(world, seed, config, reads=reads)
        watched = watch_stage_shift(inputs)
        seen = pathology_of(inputs.cases, inputs.as_of)
        height = math.inf if watched.threshold is None else watched.threshold
        crossed = {
            MONITOR: _day(watched.crossed_on),
            AS_THEY_ARE: _crossing(seen, seen.probabilities, inputs.settings, height),
            BASELINE: _against_baseline(seen, inputs.settings, height),
        }
        if isinstance(watched.detail, ShiftDetail):
            crossed |= {name: _day(day) for name, day in watched.detail.crossed_alone.items()}
    return OperatedHistory(crossed, watched.state == CANNOT_TELL, len(seen.labels))


def inputs_of(world: OperatedWorld, seed: int, config: AuditConfig, *, reads: bool = True) -> AuditInputs:
    """A history as one audit sees it at its end."""
    last = FIRST + timedelta(days=round(world.months * DAYS_A_MONTH) - 1)
    drawn = draw_patients(world, seed)
    return weekly_inputs(tuple(_case(drawn, k, reads=reads) for k in range(len(drawn.day))), last, config)


def _case(drawn: OperatedPatients, k: int, *, reads: bool) -> AuditCase:
    night = FIRST + timedelta(days=int(drawn.day[k]))
    surgery, read = None, None
    if drawn.operated[k] >= 0:
        stage = STAGES[int(drawn.stage[k])]
        operated, reported = (FIRST + timedelta(days=int(d[k])) for d in (drawn.operated, drawn.reported))
        surgery = Surgery(operated, reported, Classification.PT, str(stage), stage)
    if reads:
        ut = int(drawn.uT[k])
        read = Read(night, STAGES[int(drawn.cT[k])], STAGES[ut] if ut >= 0 else None, with_ai=False)
    p = drawn.probabilities[k]
    return AuditCase(
        case_id=f"s{k:07d}",
        subject=f"p{k:07d}",
        night=night,
        study_on=night,
        model_version=MODEL,
        t_stage=STAGES[int(p.argmax())],
        probabilities=StageProbabilities(p.tolist()),
        surgery=surgery,
        read=read,
    )


def _crossing(seen: Pathology, promised: np.ndarray, settings: AuditSettings, height: float) -> float:
    rows, shift = np.arange(len(seen.labels)), math.log(settings.odds_ratio)
    both = np.maximum(*(cusum(increments(promised, s * shift)[rows, seen.labels]) for s in (1.0, -1.0)))
    at = np.flatnonzero(both >= height)
    return _day(seen.days[int(at[0])]) if len(at) else math.inf


def _against_baseline(seen: Pathology, settings: AuditSettings, height: float) -> float:
    """The mix of stages among the operated of the first half year is the null of what follows."""
    learnt = sum((day - FIRST).days < BASELINE_DAYS for day in seen.days)
    if learnt == len(seen.labels):
        return math.inf
    shift = log_shift(seen.probabilities[:learnt], seen.labels[:learnt], np.ones(learnt))
    rest = Pathology(seen.days[learnt:], seen.labels[learnt:], seen.probabilities[learnt:])
    return _crossing(rest, tilted(rest.probabilities, shift), settings, height)


def _day(day: date | None) -> float:
    return math.inf if day is None else float((day - FIRST).days)


def _result(name: str, world: OperatedWorld, found: Sequence[OperatedHistory]) -> OperatedResult:
    shifts = world.odds_ratio != 1.0
    begins = world.begins if shifts else math.inf
    ways = [w for w in WAYS if all(w in h.crossed for h in found)]
    early = {w: sum(h.crossed[w] < begins for h in found) for w in ways}
    delays = {w: [h.crossed[w] - begins for h in found if h.crossed[w] >= begins] for w in ways} if shifts else {}
    return OperatedResult(
        name,
        len(found),
        round(float(np.mean([h.labelled for h in found])) / world.months, 1),
        early,
        sum(h.cannot_tell for h in found),
        {w: int(np.isfinite(d).sum()) for w, d in delays.items()},
        {w: _median_months(d) for w, d in delays.items()},
    )


def _median_months(days: Sequence[float]) -> float | None:
    if not days:
        return None
    middle = float(np.quantile(np.asarray(days), 0.5, method="inverted_cdf"))
    return round(middle / DAYS_A_MONTH, 1) if math.isfinite(middle) else None
