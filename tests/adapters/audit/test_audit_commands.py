"""The commands of the audit, over a real database."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from gtr_batch.audit import run as audit_run
from gtr_batch.audit.run import run_audit
from gtr_batch.cli.main import app
from gtr_batch.domain.audit_run import AlarmLevel, AuditKind
from tests.adapters.audit.conftest import simple_makers
from tests.adapters.audit.test_audit_run import MARCH
from tests.fixtures_db import as_role

MAKE = simple_makers([("headers", AlarmLevel.STOP)])


@pytest.fixture
def run(audit_site):
    """March, audited, with an alarm."""
    return run_audit(audit_site, AuditKind.MONTH, MARCH, "Ada", make=MAKE)


@pytest.fixture
def gtr(dsn, audit_site, monkeypatch):
    """A function that runs a command with settings from the environment; gives exit code, output and what was said."""
    monkeypatch.setenv("GTR_DATABASE__DSN", as_role(dsn, "gtr_app"))
    monkeypatch.setenv("GTR_DATABASE__GOVERNOR_DSN", as_role(dsn, "gtr_governor"))
    monkeypatch.setenv("GTR_AUDIT__FOLDER", str(audit_site.folder))
    monkeypatch.setattr(audit_run, "makers", lambda: MAKE)

    def call(*arguments: str):
        done = CliRunner().invoke(app, ["audit", *arguments])
        return done.exit_code, done.stdout, done.stderr

    return call


def test_lists_and_shows_what_was_run(gtr, run):
    _, listed, _ = gtr("list", "--json")
    code, shown, _ = gtr("show", run.run_id[:6])

    assert [r["run_id"] for r in json.loads(listed)] == [run.run_id]
    assert code == 0
    assert str(run.folder) in shown
    assert run.files["report.html"] in shown
    assert "look" in gtr("list")[1]


def test_a_rerun_that_is_the_same_ends_well_and_one_that_is_not_ends_red(gtr, run, monkeypatch):
    code, said, _ = gtr("rerun", run.run_id[:6])
    monkeypatch.setattr(audit_run, "makers", lambda: simple_makers(answer="yes"))
    red, other, _ = gtr("rerun", run.run_id[:6])

    assert (code, "The same, byte for byte." in said) == (0, True)
    assert (red, "Not the same: report.html" in other) == (1, True)


def test_an_alarm_is_listed_acknowledged_once_and_not_open_any_more(gtr, run):
    number = str(run.alarms[0].alarm_id)
    words = ("--by", "Grace", "--note", "the new scanner", "--watch-from", "2026-03-20")

    assert "headers crossed." in gtr("alarms", "--open")[1]
    assert gtr("acknowledge", number, *words)[0] == 0
    assert "no open alarm" in gtr("alarms", "--open")[1]
    assert "Grace" in gtr("alarms")[1]
    code, _, said = gtr("acknowledge", number, *words)
    assert (code, "was acknowledged by Grace already" in said) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("month", "--month", "March"), "is not a month as 2026-03"),
        (("week", "--week", "2026-W10", "--day", "2026-03-01"), "either --week or --day"),
        (("show", "ffff"), "not exactly one run"),
        (("acknowledge", "7", "--by", " ", "--note", "x"), "by is empty"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(gtr, arguments, said):
    code, _, told = gtr(*arguments)

    assert (code, said in told) == (2, True)
