"""Malformed messages, turned into refusals of the method that they were meant for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from archpress_server.auth.scopes import is_open
from archpress_server.compress.types import RequestError
from archpress_server.service.errors import field_error
from archpress_server.service.handlers import Context, Handler, function_of, with_function


class MessageInterceptor(grpc.aio.ServerInterceptor):
    """Raises for a message that cannot be read, where the handler would get it.

    gRPC itself would answer INTERNAL, which blames the server.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the method's handler with a reader that does not fail."""
        handler = await continuation(handler_call_details)
        if handler is None or is_open(handler_call_details.method):
            return handler
        around = _streaming if handler.response_streaming else _single
        if handler.request_streaming:
            around = _uploading
        read = _reading(handler.request_deserializer)
        return with_function(handler, around(function_of(handler)), read)


def _single(inner: Any) -> Any:
    async def run(request: Any, context: Context) -> Any:
        if isinstance(request, RequestError):
            raise request
        return await inner(request, context)

    return run


def _uploading(inner: Any) -> Any:
    async def run(requests: AsyncIterator[Any], context: Context) -> Any:
        async def checked() -> AsyncIterator[Any]:
            async for request in requests:
                if isinstance(request, RequestError):
                    raise request
                yield request

        return await inner(checked(), context)

    return run


def _streaming(inner: Any) -> Any:
    async def run(request: Any, context: Context) -> AsyncIterator[Any]:
        if isinstance(request, RequestError):
            raise request
        answers = inner(request, context)
        try:
            async for answer in answers:
                yield answer
        finally:
            await answers.aclose()

    return run


def _reading(deserializer: Any) -> Callable[[bytes], Any]:
    def read(message: bytes) -> Any:
        try:
            return deserializer(message)
        except DecodeError:
            text = f"its {len(message)} bytes are cut short or no message of this method"
            return field_error("request", text)

    return read
