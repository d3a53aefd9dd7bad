"""One budget of false alarms, split among the monitors and spent evenly over the weeks of the horizon."""

from __future__ import annotations

import math

from gtr_batch.config import AuditConfig

DAYS_A_MONTH = 365.25 / 12
QUARTER_WEEKS, QUARTER_EVERY = 13, 4  # every fourth week the last quarter is judged as a whole


def weeks_of(settings: AuditConfig) -> int:
    """Weeks of the horizon, rounded up."""
    return math.ceil(settings.horizon_months * DAYS_A_MONTH / 7)


def share_of(settings: AuditConfig, name: str) -> float:
    """This monitor's chance of a false alarm within the horizon."""
    return settings.false_alarm_budget * settings.shares[name]


def weekly_alpha(settings: AuditConfig, name: str) -> float:
    """Its chance of a false alarm in one week: a union bound, whatever the dependence between weeks.

    After the horizon it goes on at the same rate. Half of it is for the week on its own (where a monitor looks at the
    fortnight as well, half of that half for each), half for the quarter: four weeks' halves, spent when the quarter is
    judged.
    """
    return share_of(settings, name) / weeks_of(settings)


def joined(week: float, quarter: float | None, fortnight: float | None = None) -> float:
    """The p-value of a week, to be held against `weekly_alpha`, from those of the week alone, the quarter, and the
    fortnight where the monitor looks at it."""
    parts = [week * 2] if fortnight is None else [week * 4, fortnight * 4]
    parts += [] if quarter is None else [quarter * 2 / QUARTER_EVERY]
    return min(1.0, *parts)
