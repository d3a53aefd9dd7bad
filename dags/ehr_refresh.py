"""### The EHR extracts, before the night

Loads the CSV extracts of the EHR, checks them, and inserts or updates their rows in one transaction. A bad file changes
nothing: the task turns red and says what is wrong, and the night works with what was loaded before.
"""

from __future__ import annotations

from airflow.sdk import dag, task

from gtr_airflow.callbacks import NotifyOperations
from gtr_airflow.connections import settings
from gtr_airflow.nights import timetable
from gtr_airflow.retry import default_args
from gtr_batch.config import load

CONFIG = load()


@task(on_failure_callback=NotifyOperations())
def refresh_ehr() -> dict:
    """Load, check and upsert the extracts; returns rows by table."""
    from gtr_batch import wiring

    return wiring.refresh_ehr(settings())


@dag(
    schedule=timetable(CONFIG.night.ehr_schedule, CONFIG),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(CONFIG),
    doc_md=__doc__,
    tags=["gtr"],
)
def ehr_refresh() -> None:
    refresh_ehr()


ehr_refresh()
