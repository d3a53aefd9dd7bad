"""### The stop switch

Two DAGs that are started by hand, with a reason. **`stop_service`**: from that moment nothing is staged and nothing is
sent, in any DAG and from any command line; a night that is running ends red and says so. **`resume_service`** lets the
service work again; the nights that were held up are run again by hand. Who did it is the user whom Airflow
authenticated; both are kept permanently. The same from a shell: `gtr stop`, `gtr resume`.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param, dag, get_current_context, task

from gtr_airflow.approvals import started_by
from gtr_airflow.connections import task_governance
from gtr_airflow.retry import default_args
from gtr_batch.config import load

CONFIG = load()
WHY = {"why": Param("", type="string", minLength=1, title="Why", description="Kept permanently.")}


@task(execution_timeout=timedelta(minutes=10))
def stop() -> None:
    """Stop the whole service in the name of whoever started this run."""
    from gtr_batch.governance import switch

    context = get_current_context()
    with task_governance() as gov:
        switch.stop(gov.night, by=started_by(context), why=context["params"]["why"])


@task(execution_timeout=timedelta(minutes=10))
def resume() -> None:
    """Resume it in the name of whoever started this run."""
    from gtr_batch.governance import switch

    context = get_current_context()
    with task_governance() as gov:
        switch.resume(gov.night, by=started_by(context), why=context["params"]["why"])


@dag(
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(CONFIG),
    params=WHY,
    is_paused_upon_creation=False,  # it must work on the first day, and at once
    doc_md=__doc__,
    tags=["gtr"],
)
def stop_service() -> None:
    stop()


@dag(
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(CONFIG),
    params=WHY,
    is_paused_upon_creation=False,
    doc_md=__doc__,
    tags=["gtr"],
)
def resume_service() -> None:
    resume()


stop_service()
resume_service()
