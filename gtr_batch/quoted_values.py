"""What libraries quote, and no log may get: values of headers (pydicom, highdicom) and addresses asked for (httpx).

A value that breaks the rules may be a patient's name; an address may hold an accession number, or a webhook's secret.
Airflow writes into its logs whatever a task's process warns of or logs. What the libraries raise is not touched.
"""

from __future__ import annotations

import logging
import warnings

_LIBRARIES = ("pydicom", "highdicom")
_CLIENTS = ("httpx", "httpcore")


def keep_out_of_logs() -> None:
    """Silence what these libraries warn of and log, for this process; imports none of them."""
    for library in _LIBRARIES:
        logger = logging.getLogger(library)
        logger.setLevel(logging.CRITICAL)  # and with it the loggers below that have no level of their own
        logger.addFilter(_drop)  # pydicom sets its level anew when it is imported
    warnings.filterwarnings("ignore", module=rf"({'|'.join(_LIBRARIES)})(\.|$)")
    for client in _CLIENTS:
        logger = logging.getLogger(client)
        logger.setLevel(logging.WARNING)  # each request is logged with its address, at INFO
        logger.addFilter(_drop_requests)


def _drop(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.CRITICAL


def _drop_requests(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING
