"""Keep what pydicom and highdicom say about odd values out of the logs: they quote the value, also a patient's name."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LIBRARIES = ("pydicom", "highdicom")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence both libraries' warnings and loggers; errors still raise."""
    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
