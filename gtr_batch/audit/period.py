"""Which nights an audit is about, which model it judges, and since when each monitor watches. No clock."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from attrs import field, frozen

from gtr_batch.audit.site import AuditSite
from gtr_batch.domain.audit_run import AuditKind
from gtr_batch.errors import InputRefused


@frozen
class Term:
    """The model that is judged. `first`: the night from which it staged; None where it has not staged yet."""

    version: str
    manifest: Mapping[str, Any] = field(repr=False)
    state: str
    first: date | None


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


def epoch(start: date, last: date, horizon_months: int) -> date:
    """The night from which a watch that began at `start` counts at `last`.

    The budget of false alarms is one of `horizon_months`; after them the watch begins anew, on a night that depends on
    `start` alone. So the same epoch comes out of every audit in between, and one crossing raises one alarm.
    """
    begun = 0
    while months_after(start, (begun + 1) * horizon_months) <= last:
        begun += 1
    return months_after(start, begun * horizon_months)


def restarts(alarms: Iterable[Mapping[str, Any]], version: str, last: date) -> dict[str, date]:
    """Monitor -> the latest night, up to `last`, from which an acknowledgment wanted it to watch this model anew."""
    found: dict[str, date] = {}
    for alarm in alarms:
        again = alarm["restart"]
        if alarm["model_version"] == version and again is not None and again <= last:
            found[alarm["monitor"]] = max(again, found.get(alarm["monitor"], again))
    return found


def epochs(
    monitors: Iterable[str], restarted: Mapping[str, date], start: date, last: date, horizon_months: int
) -> dict[str, date]:
    """Monitor -> epoch: of its restart, or else of the model's first night."""
    return {m: epoch(max(start, restarted.get(m, start)), last, horizon_months) for m in monitors}


def term_on(site: AuditSite, last: date) -> Term:
    """The model that was champion at the end of a day; one withdrawn since, or on that day, is judged all the same.

    A model that was adopted had staged before there was a registry, and so it is the one before its adoption too. Where
    nobody was champion by then, the artefact of the settings staged.

    Raises
    ------
    ModelArtefactError
        There is no registered champion, and no artefact where the settings say.
    """
    zone = ZoneInfo(site.config.night.timezone)
    crowned = [e for e in site.registry.champion_events() if e.to_state == "champion"]
    by_then = [e for e in crowned if e.at.astimezone(zone).date() <= last]
    if not by_then and not (crowned and crowned[0].action == "adopt"):
        return _of_the_settings(site, last)
    event = by_then[-1] if by_then else crowned[0]
    model = site.registry.model(event.version)
    staged = _staged_by(site, event.version, last)
    first = staged if event.action == "adopt" else event.at.astimezone(zone).date()
    return Term(event.version, model.manifest, model.state, first)


def _of_the_settings(site: AuditSite, last: date) -> Term:
    from gtr_batch.stage import read_manifest

    manifest, version = read_manifest(site.config.stage.artefact)
    return Term(version, manifest.to_json(), "not registered", _staged_by(site, version, last))


def _staged_by(site: AuditSite, version: str, last: date) -> date | None:
    first = site.source.first_night(version)
    return first if first is not None and first <= last else None
