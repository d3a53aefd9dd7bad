"""Findings to and from JSON: the one place where they are mappings."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

import cattrs
from cattrs.gen import make_dict_unstructure_fn

from gtr_batch.audit.found.evaluation import Evaluation
from gtr_batch.audit.found.findings import Findings, OpenAlarm
from gtr_batch.audit.found.performance import Headline, ReferenceNumbers, WeeklyHeadline
from gtr_batch.audit.json_value import json_value
from gtr_batch.audit.monitors.watched import Watched
from gtr_batch.domain.audit_json import CONVERTER
from gtr_batch.domain.audit_run import AuditKind, StandingAlarm
from gtr_batch.errors import InputRefused

Json = dict[str, Any]


def findings_to_json(found: Findings) -> Json:
    """What ``report.json`` holds: floats to ten digits, never NaN; what a month adds stands beside the rest."""
    body: Json = _converter().unstructure(found)
    month = body.pop("month")
    if month is not None and month["previous"] is not None:
        month["previous"] = dict(sorted(month["previous"].items()))  # as the kept inputs have it
    return cast(Json, json_value(body | ({"criteria": []} if month is None else month)))


def findings_from_json(body: Mapping[str, Any]) -> Findings:
    """What `findings_to_json` gave; `InputRefused` where a part is missing or of the wrong kind."""
    try:
        month = body if AuditKind(body["run"]["kind"]) is AuditKind.MONTH else None
        return _converter().structure({**body, "month": month}, Findings)
    except (KeyError, TypeError, ValueError) as err:
        raise InputRefused(f"the findings of an audit cannot be read: {type(err).__name__}: {err}") from err


def headline_from(body: Mapping[str, Any]) -> Headline | None:
    """The headline of an earlier run as it was kept; None where there is none. Numbers that it lacks are None."""
    return _converter().structure(body, Headline) if body else None


def alarm_from(alarm: StandingAlarm) -> OpenAlarm:
    """An alarm of the inputs, as the report shows it."""
    return OpenAlarm(
        monitor=alarm.monitor,
        level=str(alarm.level),
        night=str(alarm.night),
        watching_since=str(alarm.watching_since),
        sentence=alarm.sentence,
        acknowledged_by=alarm.acknowledged_by or "",
        note=alarm.note or "",
    )


def headline_to_json(headline: object) -> Json:
    """A headline as the run keeps it."""
    return cast(Json, json_value(_converter().unstructure(headline)))


def evaluation_to_json(found: Evaluation) -> Json:
    """Every metric with all its digits; keys as in docs/audit-metrics.md."""
    return cast(Json, _converter().unstructure(found))


@lru_cache(maxsize=1)
def _converter() -> cattrs.Converter:
    made = CONVERTER.copy()
    made.register_structure_hook(float, _number)
    made.register_structure_hook(
        WeeklyHeadline | Headline,
        lambda value, _: made.structure(value, Headline if "n_period" in value else WeeklyHeadline),
    )
    made.register_unstructure_hook(Watched, Watched.to_json)
    for kind in (OpenAlarm, ReferenceNumbers):  # what is not known of these is left out
        made.register_unstructure_hook(kind, make_dict_unstructure_fn(kind, made, _cattrs_omit_if_default=True))
    return made


def _number(value: object, _: object) -> float:
    """A number as it stands: 1 stays 1, so that what is read and written again is the same text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"not a number: {value!r}")
    return value
