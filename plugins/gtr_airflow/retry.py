"""Which errors are tried again: one policy for all DAGs, read off the tree in `gtr_batch.errors`.

Seconds are retried inside an association, by the adapters; minutes are retried here, by Airflow; never both for one
fault. With the defaults (2 retries, 5 minutes) a task gives up after 3 tries and 10 minutes of waiting.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from gtr_batch.config import Config
from gtr_batch.errors import CaseRejected, CasesSentBack, PermanentError, TransientError


def retry_policy(delay: timedelta) -> ExceptionRetryPolicy:
    """Retry what may work later, fail at once what will not, leave the rest (a bug, a killed worker) to the default."""
    return ExceptionRetryPolicy(
        rules=[
            RetryRule(TransientError, RetryAction.RETRY, delay, "may work later: retried"),
            RetryRule(PermanentError, RetryAction.FAIL, reason="a person must mend something: not retried"),
            RetryRule(CasesSentBack, RetryAction.FAIL, reason="the night's next run goes on: not retried"),
            RetryRule(CaseRejected, RetryAction.FAIL, reason="this case will be refused again: not retried"),
        ]
    )


def default_args(config: Config) -> dict[str, object]:
    """What every task of every DAG has: an owner, retries, the retry policy and an end."""
    delay = timedelta(seconds=config.night.retry_delay_s)
    return {
        "owner": "pacs-operations",
        "retries": config.night.retries,
        "retry_delay": delay,
        "retry_policy": retry_policy(delay),
        "execution_timeout": timedelta(minutes=30),
    }
