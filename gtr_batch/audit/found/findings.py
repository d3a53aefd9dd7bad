"""The findings of one run, of a week or of a month."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Literal

from attrs import field, frozen

from gtr_batch.audit.found.patients import Labels, Readers, Subgroup
from gtr_batch.audit.found.performance import (
    Coverage,
    Criterion,
    Headline,
    Performance,
    ReferenceNumbers,
    Tally,
    WeeklyHeadline,
)
from gtr_batch.audit.found.service import CameIn, ConsoleReadings, Fate, Overrides, Refusals, WentOut
from gtr_batch.audit.monitors.watched import Watched
from gtr_batch.domain.audit_run import AuditKind
from gtr_batch.metrics.table_one import TableOne

Answer = Literal["yes", "look", "stop", "cannot tell"]


@frozen
class AuditRun:
    """What was judged: period and nights, model, code; `term`: the night from which the model stages."""

    kind: AuditKind
    period: str
    first: date
    last: date
    since: date
    as_of: date
    model_version: str
    model: str
    demo: bool
    code_version: str
    cases: int
    term: date
    window_first: date
    until: date
    run_id: str
    rows: int


@frozen
class OpenAlarm:
    """An alarm that was raised before and is open, or acknowledged while its monitor watches on."""

    monitor: str
    level: str
    night: str = ""
    watching_since: str = ""
    sentence: str = ""
    acknowledged_by: str = ""
    note: str = ""


@frozen
class CouldHaveSeen:
    """The shift that a monitor would have shown with these data."""

    title: str
    sentence: str


@frozen
class ShownSettings:
    """The settings of the section audit that the report shows; `shares` of the budget by monitor."""

    false_alarm_budget: float
    horizon_months: int
    odds_ratio: float
    tolerated_odds_ratio: float
    minimum_labels: int
    minimum_cases: int
    baseline_weeks: int
    label_wait_days: int
    t4_understaging_cap: float
    stop_monitors: tuple[str, ...]
    pause_delivery: bool
    draws: int
    seed: int
    shares: Mapping[str, float]


@frozen
class MonthFindings:
    """What only a month's run judges: accuracy, labels, readers, subgroups. `previous`: the month before's headline."""

    performance: Performance = field(repr=False)
    criteria: tuple[Criterion, ...]
    previous: Headline | None
    reference: ReferenceNumbers | None
    labels: Labels = field(repr=False)
    readers: Readers = field(repr=False)
    subgroups: tuple[Subgroup, ...] = field(repr=False)
    overrides: Overrides = field(repr=False)
    fates: tuple[Fate, ...]
    coverage: Coverage | None
    table_1: TableOne | None = field(default=None, repr=False)  # with and without a pT; None: a run of before
    console: ConsoleReadings | None = field(default=None, repr=False)  # None: a run of before


@frozen
class Findings:
    """What an audit finds; `month` is None in a weekly run. `headline`: what the next run compares itself with."""

    monitors: tuple[Watched, ...]
    counts: Tally
    run: AuditRun
    answer: Answer
    reasons: tuple[str, ...]
    headline: WeeklyHeadline | Headline
    alarms: tuple[OpenAlarm, ...]
    inputs: CameIn = field(repr=False)
    outputs: WentOut = field(repr=False)
    refusals: Refusals = field(repr=False)
    not_judged: tuple[str, ...]
    could_have_seen: tuple[CouldHaveSeen, ...]
    settings: ShownSettings
    month: MonthFindings | None = None
