"""Alarms: they stay open until a named person has looked, and those of level stop may hold reports back meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from attrs import frozen

from gtr_batch.domain.audit_run import Alarm, AlarmLevel, Crossing, RaisedAlarm
from gtr_batch.errors import InputRefused
from gtr_batch.logs import get_logger
from gtr_batch.ports import AuditBook

if TYPE_CHECKING:
    from gtr_batch.audit.monitors.watched import Watched

LONGEST_NAME, LONGEST_NOTE = 200, 2000


@frozen
class StopAlarms:
    """Port `DeliveryHold`: an open alarm of level stop holds back the reports of the model that it is about."""

    book: AuditBook

    def held(self) -> Mapping[str, str]:
        """Model versions whose reports must not leave the hospital now, each with why; the worklist hides them too."""
        found: dict[str, str] = {}
        for alarm in self.book.alarms(only_open=True):
            if alarm.level is AlarmLevel.STOP:
                self.book.pause(alarm.alarm_id)
                found.setdefault(
                    alarm.model_version,
                    f"Delivery is paused: alarm {alarm.alarm_id} ({alarm.monitor}) of audit {alarm.period} says stop "
                    f"and nobody has acknowledged it. {alarm.sentence} When somebody has looked (`gtr audit "
                    f"acknowledge {alarm.alarm_id}`), run the night again: it sends what was held back.",
                )
        return found


def acknowledge(book: AuditBook, alarm_id: int, *, by: str, note: str, watch_from: date | None = None) -> None:
    """Close an alarm, in the name of a person and with what they found.

    Parameters
    ----------
    watch_from : date, optional
        Night from which the monitor watches anew. Without one it goes on where it is, and is silent until its watch
        ends: of one watch a monitor raises one alarm.

    Raises
    ------
    InputRefused
        Nobody or nothing is named, there is no such alarm, or somebody was faster; nothing is changed.
    """
    for name, text, longest in (("by", by, LONGEST_NAME), ("note", note, LONGEST_NOTE)):
        if not text.strip():
            raise InputRefused(f"{name} is empty: an alarm is closed by a named person who says what they found")
        if len(text.strip()) > longest:
            raise InputRefused(f"{name} has {len(text.strip())} characters, at most {longest} are kept")
    book.acknowledge(alarm_id, by=by, note=note, watch_from=watch_from)
    get_logger("audit").info("alarm.acknowledged", alarm_id=alarm_id, by=by, watch_from=watch_from and str(watch_from))


def alarms_in(monitors: Sequence[Watched], model_version: str) -> list[Alarm]:
    """An alarm for each monitor that has crossed: what is reported is what is raised."""
    from gtr_batch.audit.monitors.watched import ALARM  # with all monitors, and scipy.stats: nights only look at alarms

    return [
        Alarm(
            monitor=m.name,
            level=m.level,
            on=m.crossed_on,
            watching_since=m.since,
            model_version=model_version,
            sentence=m.sentence,
            detail=Crossing(m.title, m.value, m.threshold),
        )
        for m in monitors
        if m.state == ALARM and m.crossed_on is not None
    ]


def raised_for(book: AuditBook, asked_by: str) -> list[RaisedAlarm]:
    """Alarms that audits asked for by this name have raised, oldest first.

    A DAG's run asks by its own id: so a task that is tried again still finds the alarms of its first try, and a second
    run about the same nights finds none of its own.
    """
    mine = {run.run_id for run in book.runs() if run.asked_by == asked_by}
    return [alarm for alarm in book.alarms() if alarm.run_id in mine]


def in_words(alarm: RaisedAlarm) -> tuple[str, str]:
    """Subject and text of the notice of a new alarm; no PHI."""
    asks = {AlarmLevel.STOP: "stop using the results until somebody has looked", AlarmLevel.LOOK: "look at it"}
    return (
        f"audit {alarm.period}: {alarm.monitor} says {alarm.level}",
        f"{alarm.sentence} Data up to {alarm.night}, model {alarm.model_version[:12]}; please {asks[alarm.level]}. "
        f"Alarm {alarm.alarm_id} stays open until a named person acknowledges it: `gtr audit acknowledge "
        f"{alarm.alarm_id} --by NAME --note TEXT`.",
    )
