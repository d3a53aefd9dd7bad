"""### Housekeeping, daily

    housekeeping -> anything_uncommitted -> ask_again

`housekeeping` deletes images older than `files.retention_days`, and lists the dead letters in its log: cases whose
delivery failed and is not tried again by itself. It is red where less than `files.min_free_gb` is free. `ask_again`
asks the PACS again to commit what it took but has not committed; it is skipped where there is nothing to ask. Results
stay.
Where an audit repository is named (`audit_trail.syslog`), `housekeeping` sends it the audit trail. `send_results` sends
the RIS (`ris.host`) or a FHIR server (`fhir.url`) what it did not take in the night; `apply_merges` gives cases of
patients whom the RIS said to be merged (`ris.listen_port`) the PatientID that the PACS has by now.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag, get_current_context, task

from gtr_airflow.callbacks import NotifyOperations
from gtr_airflow.connections import settings, task_site
from gtr_airflow.nights import day_of, timetable
from gtr_airflow.results import tell_of_results
from gtr_airflow.retry import default_args
from gtr_batch.config import load

CONFIG = load()


@task(execution_timeout=timedelta(hours=1), on_failure_callback=NotifyOperations())
def housekeeping() -> list[str]:
    """Clean up, without the PACS; returns the case ids that wait for their commitment."""
    from gtr_batch import night as steps

    with task_site() as site:
        return list(steps.housekeeping(site, day_of(get_current_context(), CONFIG))["uncommitted"])


@task.short_circuit(ignore_downstream_trigger_rules=False)
def anything_uncommitted(case_ids: list[str]) -> bool:
    """Whether there is anything to ask the PACS; where there is not, no `pacs` slot is taken."""
    return bool(case_ids)


@task(pool="pacs", execution_timeout=timedelta(hours=1), on_failure_callback=NotifyOperations())
def ask_again(case_ids: list[str]) -> list[str]:
    """Ask the PACS again to commit what it took; returns the case ids that are committed now."""
    from gtr_batch import night as steps

    with task_site() as site:
        return list(steps.ask_again(site, case_ids)["committed"])


@task(execution_timeout=timedelta(hours=1), on_failure_callback=NotifyOperations())
def send_audit_trail() -> None:
    """Send what the hospital's audit repository has not got; what it does not take waits."""
    from gtr_batch import wiring

    wiring.send_audit_trail(settings())


@task(execution_timeout=timedelta(hours=1), on_failure_callback=NotifyOperations())
def send_results() -> dict[str, int]:
    """Tell the RIS, and a FHIR server, of every committed result that is news there; returns how many were taken."""
    return tell_of_results()


@task(pool="pacs", execution_timeout=timedelta(hours=1), on_failure_callback=NotifyOperations())
def apply_merges() -> list[str]:
    """Give cases of merged patients the PatientID that the PACS has; returns the case ids that wait for it."""
    from gtr_batch import wiring

    return list(wiring.apply_patient_merges(settings()).waiting)


@task.short_circuit
def merges_told() -> bool:
    """Whether the site listens for merged patients (`ris.listen_port`)."""
    return bool(settings().ris.listen_port)


@task.short_circuit
def repository_named() -> bool:
    """Whether the site has an audit repository (`audit_trail.syslog`)."""
    return bool(CONFIG.audit_trail.syslog)


@dag(
    dag_id="housekeeping",
    schedule=timetable(CONFIG.night.housekeeping_schedule, CONFIG),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(CONFIG),
    doc_md=__doc__,
    tags=["gtr"],
)
def clean_up() -> None:
    uncommitted = housekeeping()
    anything_uncommitted(uncommitted) >> ask_again(uncommitted)
    repository_named() >> send_audit_trail()
    send_results()
    merges_told() >> apply_merges()


clean_up()
