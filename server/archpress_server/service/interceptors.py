"""Around every call: metrics, a line in the log, a span, and errors into statuses."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram

from archpress_proto.v1 import artifact_service_pb2, compression_service_pb2, info_service_pb2
from archpress_server.call_reason import CallReason
from archpress_server.metrics import Metrics
from archpress_server.service.access_log import enter_call, log_call, traceparent_of
from archpress_server.service.errors import Refusal, abort, refusal_of
from archpress_server.service.handlers import Context, Handler, function_of, with_function
from archpress_server.service.read_on import read_on
from archpress_server.traces import Traces, enter_span

_LABELS = ("grpc_type", "grpc_service", "grpc_method")
_UNKNOWN = ("unary", "unknown", "unknown")

SERVICES = tuple(
    service
    for module in (compression_service_pb2, artifact_service_pb2, info_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
)
"""Descriptors of the services of the API."""


class _Call:
    """Counts one call."""

    def __init__(self, metrics: CallMetrics, labels: tuple[str, str, str]) -> None:
        self._metrics = metrics
        self._labels = labels
        self._start = time.monotonic()
        self.code = grpc.StatusCode.CANCELLED
        self.reason = ""
        metrics.started.labels(*labels).inc()

    def received(self) -> None:
        self._metrics.received.labels(*self._labels).inc()

    def sent(self) -> None:
        self._metrics.sent.labels(*self._labels).inc()

    def end(self) -> float:
        """Count the end and return the seconds that it took."""
        seconds = time.monotonic() - self._start
        self._metrics.handled.labels(*self._labels, self.code.name).inc()
        self._metrics.seconds.labels(*self._labels).observe(seconds)
        return seconds


class CallMetrics:
    """The metrics of calls, under the names that the gRPC ecosystem uses."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Create every series in a registry, so that ratios are defined from the start."""
        self.started = Counter("grpc_server_started", "Calls begun.", _LABELS, registry=registry)
        self.handled = Counter(
            "grpc_server_handled", "Calls ended.", (*_LABELS, "grpc_code"), registry=registry
        )
        self.received = Counter(
            "grpc_server_msg_received", "Messages received.", _LABELS, registry=registry
        )
        self.sent = Counter("grpc_server_msg_sent", "Messages sent.", _LABELS, registry=registry)
        self.seconds = Histogram(
            "grpc_server_handling_seconds",
            "Duration of calls; of a stream, its whole length.",
            _LABELS,
            registry=registry,
        )
        self._labels = dict(_method_labels())
        for labels in (*self._labels.values(), _UNKNOWN):
            for metric in (self.started, self.received, self.sent, self.seconds):
                metric.labels(*labels)
            for code in grpc.StatusCode:
                self.handled.labels(*labels, code.name)

    def begin(self, method: str) -> _Call:
        """Count a call of `/service/method` that begins."""
        return _Call(self, self._labels.get(method, _UNKNOWN))

    def knows(self, method: str) -> bool:
        """Whether a method is one of the API."""
        return method in self._labels


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Counts the calls of the API and answers what their handlers raise.

    A call is counted and logged before its status is sent: who has the status finds the call there.
    """

    def __init__(self, calls: CallMetrics, metrics: Metrics, traces: Traces) -> None:
        """Count calls, and refusals by their reason; make a span of each call."""
        self._calls = calls
        self._metrics = metrics
        self._traces = traces

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the method's handler with the counting around it."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None:
            unknown = self._calls.begin(method)
            unknown.code = grpc.StatusCode.UNIMPLEMENTED
            unknown.end()
            return handler
        if not self._calls.knows(method):
            return handler
        inner = function_of(handler)
        if handler.response_streaming:
            return with_function(handler, self._streaming(inner, method))
        return with_function(handler, self._single(inner, method, handler.request_streaming))

    def _single(self, inner: Any, method: str, many_requests: bool) -> Any:
        async def run(request: Any, context: Context) -> Any:
            with self._begun(method, context) as call:
                try:
                    call.received()
                    answer = await inner(request, context)
                    call.sent()
                    call.code = grpc.StatusCode.OK
                    return answer
                except Exception as error:
                    if many_requests:
                        await read_on(request)
                    refusal = self._refuse(call, error)
            await abort(context, refusal)

        return run

    def _streaming(self, inner: Any, method: str) -> Any:
        async def run(request: Any, context: Context) -> AsyncIterator[Any]:
            answers: AsyncGenerator[Any, None] | None = None
            with self._begun(method, context) as call:
                try:
                    call.received()
                    answers = inner(request, context)
                    async for answer in answers:
                        yield answer
                        call.sent()
                    call.code = grpc.StatusCode.OK
                    return
                except Exception as error:
                    refusal = self._refuse(call, error)
                finally:
                    # Now, and not when it is collected: the stream's watcher leaves with it.
                    if answers is not None:
                        await answers.aclose()
            await abort(context, refusal)

        return run

    @contextmanager
    def _begun(self, method: str, context: Context) -> Iterator[_Call]:
        """Begin a call, and tell metrics, log and traces of its end."""
        call = self._calls.begin(method)
        request_id = enter_call(context)
        facts = {"rpc.system": "grpc", "rpc.method": method, "archpress.request": request_id}
        with self._traces.span(method[1:], traceparent_of(context), facts) as span:
            enter_span(span)
            try:
                yield call
            finally:
                if call.code is not grpc.StatusCode.OK:
                    span.fail(call.reason or call.code.name)
                log_call(method, call.code, call.reason, call.end())

    def _refuse(self, call: _Call, error: Exception) -> Refusal:
        refusal = refusal_of(error)
        call.code, call.reason = refusal.code, refusal.reason or CallReason.QUEUE_FULL
        self._metrics.observe_rejection(call.reason)
        return refusal


def _method_labels() -> list[tuple[str, tuple[str, str, str]]]:
    kinds = {
        (False, False): "unary",
        (False, True): "server_stream",
        (True, False): "client_stream",
        (True, True): "bidi_stream",
    }
    return [
        (
            f"/{service.full_name}/{method.name}",
            (
                kinds[method.client_streaming, method.server_streaming],
                service.full_name,
                method.name,
            ),
        )
        for service in SERVICES
        for method in service.methods
    ]
