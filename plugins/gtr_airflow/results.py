"""What other systems are told of results, from whichever DAG."""

from __future__ import annotations

from airflow.sdk.exceptions import AirflowSkipException

from gtr_airflow.callbacks import notify
from gtr_airflow.connections import settings


def tell_of_results() -> dict[str, int]:
    """Send every message that is due; returns how many were taken, wait, and became dead letters.

    Raises
    ------
    AirflowSkipException
        The site tells no other system.
    """
    from gtr_batch import wiring

    config = settings()
    if not config.tells_of_results and not config.sends_words:
        raise AirflowSkipException("nobody is told of results (ris.host, fhir.url, report.reader_word_sr)")
    sent = wiring.send_result_messages(config, alert=notify)
    return {"taken": sent.taken, "waiting": sent.waiting, "dead": sent.dead}
