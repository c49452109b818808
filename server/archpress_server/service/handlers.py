"""Handlers of gRPC's methods, taken apart and put together again around another function.

The API has no method that streams both ways.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import grpc

Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # not generic at run time


def function_of(handler: Handler) -> Any:
    """Return the function that answers a method's calls, with one answer or a stream of them."""
    if handler.response_streaming:
        return handler.unary_stream
    return handler.stream_unary if handler.request_streaming else handler.unary_unary


def with_function(
    handler: Handler, function: Any, read: Callable[[bytes], Any] | None = None
) -> Handler:
    """Return a handler of the same kind with another function, and another reader if given."""
    make: Any = grpc.unary_unary_rpc_method_handler
    if handler.response_streaming:
        make = grpc.unary_stream_rpc_method_handler
    elif handler.request_streaming:
        make = grpc.stream_unary_rpc_method_handler
    made: Handler = make(
        function, read or handler.request_deserializer, handler.response_serializer
    )
    return made
