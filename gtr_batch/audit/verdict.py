"""May we go on using it? One word, and the reasons with their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gtr_batch.audit.found.findings import Answer, OpenAlarm
from gtr_batch.audit.found.performance import Criterion, Tally
from gtr_batch.audit.monitors.watched import Watched
from gtr_batch.domain.audit_run import AlarmLevel

YES: Final = "yes"
LOOK: Final = "look"
STOP: Final = "stop"
CANNOT_TELL: Final = "cannot tell"
_APART = ("stage_shift", "confidence")  # needs labels; never alarms


def answer(
    monitors: Sequence[Watched],
    alarms: Sequence[OpenAlarm],
    criteria: Sequence[Criterion],
    tallied: Tally,
    *,
    n_labelled: int,
    minimum_labels: int,
    weekly: bool,
) -> tuple[Answer, list[str]]:
    """The answer and its reasons, the weightiest first.

    Stop: an alarm of that level is open, or its monitor has just crossed. Look: any other alarm, or a number that is
    worse beyond chance. Cannot tell: nothing came in, or there are too few labelled patients and no monitor of the
    unlabelled data can tell either. Yes: none of these.

    Parameters
    ----------
    monitors : sequence of Watched
    alarms : sequence of OpenAlarm
        Open ones, and acknowledged ones whose monitor watches on.
    criteria : sequence of Criterion
        Empty in a weekly run.
    tallied : Tally
        Cases of the period's nights.
    n_labelled : int
        Patients of the window with a pT.
    """
    crossed = [m for m in monitors if m.state == "alarm"]
    fresh = [m for m in crossed if m.name not in {a.monitor for a in alarms}]
    acknowledged = [a for a in alarms if a.acknowledged_by]
    alarms = [a for a in alarms if not a.acknowledged_by]
    stop = [_open(a) for a in alarms if a.level == AlarmLevel.STOP] + [
        _fresh(m) for m in fresh if m.level is AlarmLevel.STOP
    ]
    look = [_open(a) for a in alarms if a.level != AlarmLevel.STOP] + [
        _fresh(m) for m in fresh if m.level is not AlarmLevel.STOP
    ]
    look += [c.sentence for c in criteria if c.verdict == "worse"]
    look += [_acknowledged(a) for a in acknowledged if a.monitor in {m.name for m in crossed}]
    if stop:
        return STOP, stop + look
    if look:
        return LOOK, look
    blind = [m for m in monitors if m.name not in _APART and m.state != "off"]
    seeing = [m for m in blind if m.state == "quiet"]
    if not tallied.seen and not n_labelled:
        return CANNOT_TELL, ["No study came in and no pathology was reported: there is nothing to judge."]
    if not tallied.seen:
        return CANNOT_TELL, ["No study came in during these nights: nothing can be said of how the service works now."]
    if n_labelled < minimum_labels and not seeing:
        return CANNOT_TELL, [
            f"Only {_patients(n_labelled)} with a pT within the last 12 months; {minimum_labels} are asked for.",
            "None of the monitors of unlabelled data can tell either: too few cases, or nothing to compare with.",
        ]
    return YES, _why_yes(
        monitors,
        criteria,
        f"{len(seeing)} of {len(blind)}",
        n_labelled=n_labelled,
        minimum_labels=minimum_labels,
        weekly=weekly,
    )


def _why_yes(
    monitors: Sequence[Watched],
    criteria: Sequence[Criterion],
    seeing: str,
    *,
    n_labelled: int,
    minimum_labels: int,
    weekly: bool,
) -> list[str]:
    reasons = [f"No alarm is open; {seeing} monitors of unlabelled data could judge, and are quiet."]
    shift = next((m for m in monitors if m.name == "stage_shift"), None)
    if shift is not None and (shift.state == "quiet" or (shift.state == "cannot tell" and shift.path)):
        reasons.append(f"Pathology against the model's probabilities: {_sentence(shift.sentence)}")
    if weekly:
        return [*reasons, "Accuracy and calibration are judged in the monthly audit."]
    if n_labelled < minimum_labels:
        few = (
            f"Only {_patients(n_labelled)} with a pT within the last 12 months ({minimum_labels} are asked for): "
            "this answer rests on the monitors of unlabelled data alone, which cannot see a model that errs more often."
        )
        return [*reasons, few]
    return reasons + [c.sentence for c in criteria if c.verdict == "not shown"]


def _open(alarm: OpenAlarm) -> str:
    since = f", since the night of {alarm.night[:10]}" if alarm.night else ""
    return f"Open alarm ({_named(alarm)}{since}): {_sentence(alarm.sentence)}"


def _acknowledged(alarm: OpenAlarm) -> str:
    said = _sentence(alarm.sentence)
    return f"Acknowledged alarm ({_named(alarm)}), still beyond its threshold since it does not watch anew: {said}"


def _named(alarm: OpenAlarm) -> str:
    return alarm.monitor.replace("_", " ")


def _fresh(monitor: Watched) -> str:
    return f"New alarm ({monitor.title}): {_sentence(monitor.sentence)}"


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _patients(n: int) -> str:
    return "1 patient" if n == 1 else f"{n} patients"
