"""What the console shows of the demo before its night: the model as the champion, nights, and a case's nomogram."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest

from gtr_batch.config import load
from gtr_batch.domain.lifecycle import CHAMPION
from gtr_batch.night.watch import due_night
from gtr_batch.simulation.demos import history
from gtr_batch.simulation.demos.demo import ARTEFACT, NIGHT, Demo
from gtr_batch.simulation.demos.history import WEEKS
from gtr_batch.simulation.hospital.audited_year import AuditedYear, close_nights, patients_of
from gtr_batch.simulation.hospital.year import into_the_book, prepare_operated
from gtr_batch.stage import read_version
from gtr_batch.wiring import open_console, open_governance, open_site
from gtr_console import queries
from gtr_console.queries import Console
from tests.fixtures_db import as_role

WEEK = AuditedYear(first=date(2026, 2, 23), last=date(2026, 3, 1), patients=1, refused=0.0)
VERSION = read_version(ARTEFACT)


@pytest.fixture(scope="module")
def demo(module_dsn, tmp_path_factory) -> Demo:
    """The demo's settings and its database, without a server: its model adopted, a week of one patient in the book."""
    made = Demo(tmp_path_factory.mktemp("demo"))
    app, governor, console = (as_role(module_dsn, role) for role in ("gtr_app", "gtr_governor", "gtr_console"))
    made.write_settings(app, governor, module_dsn, console, history.SETTINGS.format(folder=made.folder))
    history.adopt_model(made)
    (patient,) = patients_of(WEEK)
    with open_site(environ=made.environ) as site:
        prepared = prepare_operated(patient, site.artefact.manifest.contract, None)
        into_the_book(site, [(patient, prepared, False)])
        close_nights(site, WEEK)
    return made


@pytest.fixture
def console(demo) -> Callable[[], Console]:
    site = open_console(environ=demo.environ)
    yield Console(lambda: site)
    site.close()


def test_the_demo_s_model_is_the_champion_from_the_folder_of_models(demo):
    with open_governance(environ=demo.environ) as gov:
        assert gov.registry.champion() == VERSION
        assert gov.night.model_store.champion() == demo.folder / "models" / VERSION
        assert [e.action for e in gov.registry.history(VERSION)] == ["register", "adopt"]


def test_after_the_demo_s_night_no_night_is_due_and_the_pages_ask_for_none(demo, console):
    night, _, _ = due_night(load(environ=demo.environ), datetime.now(UTC))

    assert (night.month, night.day) == (NIGHT.month, NIGHT.day)
    assert WEEKS.last == NIGHT - timedelta(days=1)


def test_adopting_the_demo_s_model_twice_is_as_once(demo):
    assert history.adopt_model(demo) == VERSION

    with open_governance(environ=demo.environ) as gov:
        assert len(gov.registry.history(VERSION)) == 2


def test_the_page_of_a_case_of_the_demo_draws_the_model_s_nomogram(demo, console):
    with open_site(environ=demo.environ) as site:
        (case,) = [c for night in WEEK.days for c in site.cases.of_night(night)]

    page = queries.case_page(console, case.case_id, by="admin", named=False, pixels=False, reader=None)

    assert page.no_nomogram == ""
    assert page.drawing is not None


def test_the_demo_s_champion_has_a_card_that_the_console_shows(console):
    (model,) = queries.models_page(console)

    assert (model.version, model.state) == (VERSION, CHAMPION)
    assert queries.model_page(console, VERSION).shows_card


def test_every_night_before_the_demo_s_is_closed_and_green_those_without_a_patient_too(console):
    page = queries.nights_page(console, None)

    assert [row.night.night for row in page.rows] == list(reversed(WEEK.days))
    assert sum(row.night.staged for row in page.rows) == 1
    assert {(row.night.is_running, row.red) for row in page.rows} == {(False, "")}


def test_audits_that_were_not_run_and_an_alarm_that_is_missing_are_named(demo):
    assert history.not_as_it_should_be(demo) == [
        "no audit of a week was kept",
        "no audit of a month was kept",
        "no alarm is open about the scanner that is new since 2026-02-09",
    ]
