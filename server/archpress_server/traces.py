"""Traces by OpenTelemetry, where a collector is set; elsewhere nothing of it is imported.

A span's place is told on as W3C's `traceparent`, a text: with the caller's call, with the job's
row, and so to the worker. The SDK's own variables (`OTEL_*`) set sampling, batches and headers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import structlog

from archpress_server import __version__

Attributes = Mapping[str, str | int | float | bool]
_CURRENT: ContextVar[str] = ContextVar("traceparent", default="")


class TracesError(Exception):
    """Traces cannot be sent; the message names the setting and what is missing."""


class Span(Protocol):
    """A piece of work that is being timed."""

    @property
    def traceparent(self) -> str:
        """What work that follows from it calls its parent; empty without traces."""
        ...

    def fail(self, reason: str) -> None:
        """Mark it as failed."""
        ...


class Traces(Protocol):
    """Where spans go."""

    def span(self, name: str, parent: str, attributes: Attributes) -> Any:
        """Return a context manager that yields a `Span`; a malformed parent is none."""
        ...

    def record(
        self, name: str, parent: str, seconds: float, reason: str, attributes: Attributes
    ) -> None:
        """Tell of failed work that ended now, after so many seconds."""
        ...

    def flush(self, timeout_seconds: float) -> None:
        """Send what ended, as far as the time allows."""
        ...


def open_traces(url: str, process: str) -> Traces:
    """Return traces to an OTLP collector at a URL (gRPC), or none for an empty URL.

    Raises:
        TracesError: OpenTelemetry is not installed.
    """
    if not url:
        return _NoTraces()
    try:
        return _OtlpTraces(url, process)
    except ImportError as error:
        raise TracesError(
            f"traces_url needs the module {error.name}: install archpress-server[traces]"
        ) from error


def enter_span(span: Span) -> None:
    """Make a span the parent of what this task stores."""
    _CURRENT.set(span.traceparent)
    if span.traceparent:
        structlog.contextvars.bind_contextvars(trace=span.traceparent.split("-")[1])


def current_traceparent() -> str:
    """Return the span that this task works for; empty if there is none."""
    return _CURRENT.get()


class _NoSpan:
    traceparent = ""

    def fail(self, reason: str) -> None:
        pass


class _NoTraces:
    @contextmanager
    def span(self, name: str, parent: str, attributes: Attributes) -> Iterator[Span]:
        yield _NoSpan()

    def record(
        self, name: str, parent: str, seconds: float, reason: str, attributes: Attributes
    ) -> None:
        pass

    def flush(self, timeout_seconds: float) -> None:
        pass


class _OtlpSpan:
    def __init__(self, span: Any) -> None:
        self._span = span
        context = span.get_span_context()
        self.traceparent = (
            f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        )

    def fail(self, reason: str) -> None:
        from opentelemetry.trace import StatusCode

        self._span.set_attribute("archpress.reason", reason)
        self._span.set_status(StatusCode.ERROR, reason)


class _OtlpTraces:
    """Sends spans in batches from a thread of its own; what a dead collector misses is lost."""

    def __init__(self, url: str, process: str) -> None:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        facts = {"service.name": process, "service.version": __version__}
        self._provider = TracerProvider(resource=Resource.create(facts), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=url, insecure=url.startswith("http://"))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("archpress_server", __version__)

    @contextmanager
    def span(self, name: str, parent: str, attributes: Attributes) -> Iterator[Span]:
        span = self._tracer.start_span(name, _context(parent), attributes=attributes)
        try:
            yield _OtlpSpan(span)
        finally:
            span.end()

    def record(
        self, name: str, parent: str, seconds: float, reason: str, attributes: Attributes
    ) -> None:
        end = time.time_ns()
        start = end - int(seconds * 1e9)
        span = self._tracer.start_span(
            name, _context(parent), attributes=attributes, start_time=start
        )
        _OtlpSpan(span).fail(reason)
        span.end(end)

    def flush(self, timeout_seconds: float) -> None:
        # The exporter waits for a silent collector for longer than it is told here.
        sending = threading.Thread(target=self._provider.force_flush, name="flush", daemon=True)
        sending.start()
        sending.join(timeout_seconds)


def _context(parent: str) -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": parent})
