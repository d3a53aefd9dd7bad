"""A night under an alarm that says stop: staged, written, and not sent. Real PACS and Postgres."""

from __future__ import annotations

from datetime import date

import attrs
import pytest

from gtr_batch.audit.alarms import acknowledge
from gtr_batch.db import Database
from gtr_batch.db.audit import PostgresAuditBook
from gtr_batch.domain.audit_run import Alarm, AlarmLevel, AuditKind, AuditRecord
from gtr_batch.domain.audit_settings import AuditSettings
from gtr_batch.stage import read_version
from tests.nights.conftest import NIGHT
from tests.nights.test_governed_nights import reports_in_the_pacs, run, worklist

MODEL_RUN = "e" * 64


@pytest.fixture
def audits(config):
    """The book of audits."""
    database = Database(config.database)
    yield PostgresAuditBook(database)
    database.close()


@pytest.fixture
def alarm(audits, artefact) -> int:
    """An open alarm that says stop about the model of the night; its number."""
    version = str(read_version(artefact))
    audits.save_run(
        AuditRecord(
            MODEL_RUN,
            AuditKind.MONTH,
            "2026-02",
            date(2026, 2, 28),
            version,
            "test",
            AuditSettings(),
            "stop",
            headline={},
            asked_by="Ada",
        )
    )
    one = Alarm("stage_shift", AlarmLevel.STOP, date(2026, 2, 20), date(2026, 1, 1), version, "Pathology has shifted.")
    [row] = audits.raise_alarms(MODEL_RUN, [one])
    return row.alarm_id


@pytest.mark.slow
def test_a_stop_alarm_holds_a_nights_reports_back_until_somebody_has_looked(
    config, site, audits, alarm, admit, enter_in_ehr, fill, dsn, tmp_path
):
    admit("one")
    enter_in_ehr("one")
    fill()
    config = attrs.evolve(config, audit=attrs.evolve(config.audit, pause_delivery=True))

    held = run(config)
    [case] = site.cases.of_night(NIGHT)
    before, shown = reports_in_the_pacs(site, case, tmp_path / "before"), worklist(dsn)
    acknowledge(audits, alarm, by="Ada", note="pathology's protocol changed")
    sent = run(config)
    after = reports_in_the_pacs(site, case, tmp_path / "after")

    assert (held["states"], held["failed"]) == ({"reported": 1}, {})
    assert "Pathology has shifted." in held["delivery"]["why"][0]
    assert (before, shown) == ({}, [(None, None, None, "delivery_paused")])
    assert (sent["states"], sent["delivery"]) == ({"committed": 1}, {})
    assert len(after) == 1
    assert worklist(dsn)[0][3] is None
