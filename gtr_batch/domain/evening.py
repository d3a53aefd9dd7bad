"""Which night a run belongs to: one at 23:30 and one at 00:30 belong to the same evening."""

from __future__ import annotations

from datetime import date, datetime, timedelta

#: A night is the local date twelve hours before its run, on the clock of the wall.
NOON_TO_NOON = timedelta(hours=12)


def evening_of(due: datetime) -> date:
    """The night of a run that was due then, by the hospital's clock on the wall (no time zone)."""
    return (due - NOON_TO_NOON).date()
