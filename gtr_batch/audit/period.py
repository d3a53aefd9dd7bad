"""Which nights an audit is about, and since when each monitor watches. No clock."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Mapping
from datetime import date, timedelta

from gtr_batch.domain.audit_run import AuditKind, RaisedAlarm
from gtr_batch.errors import InputRefused


def nights_of(kind: AuditKind, day: date) -> tuple[date, date]:
    """First and last night of the calendar month, or of the week from Monday to Sunday, that `day` lies in."""
    if kind is AuditKind.MONTH:
        return day.replace(day=1), day.replace(day=calendar.monthrange(day.year, day.month)[1])
    first = day - timedelta(days=day.weekday())
    return first, first + timedelta(days=6)


def period_before(kind: AuditKind, day: date) -> date:
    """The last day of the last whole month or week before `day`."""
    return nights_of(kind, day)[0] - timedelta(days=1)


def day_in(kind: AuditKind, text: str) -> date:
    """A day of the month ``2026-03`` or of the week ``2026-W10``; a date is a day of either.

    Raises
    ------
    InputRefused
        It is none of these.
    """
    try:
        if kind is AuditKind.MONTH and re.fullmatch(r"\d{4}-\d{2}", text):
            return date.fromisoformat(f"{text}-01")
        if kind is AuditKind.WEEK and (week := re.fullmatch(r"(\d{4})-W(\d{2})", text)):
            return date.fromisocalendar(int(week[1]), int(week[2]), 1)
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    wanted = {AuditKind.MONTH: "a month as 2026-03", AuditKind.WEEK: "a week as 2026-W10"}[kind]
    raise InputRefused(f"{text!r} is not {wanted}, nor a date as 2026-03-01")


def months_after(day: date, months: int) -> date:
    """The same day so many months later (earlier, if negative); the month's last where it has no such day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def since(last: date, horizon_months: int, first: date | None) -> date:
    """The first night of the data: the horizon's, or that of the term where it is shorter."""
    furthest = months_after(last + timedelta(days=1), -horizon_months)
    return furthest if first is None or first > last else max(first, furthest)


def watch_begins(start: date, last: date, horizon_months: int) -> date:
    """The night from which a watch that began at `start` counts at `last`.

    The budget of false alarms is one of `horizon_months`; after them the watch begins anew, on a night that depends on
    `start` alone. So the same night comes out of every audit in between, and one crossing raises one alarm.
    """
    begun = 0
    while months_after(start, (begun + 1) * horizon_months) <= last:
        begun += 1
    return months_after(start, begun * horizon_months)


def watched_anew_from(alarms: Iterable[RaisedAlarm], version: str, last: date) -> dict[str, date]:
    """Monitor -> the latest night, up to `last`, from which an acknowledgment wanted it to watch this model anew."""
    found: dict[str, date] = {}
    for alarm in alarms:
        again = alarm.watch_from
        if alarm.model_version == version and again is not None and again <= last:
            found[alarm.monitor] = max(again, found.get(alarm.monitor, again))
    return found


def watches_since(
    monitors: Iterable[str], watch_from: Mapping[str, date], start: date, last: date, horizon_months: int
) -> dict[str, date]:
    """Monitor -> first night that it watches: from its acknowledgment, or else from the model's first night."""
    return {m: watch_begins(max(start, watch_from.get(m, start)), last, horizon_months) for m in monitors}
