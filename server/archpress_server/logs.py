"""Logs: a line for each event on standard error, as JSON or for people."""

from __future__ import annotations

import contextlib
import logging
import sys
import uuid

import structlog
from structlog.typing import Processor


class _Stream:
    """Standard error that may be gone: a worker outlives the server that started it."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def configure_logs(level: str, form: str = "json") -> None:
    """Set up this process's logs; to be called once, by its main function."""
    # Other formatters show local variables, and with them the database's password.
    plain = structlog.dev.plain_traceback
    render: list[Processor] = [
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=plain)
    ]
    if form == "json":
        render = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(_Stream()),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )


def log_unexpected(event: str, error: BaseException, **context: object) -> str:
    """Log an error with its traceback and return the id that a caller may quote."""
    error_id = uuid.uuid4().hex[:12]
    structlog.get_logger().error(event, error_id=error_id, exc_info=error, **context)
    return error_id
