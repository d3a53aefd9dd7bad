"""What strikes a step between its work and its writing, in every step: the database, the process."""

from __future__ import annotations

import psycopg2
import pytest

from gtr_batch import night as steps
from gtr_batch.db import migrate
from gtr_batch.domain.case import CaseState
from gtr_batch.errors import DatabaseBusy
from gtr_batch.simulation.servers.postgres import EmbeddedPostgres
from gtr_batch.wiring import open_site
from tests.nights.conftest import NIGHT
from tests.nights.test_night import in_the_pacs

WRITTEN = ["found", "retrieved", "validated", "preprocessed", "staged", "scored", "reported", "stored", "committed"]


class Struck:
    """The stop switch of a site; asked before a case is done and before it is written: then `strike` comes."""

    def __init__(self, switch, strike, at):
        self._switch, self._strike, self._left = switch, strike, at

    def stopped(self):
        self._left -= 1
        if self._left == 0:
            self._strike()
        return self._switch.stopped()


@pytest.fixture
def own_server(tmp_path):
    """A PostgreSQL that this test may restart."""
    server = EmbeddedPostgres(tmp_path / "own")  # durable: what it committed outlasts a crash
    server.start()
    yield server
    server.delete()


@pytest.fixture
def dsn(own_server):
    """Its database, migrated."""
    migrate(own_server.uri)
    return own_server.uri


@pytest.fixture
def strikes(own_server):
    """What may strike, by name."""

    def terminate():
        connection = psycopg2.connect(own_server.uri)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                " where backend_type = 'client backend' and pid <> pg_backend_pid()"
            )
        connection.close()

    def restart():
        own_server.stop("immediate")
        own_server.start()

    def end():
        raise SystemExit  # as a killed process: nothing below catches it, nothing after it runs

    return {"all sessions terminated": terminate, "PostgreSQL restarted": restart, "the process ended": end}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["all sessions terminated", "PostgreSQL restarted", "the process ended"])
def test_a_step_that_is_struck_is_done_once_by_the_next_try(config, admit, enter_in_ehr, fill, strikes, what):
    """Each step is struck before its case is done, and the next try of it before what it found is written."""
    admit("one")
    enter_in_ehr("one")
    fill()
    with open_site(config) as site:
        shard = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))[0]

    for step in steps.SHARD_STEPS:
        for at in (2, 3):
            with open_site(config) as site:
                site.switch = Struck(site.switch, strikes[what], at)
                try:
                    step(site, NIGHT, shard)
                except (DatabaseBusy, SystemExit):
                    assert site.cases.get(shard[0]).state in (CaseState(s) for s in WRITTEN)
        with open_site(config) as site:
            step(site, NIGHT, shard)

    with open_site(config) as site:
        case = site.cases.get(shard[0])
        assert [event["state"] for event in site.cases.events(case.case_id)] == WRITTEN
        assert in_the_pacs(site, case.study_uid) == {"CT": 22, "SR": 1, "OT": 2, "KO": 1}
        assert steps.close_night(site, NIGHT)["states"] == {"committed": 1}
