"""The numbers behind what a monitor says, for tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from attrs import field, frozen


@frozen
class Shares:
    """How often each value of a header, stage, code, ... was there among `n` cases; shares sum to 1."""

    n: int
    shares: Mapping[str, float]


@frozen
class Quantiles:
    """Of a measured number, in its unit, at these `levels`, over `n` cases; of so many more it is `missing`."""

    n: int
    missing: int
    levels: tuple[float, ...]
    quantiles: tuple[float, ...] | None


@frozen
class Spread:
    """Mean and SD of features by direction, in SD of the artefact's reference; None where directions are not fixed."""

    n: int
    mean: tuple[float, ...] | None
    sd: tuple[float, ...] | None


@frozen
class Distance:
    """Maximum mean discrepancy of `n` cases from the comparison."""

    n: int
    distance: float | None


Summary = Shares | Quantiles | Spread | Distance


@frozen
class Reading:
    """One respect, of the comparison and of the period that is audited."""

    comparison: Summary
    period: Summary


@frozen
class JudgedWeek:
    """A week (or thin weeks together) as it was judged: the smallest p-value, its span, and what is behind it."""

    first: date
    last: date
    n: int  # patients
    p: float
    span: str  # week | 13 weeks
    words: str
    compared_with: str


@frozen
class WeeklyDetail:
    """Of a monitor of unlabelled data."""

    compared_with: str
    weeks: tuple[JudgedWeek, ...]
    readings: Mapping[str, Reading]


@frozen
class ShiftEstimate:
    """The odds ratio that fits `n` patients best, with its 95% interval."""

    odds_ratio: float
    low: float
    high: float
    n: int


@frozen
class DatedShiftEstimate(ShiftEstimate):
    """Of the patients whose reports came from `first` to `last`."""

    first: date
    last: date


@frozen
class OperatedEstimate:
    """What fits where who is operated is taken to be as `assumption` says; `highest`: of both CUSUMs, in nats."""

    assumption: str  # recorded | between | stage: as `gtr_batch.audit.monitors.selection` has them
    highest: float
    estimate: ShiftEstimate | None
    crossed_on: date | None = None  # had it been the only assumption


@frozen
class ShiftDetail:
    """Of the monitor of pathology against the probabilities: both CUSUM paths (day, nats), and what fits best.

    The paths are the lowest of those of all assumptions on who is operated. `estimate*` take the operated as they are.
    `chances_of_pT`: how often T1 to T4 get a pT, as shares of the stage that gets it most often, if it depends on the
    stage alone.
    """

    labelled: int
    labelled_this_period: int
    horizon_patients: int
    tolerated_odds_ratio: float
    odds_ratio: float
    up: tuple[tuple[date, float], ...] = field(repr=False)
    down: tuple[tuple[date, float], ...] = field(repr=False)
    estimate: ShiftEstimate | None
    estimate_first: DatedShiftEstimate | None
    estimate_last: DatedShiftEstimate | None
    by_assumption: tuple[OperatedEstimate, ...] = ()
    chances_of_pT: tuple[float, ...] = ()

    @property
    def crossed_alone(self) -> dict[str, date | None]:
        """When each assumption on who is operated would have crossed alone."""
        return {found.assumption: found.crossed_on for found in self.by_assumption}


@frozen
class PromiseDetail:
    """Of the accuracy that the probabilities promise, over this period's `n` cases and the `n_before` before them."""

    expected_accuracy: float
    standard_error: float
    n: int
    before: float | None
    n_before: int
    assumes: str


Detail = WeeklyDetail | ShiftDetail | PromiseDetail
