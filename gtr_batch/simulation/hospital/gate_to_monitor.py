"""From the gate to 24 months of nights: what the gate lets pass as calibrated, and what the monitor then says of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from attrs import frozen

from gtr_batch.audit.monitors.stage_shift import watch_stage_shift
from gtr_batch.audit.monitors.watched import ALARM
from gtr_batch.config import AuditConfig
from gtr_batch.domain.gate import Verdict
from gtr_batch.governance.criteria import SHIFT, Answers, Paired, redrawn, shift
from gtr_batch.simulation.hospital.operated_study import inputs_of
from gtr_batch.simulation.worlds.holdouts import HoldoutWorld, TwoNetworks, draw_holdout
from gtr_batch.simulation.worlds.operated import SELECTIONS, OperatedWorld

_DRAWS = 60  # they decide between fail and cannot tell only


@frozen
class Passed:
    """Of `runs` candidates whose stages are `odds_ratio` off: how many the gate passed, and of these the monitor
    stopped within the horizon."""

    odds_ratio: float
    runs: int
    passed: int
    failed: int
    stopped: int


def through_gate(
    odds_ratio: float,
    patients: int,
    runs: int,
    *,
    config: AuditConfig | None = None,
    seed: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> Passed:
    """Judge candidates on holdouts of so many patients; watch those that pass, where a pT a month is known of 54.

    One setting, `audit.tolerated_odds_ratio`, is the gate's and the monitor's.
    """
    settings = config or AuditConfig()
    world = OperatedWorld(SELECTIONS["none"], settings.horizon_months, labelled_a_month=54, odds_ratio=odds_ratio)
    holdout = HoldoutWorld(patients, champion=0.69, mix=world.mix, odds_ratio=odds_ratio)
    passed, failed, stopped = 0, 0, 0
    for k in range(seed, seed + runs):
        verdict = _judged(paired_of(draw_holdout(holdout, k)), settings.tolerated_odds_ratio)
        failed += verdict is Verdict.FAIL
        if verdict is Verdict.PASS:
            passed += 1
            stopped += watch_stage_shift(inputs_of(world, k, settings)).state == ALARM
        progress(k - seed + 1)
    return Passed(odds_ratio, runs, passed, failed, stopped)


def paired_of(drawn: TwoNetworks) -> Paired:
    """A holdout as the gate has it."""
    candidate, champion = (Answers(p.argmax(axis=1), p) for p in (drawn.candidate, drawn.champion))
    return Paired(drawn.stages, np.arange(len(drawn.stages)).astype(str), candidate, champion)


def _judged(paired: Paired, tolerated: float) -> Verdict:
    both = redrawn(paired, _DRAWS, 1)
    return shift(paired, tolerated, (both[:, 0] - both[:, 1])[:, SHIFT]).verdict
