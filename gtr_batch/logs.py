"""Logging: events with fields, JSON in production; one closing line per case and step."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any


def get_logger(step: str) -> Any:
    """A structlog logger with the field `step`; it takes its configuration when it first speaks, not now."""
    import structlog  # with rich, asyncio and ssl: 0.1 s, which `gtr --help` does without

    return structlog.get_logger("gtr_batch", step=step)


def configure(json: bool | None = None, level: str = "INFO") -> None:
    """Set structlog up for a command line: JSON lines where asked or where stderr is no terminal.

    Inside Airflow nothing is configured here: its task runner already routes structlog to the task log.
    """
    import structlog

    if json is None:
        json = os.environ.get("GTR_LOG_FORMAT", "") == "json" or not sys.stderr.isatty()
    renderer: Any = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
