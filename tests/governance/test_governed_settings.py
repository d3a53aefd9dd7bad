"""Governed settings: which they are, what they may be, and what history says of them."""

from __future__ import annotations

import attrs
import psycopg2
import pytest

from gtr_batch.config import Config
from gtr_batch.db.settings import PostgresSettings
from gtr_batch.domain.governed_settings import GOVERNED, checked_value, digest_of_settings, governed, with_governed
from gtr_batch.errors import InputRefused


def test_every_governed_setting_is_a_setting_and_every_margin_of_the_gate_is_governed():
    values = governed(Config())

    assert tuple(values) == GOVERNED
    gate = {f"governance.{a.name}" for a in attrs.fields(type(Config().governance))}
    assert gate - set(values) == {"governance.approvers"}  # who may approve is not for an approver to change


def test_history_wins_over_the_file_and_leaves_the_rest_alone():
    config = with_governed(Config(), {"governance.accuracy_margin": 0.02, "report.refusal_sr": True, "long.gone": 7})

    assert (config.governance.accuracy_margin, config.report.refusal_sr) == (0.02, True)
    assert attrs.evolve(config, governance=Config().governance, report=Config().report) == Config()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("report.refusal_sr", "yes", True),
        ("validate.min_slices", "30", 30),
        ("validate.max_thickness_mm", "3.5", 3.5),
        ("governance.accuracy_margin", "0.02", 0.02),
        ("audit.pause_delivery", "yes", True),
        ("report.primary", "nomogram", "nomogram"),
        ("audit.false_alarm_budget", "0.1", 0.1),
    ],
)
def test_a_value_becomes_one_of_its_kind(name, text, value):
    assert checked_value(name, text) == value


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("pacs.port", "104", "not governed"),
        ("report.refusal_sr", "perhaps", "yes or no"),
        ("report.primary", "radiologist", "'network' or 'nomogram'"),
        ("validate.min_slices", "many", "a number of kind int"),
        ("validate.max_thickness_mm", "nan", "a number of kind float"),
        ("governance.accuracy_margin", "5", "a share from 0 to 1"),
        ("night.failure_tolerance", "-1", "0 or more"),
        ("audit.horizon_months", "0", "above 0"),
        ("audit.false_alarm_budget", "1.5", "between 0 and 1"),
        ("audit.share_headers", "0.5", "not governed"),  # shares hold together, so they change in the file
    ],
)
def test_what_is_no_such_value_is_refused_by_name(name, text, said):
    with pytest.raises(InputRefused, match=said) as refused:
        checked_value(name, text)

    assert name in str(refused.value)


def test_history_keeps_who_when_and_why_and_can_give_a_setting_back_to_the_file(database):
    book = PostgresSettings(database)
    book.set("governance.accuracy_margin", 0.02, by="Ada", why="stricter")
    book.set("report.refusal_sr", True, by="Ada", why="asked for")
    book.set("governance.accuracy_margin", None, by="Grace", why="too strict")

    assert book.current() == {"report.refusal_sr": True}
    assert [(r.name, r.value, r.by_whom, r.why) for r in book.history()] == [
        ("governance.accuracy_margin", 0.02, "Ada", "stricter"),
        ("report.refusal_sr", True, "Ada", "asked for"),
        ("governance.accuracy_margin", None, "Grace", "too strict"),
    ]


@pytest.mark.parametrize("statement", ["update setting_version set why = 'x'", "delete from setting_version"])
def test_nobody_rewrites_the_history(dsn, database, statement):
    PostgresSettings(database).set("report.refusal_sr", True, by="Ada", why="asked for")

    connection = psycopg2.connect(dsn)
    with pytest.raises(psycopg2.Error, match="append-only"):
        connection.cursor().execute(statement)
    connection.close()


def test_the_same_settings_have_the_same_digest_and_others_another():
    one = governed(Config())

    assert digest_of_settings(one) == digest_of_settings(dict(reversed(list(one.items()))))
    assert digest_of_settings(one) != digest_of_settings(one | {"report.refusal_sr": True})
