"""Events as JSON lines on standard error. The level comes from `QRMI_LOG_LEVEL`; secrets are masked on the way."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import structlog

from qrmi_core import redaction, variables


def configure(level: str | None = None) -> None:
    """Set up structlog for this process. The commands call this; a library never does."""
    word = (level or os.environ.get(variables.LOG_LEVEL) or "info").upper()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            redaction.processor,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping().get(word, logging.INFO)),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def logger(**facts: Any) -> Any:
    """A logger with *facts* bound to every event. Without `configure`, structlog's own defaults apply."""
    return structlog.get_logger(**facts)
