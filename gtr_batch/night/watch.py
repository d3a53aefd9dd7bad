"""Who is told when a night is red, late, stopped or did not begin, whatever Airflow does.

`gtr watch` is run every few minutes by the operating system (cron, systemd). It looks into Postgres alone: the nights'
states and the service switch. Each event is told once over each channel that the site has (`notify.*`); what cannot be
delivered is tried again by the next run. A notice holds dates and counts: no case, no patient, and no text that a
person typed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from attrs import frozen
from croniter import croniter

from gtr_batch.config import Config
from gtr_batch.domain.evening import evening_of
from gtr_batch.domain.night_colour import RedBecause, failed_in, red_because
from gtr_batch.domain.notice import NightState, Notice, NoticeKind
from gtr_batch.domain.switch import SwitchAction
from gtr_batch.errors import NoticeNotDelivered, TransientError, fault_of
from gtr_batch.logs import get_logger
from gtr_batch.night.site import Site
from gtr_batch.ports import NoticeChannel
from gtr_batch.writing import make_folder, write_json

RECENT = timedelta(days=2)  # what happened before the watch began to look is no news


@frozen
class Watched:
    """What one look came to: what is new, how many notices went out, and why others did not, by channel."""

    raised: Sequence[Notice]
    delivered: int
    trouble: Mapping[str, str]


def watch(site: Site, channels: Sequence[NoticeChannel]) -> Watched:
    """Look at nights and switch, note what is new, and tell operations what they do not know yet."""
    now, log, notices = site.clock.now(), get_logger("watch"), site.notices
    names = [channel.name for channel in channels]
    new = [event for event in events(site, now) if notices.raise_(event, names)]
    for event in new:
        log.error("notice.raised", key=event.key, subject=event.subject)
    delivered, trouble = 0, {}
    for channel in channels:
        try:
            delivered += notices.send(channel)
        except NoticeNotDelivered as err:
            trouble[channel.name] = str(err)
            log.error("notice.not_delivered", channel=channel.name, error=str(err))
    notices.note_look(now)
    _database_answers(site.config)
    return Watched(new, delivered, trouble)


def events(site: Site, now: datetime) -> list[Notice]:
    """Everything that operations should know of the last two days."""
    since, settings = now - RECENT, site.settings
    nights = site.nights.since(since)
    found = [*_switched(site, since), *_of_due_night(settings, nights, now)]
    for one in nights:
        if one.closed_at is not None and one.closed_at >= since and (why := why_red(one.summary, settings)):
            found.append(_red(one.night, one.closed_at, why))
    return found


def why_red(summary: Mapping[str, Any] | None, settings: Config) -> str:
    """Why a night that was closed with this summary is red, in counts; empty where it is green."""
    red = None if summary is None else red_because(summary, settings.night.failure_tolerance)
    if summary is None or red is None:
        return ""
    if red is RedBecause.STOPPED:
        return "the service was stopped while it ran"
    if red is RedBecause.CANARY:
        return "the phantom series with which it begins did not give the recorded answer; no patient was staged after"
    failed = len(failed_in(summary))
    named = "1 case or study" if failed == 1 else f"{failed} cases or studies"
    return f"{named} failed or did not finish, of {summary.get('cases', 0)} cases"


def due_night(config: Config, now: datetime) -> tuple[date, datetime, datetime]:
    """The night whose run was due last, when it was due, and when its worklist must be ready (with time zone)."""
    zone = ZoneInfo(config.night.timezone)
    on_the_wall = now.astimezone(zone).replace(tzinfo=None)
    due = croniter(config.night.schedule, on_the_wall).get_prev(datetime)
    night = evening_of(due)
    ready = datetime.combine(night + timedelta(days=1), config.night.ready_by)
    return night, due.replace(tzinfo=zone), ready.replace(tzinfo=zone)


def tell_of_the_database(config: Config, channels: Sequence[NoticeChannel], err: TransientError) -> None:
    """The database does not answer, so nobody can say how the night is: told once, until it answers again."""
    mark = _mark(config)
    if mark.exists():
        return
    event = Notice(
        key="database",
        kind=NoticeKind.LATE,
        night=None,
        subject="gtr-batch: the database does not answer",
        body="`gtr watch` cannot see how the nights are. `gtr doctor` says what is wrong.",
    )
    told = False
    for channel in channels:
        try:
            channel.deliver(event)
            told = True
        except NoticeNotDelivered as trouble:
            get_logger("watch").error("notice.not_delivered", channel=channel.name, error=str(trouble))
    if told:
        make_folder(mark.parent)
        write_json(mark, {"error": fault_of(err)})


def _database_answers(config: Config) -> None:
    _mark(config).unlink(missing_ok=True)


def _mark(config: Config) -> Any:
    return config.files.root / "watch" / "database_told.json"


def _switched(site: Site, since: datetime) -> list[Notice]:
    """Each stop and each resume; by whom and why is a person's own text, and stays in the database."""
    return [
        Notice(
            key=f"{event.action}:{event.at.isoformat()}",
            kind=NoticeKind.STOPPED if event.action is SwitchAction.STOP else NoticeKind.RESUMED,
            night=None,
            subject=f"gtr-batch: the service was {'stopped' if event.action is SwitchAction.STOP else 'resumed'}",
            body=f"At {event.at:%Y-%m-%d %H:%M} UTC. `gtr status` says by whom and why; while it is stopped nothing is "
            "staged or sent.",
        )
        for event in site.switch.history()
        if event.at >= since
    ]


def _of_due_night(config: Config, nights: Sequence[NightState], now: datetime) -> list[Notice]:
    """Whether the night that was due last has begun, and is done in time."""
    night, due, ready = due_night(config, now)
    state = next((one for one in nights if one.night == night), None)
    if state is None:
        if now < due + timedelta(minutes=config.notify.start_minutes):
            return []
        return [
            Notice(
                key=f"not_started:{night}",
                kind=NoticeKind.NOT_STARTED,
                night=night,
                subject=f"gtr-batch: night {night} did not begin",
                body=f"It was due at {due:%Y-%m-%d %H:%M %Z}. Look whether Airflow's scheduler runs and "
                f"nightly_staging is not paused; `gtr night --night {night}` runs it from a shell.",
            )
        ]
    if now >= ready and state.closed_at is None:
        return [
            Notice(
                key=f"late:{night}",
                kind=NoticeKind.LATE,
                night=night,
                subject=f"gtr-batch: night {night} is late",
                body=f"Its worklist was to be ready at {ready:%Y-%m-%d %H:%M %Z}, and the night is not closed. "
                f"Finished cases are in the PACS already; `gtr status --night {night}` shows the others.",
            )
        ]
    return []


def _red(night: date, closed_at: datetime, why: str) -> Notice:
    return Notice(
        key=f"red:{night}:{closed_at.isoformat()}",
        kind=NoticeKind.RED,
        night=night,
        subject=f"gtr-batch: night {night} is red",
        body=f"{why[0].upper()}{why[1:]}. `gtr status --night {night}` names them; mend the cause, then run the night "
        f"again: finished cases are left alone.",
    )
