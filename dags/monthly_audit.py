"""### Monthly audit: may the model be used further?

    audit -> raise_alarms

Once a month: drift, calibration and clinical utility of the model that was champion at the month's end, as of what
pathology had reported by then. The report (one HTML page, a PDF, a JSON) answers yes, look, stop or cannot tell on its
first page and lies in `audit.folder`; `gtr audit list` shows every run, `gtr audit rerun` computes one again and
compares it byte for byte.

**`raise_alarms` is skipped** where there is no new alarm. **Green** means that there are new alarms: operations were
told, the asset `gtr_drift` has an event, and each alarm stays open until a named person acknowledges it (`gtr audit
acknowledge`). While one that says *stop* is open and `audit.pause_delivery` is on, nights stage and write reports but
do not send those of that model.

**To audit a month again**, trigger with the parameter `month`, as 2026-03.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param, dag, get_current_context, task

from gtr_airflow.audits import DRIFT, announce, period_of, run_period
from gtr_airflow.callbacks import NotifyOperations
from gtr_airflow.nights import timetable
from gtr_airflow.retry import default_args
from gtr_batch.config import load

CONFIG = load()


@task(execution_timeout=timedelta(hours=2), on_failure_callback=NotifyOperations())
def audit() -> dict[str, str]:
    """Audit the month, keep its inputs and its report; returns the run's id, period and answer."""
    return run_period("month", period_of(get_current_context(), CONFIG, "month", "month"))


@task(outlets=[DRIFT], on_failure_callback=NotifyOperations())
def raise_alarms(run: dict[str, str]) -> list[int]:
    """Tell of new alarms and write the drift asset; skipped where there are none."""
    print(f"audit {run['run_id'][:12]} of {run['period']}: {run['answer']}")  # noqa: T201 - for the task's log
    return announce()


@dag(
    schedule=timetable(CONFIG.audit.monthly_schedule, CONFIG),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(CONFIG),
    params={
        "month": Param(
            None,
            type=["null", "string"],
            pattern=r"^\d{4}-\d{2}$",
            title="Month",
            description="The month to audit, as 2026-03; leave empty for the last whole month.",
        )
    },
    doc_md=__doc__,
    tags=["gtr"],
)
def monthly_audit() -> None:
    raise_alarms(audit())


monthly_audit()
