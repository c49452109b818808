"""The wire for threads: the gRPC channel is opened late, once per process, and closed once."""

from __future__ import annotations

import os
import queue
import threading
import time
import warnings
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Generic, ParamSpec, Protocol, TypeVar

import grpc

from archpress_client._errors import ClientClosedError, UnavailableError
from archpress_client._methods import Method, Q, R
from archpress_client._wire import Address, Metadata, Patience

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class BlockingWire:
    """Carries calls for any number of threads."""

    def __init__(self, address: Address) -> None:
        """Keep the address; nothing is opened yet."""
        self.address = address
        self._lock = threading.Lock()
        self._opened: tuple[int, grpc.Channel] | None = None
        self._closed = False

    def close(self) -> None:
        """Close the channel; calls that run end."""
        with self._lock:
            self._closed = True
            opened, self._opened = self._opened, None
        if opened is not None and opened[0] == os.getpid():
            opened[1].close()

    def __del__(self) -> None:
        """Warn if an open channel was forgotten."""
        opened = getattr(self, "_opened", None)
        if opened is not None and opened[0] == os.getpid():
            text = f"the client of {self.address.target} was not closed"
            warnings.warn(text, ResourceWarning, stacklevel=2)
            opened[1].close()

    def check_open(self) -> None:
        """Raise `ClientClosedError` where the client was closed."""
        if self._closed:
            raise ClientClosedError("the client is closed")

    async def unary(
        self, method: Method[Q, R], request: Q, timeout_seconds: float, metadata: Metadata
    ) -> R:
        """Return the answer to a message."""
        with self._used() as channel:
            call: grpc.UnaryUnaryMultiCallable[Q, R] = channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            return call(request, timeout=timeout_seconds, metadata=metadata)

    async def send(
        self,
        method: Method[Q, R],
        messages: Iterator[Q],
        timeout_seconds: float,
        metadata: Metadata,
    ) -> R:
        """Return the answer to a stream of messages."""
        with self._used() as channel:
            call: grpc.StreamUnaryMultiCallable[Q, R] = channel.stream_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            return call(messages, timeout=timeout_seconds, metadata=metadata)

    async def stream(
        self, method: Method[Q, R], request: Q, patience: Patience, metadata: Metadata
    ) -> AsyncGenerator[R, None]:
        """Yield the answers to a message."""
        with self._used() as channel:
            call: grpc.UnaryStreamMultiCallable[Q, R] = channel.unary_stream(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            reader = Reader(call(request, timeout=patience.timeout_seconds, metadata=metadata))
        try:
            while True:
                try:
                    message = reader.next(patience.wait_seconds())
                except queue.Empty:
                    self._give_up(channel)
                    raise patience.error(self.address.target) from None
                if message is None:
                    return
                yield message
        finally:
            reader.stop()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    async def offload(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a function returns that waits for a disk."""
        return function(*args, **kwargs)

    @contextmanager
    def _used(self) -> Iterator[grpc.Channel]:
        """Give the channel for a call; that another thread closed it first is a fault on the way.

        gRPC tells it by a ValueError.
        """
        channel = self._channel()
        try:
            yield channel
        except ValueError as error:
            self.check_open()
            with self._lock:
                if self._opened is not None and self._opened[1] is channel:
                    raise
            text = f"the connection to {self.address.target} was given up"
            raise UnavailableError(text) from error

    def _channel(self) -> grpc.Channel:
        with self._lock:
            self.check_open()
            # A channel does not survive a fork. The parent's is left alone: closing it from here
            # could block on threads that exist only there.
            if self._opened is None or self._opened[0] != os.getpid():
                self._opened = (os.getpid(), _new_channel(self.address))
            return self._opened[1]

    def _give_up(self, channel: grpc.Channel) -> None:
        """Close a channel on which nothing comes: its connection may be dead without knowing it.

        Its other calls end too, and are resumed on the next channel.
        """
        with self._lock:
            if self._opened is None or self._opened[1] is not channel:
                return
            self._opened = None
        channel.close()


def _new_channel(address: Address) -> grpc.Channel:
    if address.plain:
        return grpc.insecure_channel(address.target, options=address.options())
    return grpc.secure_channel(address.target, address.credentials(), options=address.options())


class Call(Protocol[T_co]):
    """The part of a streaming call that is used here."""

    def __iter__(self) -> Iterator[T_co]:
        """Give the messages."""

    def cancel(self) -> object:
        """End the call."""


class Reader(Generic[T]):
    """Reads a stream in a thread of its own, so that nobody waits for ever on a stuck call.

    gRPC can leave a call that meets a closing connection without any end: neither its deadline nor
    its cancellation wakes up the reader (seen with grpcio 1.72.1).
    """

    def __init__(self, call: Call[T]) -> None:
        """Start to read."""
        self._call = call
        # Short: a slow taker holds up the server, not this process's memory.
        self._items: queue.Queue[T | Exception | None] = queue.Queue(maxsize=4)
        self._stopped = False
        threading.Thread(target=self._run, name="archpress-reader", daemon=True).start()

    def next(self, timeout_seconds: float) -> T | None:
        """Return the next message, None at the end; raise the stream's error or `queue.Empty`."""
        item = self._items.get(timeout=timeout_seconds)
        if isinstance(item, Exception):
            raise item
        return item

    def stop(self) -> None:
        """End the call; what was read and not taken is lost."""
        self._stopped = True
        self._call.cancel()

    def _run(self) -> None:
        try:
            for message in self._call:
                self._put(message)
            self._put(None)
        except Exception as error:
            self._put(error)

    def _put(self, item: T | Exception | None) -> None:
        while not self._stopped:
            try:
                return self._items.put(item, timeout=0.2)
            except queue.Full:
                continue
