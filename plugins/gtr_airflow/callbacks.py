"""How operations hear that a night went wrong or will be late: always in the log, and by webhook or email if set up.

A notice holds DAG, night and run, and the message of our own errors (case ids, UIDs, AE titles). Messages of other
errors may quote anything, so only their class is named. No PHI leaves in a notice.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, TypedDict

import structlog
from airflow.sdk import BaseNotifier
from asgiref.sync import sync_to_async

from gtr_airflow.connections import connection_or_none
from gtr_batch.errors import GtrError

if TYPE_CHECKING:
    from airflow.sdk import Context

log = structlog.get_logger("gtr_airflow")


class Run(TypedDict):
    """A run as the triggerer is given it: serialised, not an object."""

    dag_id: str
    dag_run_id: str
    run_type: str
    state: str


class Deadline(TypedDict):
    """When a run should have been done."""

    deadline_time: str


class LateRun(TypedDict):
    """The context of a deadline callback, as far as it is read here."""

    dag_run: Run
    deadline: Deadline


def notify(subject: str, text: str) -> None:
    """Log a notice as an error, then send it where the connection ``gtr_alerts`` says; never raises for want of it."""
    log.error("operations.alert", subject=subject, text=text)
    if connection_or_none("gtr_alerts") is None:
        return
    from gtr_airflow.hooks import AlertHook

    for trouble in AlertHook().send(subject, html.escape(text)):
        log.error("operations.alert_not_sent", trouble=trouble)


class NotifyOperations(BaseNotifier):
    """Failure callback of a task."""

    def notify(self, context: Context) -> None:
        ti, run = context["ti"], context["dag_run"]
        error = context.get("exception")
        why = str(error) if isinstance(error, GtrError) else type(error).__name__
        notify(f"{ti.dag_id} failed in {ti.task_id}", f"Run {run.run_id}: {why}")


def run_failed(context: Context) -> None:
    """Failure callback of a run: reports one that Airflow itself ended (time-out); a failed task reports itself."""
    if context.get("reason") == "timed_out":
        run = context["dag_run"]
        notify(f"{run.dag_id} timed out", f"Run {run.run_id} was ended; its unfinished cases wait for a re-run.")


async def deadline_missed(context: LateRun) -> None:
    """Deadline callback, run by the triggerer: the worklist is not ready by the morning.

    Not by the executor: that would wait behind the very tasks that are late, and Airflow 3.3 refuses connections to
    callbacks there (its workload token is not let into ``/execution/connections``).

    A night that is run again by hand was late before it began; its deadline is no news.
    """
    run, due = context["dag_run"], str(context["deadline"]["deadline_time"])
    if run["run_type"] != "scheduled":
        log.info("night.deadline_of_a_rerun", run_id=run["dag_run_id"])
        return
    await sync_to_async(notify)(
        f"{run['dag_id']}: the worklist is not ready",
        f"Run {run['dag_run_id']} is {run['state']} and was due at {due}. "
        "Finished cases are in the PACS already; `gtr status` shows the others.",
    )
