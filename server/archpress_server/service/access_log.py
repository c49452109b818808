"""A line for each call in the log, and the id by which its caller can ask for it."""

from __future__ import annotations

import re
import uuid

import grpc
import structlog

from archpress_server.auth.scopes import METHOD_SCOPES, Scope
from archpress_server.service.handlers import Context

REQUEST_ID = "x-request-id"
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def enter_call(context: Context) -> str:
    """Return the call's id: the caller's, if it sent a sane one, or a new one.

    It goes back to the caller with the end of the call, and stands in every line that is logged
    for it.
    """
    sent = next(
        (value for key, value in context.invocation_metadata() or () if key == REQUEST_ID), ""
    )
    sane = isinstance(sent, str) and _SANE.fullmatch(sent)
    request_id = str(sent) if sane else uuid.uuid4().hex
    structlog.contextvars.bind_contextvars(request=request_id)
    context.set_trailing_metadata(((REQUEST_ID, request_id),))
    return request_id


def traceparent_of(context: Context) -> str:
    """Return the caller's span, as it names it."""
    sent = (value for key, value in context.invocation_metadata() or () if key == "traceparent")
    value = next(sent, "")
    return value if isinstance(value, str) else ""


def log_call(method: str, code: grpc.StatusCode, reason: str, seconds: float) -> None:
    """Log a call that ended; successful reading, of which there is much, for debugging only."""
    log = structlog.get_logger()
    quiet = code is grpc.StatusCode.OK and METHOD_SCOPES.get(method) is Scope.READ
    (log.debug if quiet else log.info)(
        "call", method=method, code=code.name, reason=reason, seconds=round(seconds, 4)
    )
