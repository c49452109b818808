"""The gRPC channel: opened late, once per process, closed once; calls with retries."""

from __future__ import annotations

import math
import os
import queue
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from random import Random
from typing import Generic, Protocol, TypeVar

import grpc

from archpress_client._config import Retry, Timeouts, Tls, is_loopback
from archpress_client._errors import (
    ClientClosedError,
    RequestTimeoutError,
    UnavailableError,
    mapped_errors,
)
from archpress_proto.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceStub
from archpress_proto.v1.info_service_pb2_grpc import InfoServiceStub

_STUCK_SECONDS = 1.0

Q = TypeVar("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    # gRPC's own two minutes would leave a watcher waiting long after the server is back.
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


@dataclass(frozen=True, slots=True)
class Stubs:
    """One process's channel, and the services behind it."""

    pid: int
    channel: grpc.Channel
    compression: CompressionServiceStub
    artifacts: ArtifactServiceStub
    info: InfoServiceStub


class Transport:
    """Makes calls; raises nothing but the package's own errors."""

    def __init__(
        self,
        target: str,
        *,
        tls: Tls | None,
        insecure: bool,
        token: str | None,
        timeouts: Timeouts,
        retry: Retry,
    ) -> None:
        """Keep the settings; nothing is opened yet."""
        self.target = target
        self.timeouts = timeouts
        self.retry = retry
        self.random = Random()
        self._tls = tls
        self._plain = tls is None and (insecure or is_loopback(target))
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._lock = threading.Lock()
        self._stubs: Stubs | None = None
        self._closed = False

    def close(self) -> None:
        """Close the channel; calls that run end with `ClientClosedError`."""
        with self._lock:
            self._closed = True
            stubs, self._stubs = self._stubs, None
        if stubs is not None and stubs.pid == os.getpid():
            stubs.channel.close()

    def __del__(self) -> None:
        """Warn if an open channel was forgotten."""
        stubs = getattr(self, "_stubs", None)
        if stubs is not None and stubs.pid == os.getpid():
            warnings.warn(
                f"the client of {self.target} was not closed", ResourceWarning, stacklevel=2
            )
            stubs.channel.close()

    def call(
        self,
        method: Callable[[Stubs], grpc.UnaryUnaryMultiCallable[Q, R]],
        request: Q,
        timeout_seconds: float | None = None,
    ) -> R:
        """Return the answer of a method that may be repeated."""
        return self._repeated(
            lambda stubs, left: method(stubs)(request, timeout=left, metadata=self._sent()),
            timeout_seconds or self.timeouts.request_seconds,
        )

    def send(
        self,
        method: Callable[[Stubs], grpc.StreamUnaryMultiCallable[Q, R]],
        messages: Callable[[], Iterator[Q]],
        timeout_seconds: float,
    ) -> R:
        """Return the answer to a stream of messages, which may be repeated from its start."""
        return self._repeated(
            lambda stubs, left: method(stubs)(messages(), timeout=left, metadata=self._sent()),
            timeout_seconds,
        )

    def _repeated(self, call: Callable[[Stubs, float], R], timeout_seconds: float) -> R:
        deadline = time.monotonic() + timeout_seconds
        failures = 0
        while True:
            try:
                with mapped_errors():
                    return call(self._open(), max(deadline - time.monotonic(), 0.001))
            except UnavailableError as error:
                self._check_open()
                failures += 1
                delay = self.retry.delay_seconds(failures, self.random, error.retry_after_seconds)
                too_late = time.monotonic() + delay > deadline
                if failures >= self.retry.request_attempts or too_late:
                    raise
                time.sleep(delay)

    def stream(
        self,
        method: Callable[[Stubs], grpc.UnaryStreamMultiCallable[Q, R]],
        request: Q,
        *,
        silence_seconds: float,
        timeout_seconds: float | None = None,
    ) -> Generator[R, None, None]:
        """Yield the answers of a method, once; the caller decides about repetition."""
        with mapped_errors():
            call = method(self._open())(request, timeout=timeout_seconds, metadata=self._sent())
        reader = _Reader(call)
        deadline = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
        try:
            while True:
                # gRPC's own deadline comes first; the margin is for a call that is stuck.
                left = deadline + _STUCK_SECONDS - time.monotonic()
                try:
                    message = reader.next(min(silence_seconds, left))
                except queue.Empty:
                    if left <= silence_seconds:
                        raise RequestTimeoutError(f"no end in {timeout_seconds} seconds") from None
                    raise UnavailableError(
                        f"nothing came from {self.target} for {silence_seconds:g} seconds"
                    ) from None
                if message is None:
                    return
                yield message
        except UnavailableError:
            self._check_open()
            raise
        finally:
            reader.stop()

    def _sent(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of a call, with the caller's span where the program has traces."""
        api = sys.modules.get("opentelemetry.trace")
        if api is None:
            return self._metadata
        span = api.get_current_span().get_span_context()
        if not span.is_valid:
            return self._metadata
        traceparent = f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
        return (*self._metadata, ("traceparent", traceparent))

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosedError("the client is closed")

    def _open(self) -> Stubs:
        with self._lock:
            self._check_open()
            # A channel does not survive a fork. The parent's is left alone: closing it from here
            # could block on threads that exist only there.
            if self._stubs is None or self._stubs.pid != os.getpid():
                channel = self._new_channel()
                self._stubs = Stubs(
                    pid=os.getpid(),
                    channel=channel,
                    compression=CompressionServiceStub(channel),
                    artifacts=ArtifactServiceStub(channel),
                    info=InfoServiceStub(channel),
                )
            return self._stubs

    def _new_channel(self) -> grpc.Channel:
        options: list[tuple[str, str | int]] = list(_OPTIONS)
        if self._plain:
            return grpc.insecure_channel(self.target, options=options)
        tls = self._tls or Tls()
        if tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", tls.server_name))
        credentials = grpc.ssl_channel_credentials(
            root_certificates=tls.root_certificates,
            private_key=tls.private_key,
            certificate_chain=tls.certificate_chain,
        )
        return grpc.secure_channel(self.target, credentials, options=options)


class _Call(Protocol[R_co]):
    """The part of a streaming call that is used here."""

    def __iter__(self) -> Iterator[R_co]: ...

    def cancel(self) -> object: ...


class _Reader(Generic[R]):
    """Reads a stream in a thread of its own, so that nobody waits for ever on a stuck call.

    gRPC can leave a call that meets a closing connection without any end: neither its deadline nor
    its cancellation wakes up the reader (seen with grpcio 1.72.1).
    """

    def __init__(self, call: _Call[R]) -> None:
        self._call = call
        # Short: a slow taker holds up the server, not this process's memory.
        self._items: queue.Queue[R | Exception | None] = queue.Queue(maxsize=4)
        self._stopped = False
        threading.Thread(target=self._run, name="archpress-reader", daemon=True).start()

    def next(self, timeout_seconds: float) -> R | None:
        """Return the next message, None at the end; raise the stream's error or `queue.Empty`."""
        item = self._items.get(timeout=max(timeout_seconds, 0.0))
        if isinstance(item, Exception):
            with mapped_errors():
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

    def _put(self, item: R | Exception | None) -> None:
        while not self._stopped:
            try:
                return self._items.put(item, timeout=0.2)
            except queue.Full:
                continue
