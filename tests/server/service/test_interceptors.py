"""When a call is counted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from archpress_server.metrics import Metrics
from archpress_server.service.errors import field_error
from archpress_server.service.handlers import function_of
from archpress_server.service.interceptors import CallInterceptor, CallMetrics
from archpress_server.traces import open_traces

SERVICE = "archpress.v1.CompressionService"


class Context:
    """A call that remembers what was counted when its status was about to be sent."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._trailing: Any = ()
        self.counted: list[tuple[str, float]] = []

    def invocation_metadata(self) -> tuple[Any, ...]:
        return ()

    def set_trailing_metadata(self, metadata: Any) -> None:
        self._trailing = metadata

    def trailing_metadata(self) -> Any:
        return self._trailing

    async def abort(self, code: grpc.StatusCode, *_: Any) -> None:
        for metric in self._metrics.registry.collect():
            for name, labels, value, *_rest in metric.samples:
                counts = {code.name, "INVALID_FIELD"} & set(labels.values())
                if value and counts and name.endswith("_total"):
                    self.counted.append((name, value))
        raise grpc.aio.AbortError


async def refuse(request: Any, context: Any) -> Any:
    raise field_error("name", "is bad")


async def refuse_late(request: Any, context: Any) -> AsyncIterator[Any]:
    yield "an answer"
    raise field_error("name", "is bad")


async def call(function: Any, context: Context) -> None:
    answers = function(None, context)
    if isinstance(answers, AsyncIterator):
        async for _ in answers:
            pass
    else:
        await answers


@pytest.mark.parametrize(
    ("method", "handler"),
    [
        ("GetJob", grpc.unary_unary_rpc_method_handler(refuse)),
        ("WatchJob", grpc.unary_stream_rpc_method_handler(refuse_late)),
    ],
)
async def test_a_refused_call_is_counted_before_its_status_is_sent(
    method: str, handler: Any
) -> None:
    metrics = Metrics()
    counting = CallInterceptor(CallMetrics(metrics.registry), metrics, open_traces("", "server"))

    async def continuation(_: Any) -> Any:
        return handler

    details: Any = SimpleNamespace(method=f"/{SERVICE}/{method}")
    counted = await counting.intercept_service(continuation, details)
    assert counted is not None
    context = Context(metrics)
    with pytest.raises(grpc.aio.AbortError):
        await call(function_of(counted), context)
    assert sorted(context.counted) == [
        ("archpress_rejected_total", 1),
        ("grpc_server_handled_total", 1),
    ]
