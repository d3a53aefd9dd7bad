"""Run the DAGs of the audit with `dag.test()`: their own tasks over a book in memory, an audit that does as told.

Prints, as JSON, how each run ended, for which day it audited, who was told, and the events of the drift asset.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from datetime import UTC, date, datetime
from types import SimpleNamespace

from gtr_airflow import callbacks
from gtr_batch import wiring
from gtr_batch.audit import run as audit_run
from gtr_batch.config import load
from gtr_batch.domain.audit_run import AlarmLevel, AuditKind, RaisedAlarm
from gtr_batch.errors import DatabaseBusy


class FakeBook:
    """Runs and alarms in lists."""

    def __init__(self) -> None:
        self.kept: list[SimpleNamespace] = []
        self.raised: list[RaisedAlarm] = []

    def runs(self, kind: str | None = None) -> list[SimpleNamespace]:
        return self.kept

    def alarms(self, *, only_open: bool = False) -> list[RaisedAlarm]:
        return self.raised


def audit_with(new_alarms: int, calls: list, faults: list):
    """An audit that raises so many alarms the first time that it is run, then meets a fault if one is left."""

    def run_audit(site, kind, day: date, asked_by: str) -> SimpleNamespace:
        calls.append([str(kind), str(day), asked_by.split(",", maxsplit=1)[0]])
        run_id = f"{kind}-{day}"
        if all(run.run_id != run_id for run in site.book.kept):
            site.book.kept.append(SimpleNamespace(run_id=run_id, asked_by=asked_by))
            for number in range(1, new_alarms + 1):
                site.book.raised.append(
                    RaisedAlarm(
                        alarm_id=number,
                        monitor="headers",
                        level=AlarmLevel.LOOK,
                        night=day,
                        watching_since=date(2026, 1, 5),
                        model_version="a" * 64,
                        sentence="A scanner is new.",
                        run_id=run_id,
                        kind=AuditKind(kind),
                        period="2026-03",
                        raised_at=datetime(2026, 4, 5, 6, tzinfo=UTC),
                    )
                )
        if faults:
            raise faults.pop()
        return SimpleNamespace(run_id=run_id, period="2026-03", answer="look")

    return run_audit


def run(dag_id: str, book: FakeBook, *, new_alarms: int = 0, faults: tuple = (), **when: object) -> dict:
    """Run one DAG and tell how it ended."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    calls: list = []
    told: list[str] = []
    callbacks.notify = lambda subject, text: told.append(f"{subject}: {text}")
    wiring.open_audit = lambda config: contextlib.nullcontext(SimpleNamespace(book=book, config=load(environ={})))
    audit_run.run_audit = audit_with(new_alarms, calls, list(faults))
    made = getattr(importlib.import_module(dag_id), dag_id)()
    ended = made.test(**when)
    with create_session() as session:
        events = session.scalars(select(AssetEvent).where(AssetEvent.source_run_id == ended.run_id)).all()
        extras = [event.extra for event in events]
    return {
        "state": str(ended.state),
        "tasks": {ti.task_id: [str(ti.state), ti.try_number] for ti in ended.get_task_instances()},
        "calls": calls,
        "told": told,
        "events": extras,
    }


def main() -> None:
    from airflow.utils import db

    sys.path.insert(0, os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    monday = datetime(2026, 3, 9, 5, tzinfo=UTC)
    by_hand = {"logical_date": None}
    with contextlib.redirect_stdout(sys.stderr):
        db.initdb()
        book = FakeBook()
        busy = (DatabaseBusy("restarting"),)
        ended = {
            "quiet week": run("drift_monitor", FakeBook(), logical_date=monday),
            "week with alarms": run("drift_monitor", book, new_alarms=2, run_conf={"day": "2026-03-04"}, **by_hand),
            "the same week again": run("drift_monitor", book, run_conf={"day": "2026-03-04"}, **by_hand),
            "a fault after the alarm": run(
                "drift_monitor", FakeBook(), new_alarms=1, faults=busy, run_conf={"day": "2026-04-01"}, **by_hand
            ),
            "month": run("monthly_audit", FakeBook(), new_alarms=1, run_conf={"month": "2026-02"}, **by_hand),
            "scheduled month": run("monthly_audit", FakeBook(), logical_date=datetime(2026, 4, 5, 6, tzinfo=UTC)),
            "no such month": run("monthly_audit", FakeBook(), run_conf={"month": "2026-13"}, **by_hand),
        }
    print(json.dumps(ended))


if __name__ == "__main__":
    main()
