"""What pydicom and highdicom say of a value that breaks the rules quotes it, a patient's name too: no log gets it.

Airflow writes into its logs whatever a task's process warns of. What the libraries raise is not touched.
"""

from __future__ import annotations

import logging
import warnings

_LIBRARIES = ("pydicom", "highdicom")


def keep_out_of_logs() -> None:
    """Silence what both libraries warn of and log, for this process; imports neither."""
    for library in _LIBRARIES:
        logger = logging.getLogger(library)
        logger.setLevel(logging.CRITICAL)  # and with it the loggers below that have no level of their own
        logger.addFilter(_drop)  # pydicom sets its level anew when it is imported
    warnings.filterwarnings("ignore", module=rf"({'|'.join(_LIBRARIES)})(\.|$)")


def _drop(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.CRITICAL
