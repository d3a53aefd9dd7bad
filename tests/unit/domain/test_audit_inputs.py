"""What an audit is made from: kept whole, named by its content, blind to what came later."""

from __future__ import annotations

import hashlib
import json
from datetime import date, timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtr_batch.domain.audit import AuditCase, Classification, ConsoleReading, Read, Surgery
from gtr_batch.domain.audit_json import from_json, to_json
from gtr_batch.domain.audit_run import AlarmLevel, AuditInputs, AuditKind, StandingAlarm, known_by
from gtr_batch.domain.audited_model import AuditedModel
from gtr_batch.domain.staging import StageProbabilities, TStage
from gtr_batch.errors import InputRefused

NIGHT = date(2026, 3, 2)
SURGERY = Surgery(date(2026, 3, 20), date(2026, 3, 30), Classification.PT, "T4a", TStage.T4)


def whole(case_id: str = "a", **given: object) -> AuditCase:
    """A case with everything that a case can have."""
    values: dict[str, object] = {
        "t_stage": TStage.T3,
        "probabilities": StageProbabilities((0.1, 0.2, 0.6, 0.1)),
        "slice_stages": (TStage.T3, TStage.T3, TStage.T2),
        "flags": ("automatic_key_slice",),
        "nomogram": StageProbabilities((0.25, 0.25, 0.25, 0.25)),
        "features": (0.1, -2.5, 1e-7),
        "facts": {"kvp": 120.0, "contrast_agent": True, "aorta_hu": None},
        "delivered_on": NIGHT,
        "surgery": SURGERY,
        "read": Read(NIGHT, TStage.T2, None, False),
        "readings": (ConsoleReading(TStage.T3, TStage.T2, NIGHT, TStage.T3, NIGHT),),
    }
    return AuditCase(case_id, "subject", NIGHT, NIGHT, "v" * 64, **values | given)  # type: ignore[arg-type]


def inputs(*cases: AuditCase) -> AuditInputs:
    return AuditInputs(
        AuditKind.MONTH,
        NIGHT.replace(day=1),
        date(2026, 3, 31),
        date(2026, 1, 1),
        date(2026, 6, 1),
        "v" * 64,
        AuditedModel(),
        "1",
        cases,
    )


@pytest.mark.parametrize("case", [whole(), AuditCase("b", "s", NIGHT, NIGHT, refusal="slice_gap")])
def test_a_case_comes_back_as_it_was_kept_but_for_features_beyond_single_precision(case):
    back = from_json(json.loads(json.dumps(to_json(case), allow_nan=False)), AuditCase)

    assert attrs.evolve(back, features=None) == attrs.evolve(case, features=None)
    assert back.features == (None if case.features is None else pytest.approx(case.features, rel=1e-6))
    assert to_json(back) == to_json(case)


def test_inputs_come_back_with_the_same_digest():
    one = inputs(whole(), whole("b", surgery=None, read=None))

    back = AuditInputs.from_content(one.content())

    assert back.digest == one.digest
    assert back.content() == one.content()
    assert attrs.evolve(back, kept_digest="").digest == one.digest


def test_inputs_that_were_kept_with_the_earlier_words_are_read_and_keep_the_name_of_their_run():
    alarm = StandingAlarm("headers", AlarmLevel.LOOK, date(2026, 2, 27), date(2026, 1, 5), "A scanner is new.")
    one = attrs.evolve(inputs(whole(features=None)), watching_since={"headers": NIGHT}, alarms=(alarm,))
    value = to_json(one)
    value["epochs"] = value.pop("watching_since")
    [older] = value["alarms"]
    older["epoch"] = older.pop("watching_since")
    kept = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    back = AuditInputs.from_content(kept)

    assert back == one
    assert back.digest == hashlib.sha256(kept).hexdigest()


@given(st.permutations(["a", "b", "c", "d"]))
def test_the_order_of_rows_does_not_change_the_name_of_a_run(order):
    assert inputs(*(whole(k) for k in order)).digest == inputs(*(whole(k) for k in "abcd")).digest


def test_any_change_of_a_case_changes_the_name_of_a_run():
    assert inputs(whole()).digest != inputs(whole(probabilities=StageProbabilities((0.1, 0.2, 0.5, 0.2)))).digest


@pytest.mark.parametrize("change", [{"kind": "year"}, {"first": "yesterday"}, {"cases": [{}]}])
def test_inputs_that_cannot_be_read_are_refused_in_words(change):
    with pytest.raises(InputRefused, match="cannot be read"):
        AuditInputs.from_content(json.dumps(to_json(inputs(whole())) | change).encode())


@pytest.mark.parametrize(
    ("day", "operated", "stage"),
    [
        (SURGERY.operated_on - timedelta(days=1), False, None),
        (SURGERY.operated_on, True, None),
        (SURGERY.reported_on, True, TStage.T4),
    ],
)
def test_nothing_is_known_before_its_day(day, operated, stage):
    known = known_by(whole(), day)

    assert (known.surgery is not None) is operated
    assert known.pathology(date(2030, 1, 1)) is stage


def test_of_a_reading_that_is_known_which_was_said_by_the_day():
    later = NIGHT + timedelta(days=3)
    case = whole(readings=(ConsoleReading(TStage.T3, TStage.T2, NIGHT, TStage.T3, later),))

    assert known_by(case, NIGHT).readings == (ConsoleReading(TStage.T3, TStage.T2, NIGHT),)
    assert known_by(case, NIGHT - timedelta(days=1)).readings == ()


def test_a_read_or_delivery_from_later_is_not_known():
    later = NIGHT + timedelta(days=3)
    known = known_by(whole(delivered_on=later, read=Read(later, TStage.T2)), NIGHT)

    assert known.delivered_on is None
    assert known.read is None


@pytest.mark.parametrize(
    ("kind", "first", "period"),
    [
        (AuditKind.MONTH, date(2026, 3, 1), "2026-03"),
        (AuditKind.WEEK, date(2025, 12, 29), "2026-W01"),
        (AuditKind.WEEK, date(2026, 3, 2), "2026-W10"),
    ],
)
def test_a_period_is_named_by_its_month_or_iso_week(kind, first, period):
    assert attrs.evolve(inputs(), kind=kind, first=first).period == period
