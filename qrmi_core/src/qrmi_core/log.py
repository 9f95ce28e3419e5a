"""Events as JSON lines on standard error. The level comes from `QRMI_LOG_LEVEL`; secrets are masked on the way.

structlog is imported with the first event: a command can start its work before it pays for the words about it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from attrs import frozen

from qrmi_core import redaction, variables
from qrmi_core.errors import ConfigError

_LEVELS = ("debug", "info", "warning", "error")
_pending: int | None = None
"""The level that structlog is to be configured with, with the first event."""


def configure(level: str | None = None) -> None:
    """Set up the events of this process. The commands call this; a library never does.

    Args:
        level: `debug`, `info`, `warning` or `error`; by default what `QRMI_LOG_LEVEL` says, else `info`.

    Raises:
        ConfigError: there is no such level.
    """
    global _pending  # noqa: PLW0603 - structlog's own configuration is of the process, too
    word = level or os.environ.get(variables.LOG_LEVEL) or "info"
    if word.lower() not in _LEVELS:
        raise ConfigError.one(
            f"${variables.LOG_LEVEL}", "", f"{word!r} is not a level", f"There are {', '.join(_LEVELS)}"
        )
    _pending = logging.getLevelNamesMapping()[word.upper()]
    logging.lastResort = _Masked(logging.WARNING)
    threading.excepthook = _thread_failed


class _Masked(logging.Handler):
    """What libraries log, where nobody else takes it: their words may hold a secret that we gave them."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            sys.stderr.write(redaction.mask(self.format(record)) + "\n")


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_type is not SystemExit:
        logger().error("thread.failed", exc_info=failure.exc_value)


@frozen
class Logger:
    """A structlog logger with *facts* bound to every event, made when it is first used."""

    facts: dict[str, Any]

    def bind(self, **facts: Any) -> Logger:
        """The same, with more facts."""
        return Logger({**self.facts, **facts})

    def debug(self, event: str, **facts: Any) -> None:
        """What helps to find a fault."""
        self._logger().debug(event, **facts)

    def info(self, event: str, **facts: Any) -> None:
        """What happened."""
        self._logger().info(event, **facts)

    def warning(self, event: str, **facts: Any) -> None:
        """What somebody may want to change."""
        self._logger().warning(event, **facts)

    def error(self, event: str, **facts: Any) -> None:
        """What a person should act on."""
        self._logger().error(event, **facts)

    def _logger(self) -> Any:
        global _pending
        if _pending is not None:
            level, _pending = _pending, None
            with _without("rich"):
                _configure(level)
        import structlog

        return structlog.get_logger(**self.facts)


def logger(**facts: Any) -> Logger:
    """A logger with *facts* bound to every event. Without `configure`, structlog's own defaults apply."""
    return Logger(facts)


@contextmanager
def _without(package: str) -> Iterator[None]:
    """Import as where *package* is not installed: structlog would take 0.3 s for pictures that we never draw."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules.pop(package, None)


class _StandardError:
    """Standard error. That nobody reads it any longer, or that its disk is full, must not end a task."""

    def write(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


def _configure(level: int) -> None:
    import structlog

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            redaction.processor,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _StandardError())),
        cache_logger_on_first_use=False,
    )
