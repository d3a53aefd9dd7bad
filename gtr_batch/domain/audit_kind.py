"""What an audit looks at: a week, or a month. Alone here, since `gtr` names both before it imports an audit."""

from enum import StrEnum


class AuditKind(StrEnum):
    """Weekly monitors, or the month's whole report."""

    WEEK = "week"
    MONTH = "month"
