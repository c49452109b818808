"""The wire for asyncio: the gRPC channel is opened late, once per event loop, and closed once."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import ParamSpec, TypeVar

import grpc.aio

from archpress_client._errors import ClientClosedError, RequestTimeoutError, UnavailableError
from archpress_client._methods import Method, Q, R
from archpress_client._wire import STUCK_SECONDS, Address, Metadata, Patience

P = ParamSpec("P")
T = TypeVar("T")


class AsyncioWire:
    """Carries calls for any number of tasks of one event loop."""

    def __init__(self, address: Address) -> None:
        """Keep the address; nothing is opened yet."""
        self.address = address
        self._opened: tuple[asyncio.AbstractEventLoop, grpc.aio.Channel] | None = None
        self._closed = False

    async def close(self) -> None:
        """Close the channel; calls that run end."""
        self._closed = True
        opened, self._opened = self._opened, None
        if opened is not None and opened[0] is asyncio.get_running_loop():
            await opened[1].close()

    def __del__(self) -> None:
        """Warn if an open channel was forgotten."""
        if getattr(self, "_opened", None) is not None:
            text = f"the client of {self.address.target} was not closed"
            warnings.warn(text, ResourceWarning, stacklevel=2)

    def check_open(self) -> None:
        """Raise `ClientClosedError` where the client was closed."""
        if self._closed:
            raise ClientClosedError("the client is closed")

    async def unary(
        self, method: Method[Q, R], request: Q, timeout_seconds: float, metadata: Metadata
    ) -> R:
        """Return the answer to a message."""
        call: grpc.aio.UnaryUnaryMultiCallable[Q, R] = self._channel().unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        answer = call(request, timeout=timeout_seconds, metadata=metadata)
        return await self._in_time(answer, timeout_seconds)

    async def send(
        self,
        method: Method[Q, R],
        messages: Iterator[Q],
        timeout_seconds: float,
        metadata: Metadata,
    ) -> R:
        """Return the answer to a stream of messages."""
        call: grpc.aio.StreamUnaryMultiCallable[Q, R] = self._channel().stream_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        answer = call(messages, timeout=timeout_seconds, metadata=metadata)
        return await self._in_time(answer, timeout_seconds)

    async def stream(
        self, method: Method[Q, R], request: Q, patience: Patience, metadata: Metadata
    ) -> AsyncGenerator[R, None]:
        """Yield the answers to a message."""
        channel = self._channel()
        open_stream: grpc.aio.UnaryStreamMultiCallable[Q, R] = channel.unary_stream(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        call = open_stream(request, timeout=patience.timeout_seconds, metadata=metadata)
        try:
            while True:
                try:
                    async with asyncio.timeout(patience.wait_seconds()):
                        message = await self._answer(call.read())
                except TimeoutError:
                    await self._give_up(channel)
                    raise patience.error(self.address.target) from None
                if not isinstance(message, method.response):
                    return
                yield message
        finally:
            call.cancel()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def offload(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a function returns that waits for a disk, and let other tasks run."""
        return await asyncio.to_thread(function, *args, **kwargs)

    def _channel(self) -> grpc.aio.Channel:
        self.check_open()
        loop = asyncio.get_running_loop()
        # A channel is its loop's: another `asyncio.run`, also that of a forked process, has
        # another, and nobody is left who could close the old one.
        if self._opened is None or self._opened[0] is not loop:
            self._opened = (loop, _new_channel(self.address))
        return self._opened[1]

    async def _in_time(self, answer: Awaitable[R], timeout_seconds: float) -> R:
        # gRPC's own deadline comes first; this one is for a call that is stuck.
        try:
            async with asyncio.timeout(timeout_seconds + STUCK_SECONDS):
                return await self._answer(answer)
        except TimeoutError:
            raise RequestTimeoutError(f"no answer in {timeout_seconds:g} seconds") from None

    async def _answer(self, answer: Awaitable[T]) -> T:
        """Return an answer; that its channel was closed is not the task's own cancellation."""
        try:
            return await answer
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self.check_open()
            raise UnavailableError(
                f"the connection to {self.address.target} was given up"
            ) from None

    async def _give_up(self, channel: grpc.aio.Channel) -> None:
        """Close a channel on which nothing comes: its connection may be dead without knowing it.

        Its other calls end too, and are resumed on the next channel.
        """
        if self._opened is not None and self._opened[1] is channel:
            self._opened = None
            await channel.close()


def _new_channel(address: Address) -> grpc.aio.Channel:
    if address.plain:
        return grpc.aio.insecure_channel(address.target, options=address.options())
    return grpc.aio.secure_channel(address.target, address.credentials(), options=address.options())
