"""Calls with a token, the caller's trace and retries, over either wire."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from random import Random
from typing import TypeVar

from archpress_client._config import Retry, Timeouts
from archpress_client._errors import (
    ArchpressError,
    FieldViolation,
    InvalidRequestError,
    UnavailableError,
)
from archpress_client._methods import Method, Q, R
from archpress_client._rpc_errors import is_unknown, mapped_errors, may_repeat
from archpress_client._wire import Metadata, Patience, Wire

T = TypeVar("T")


class Transport:
    """Makes calls; raises nothing but the package's own errors."""

    def __init__(self, wire: Wire, *, token: str | None, timeouts: Timeouts, retry: Retry) -> None:
        """Keep the settings.

        Raises:
            InvalidRequestError: no call could carry the token.
        """
        if token and not (token.isascii() and token.isprintable()):
            text = "has a line break or other characters than printable ASCII"
            raise InvalidRequestError.of([FieldViolation("token", text)], reason="INVALID_FIELD")
        self.wire = wire
        self.timeouts = timeouts
        self.retry = retry
        self.random = Random()
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()

    async def call(
        self, method: Method[Q, R], request: Q, timeout_seconds: float | None = None
    ) -> R:
        """Return the answer of a method that may be repeated."""
        return await self._repeated(
            lambda left: self.wire.unary(method, request, left, self._sent()),
            timeout_seconds or self.timeouts.request_seconds,
        )

    async def delete(self, method: Method[Q, R], request: Q) -> None:
        """Ask to remove something; a repetition that finds nothing follows an answer that was lost.

        Raises:
            NotFoundError: there was nothing at the first attempt.
        """
        attempts = 0

        async def attempt(left: float) -> None:
            nonlocal attempts
            attempts += 1
            try:
                with mapped_errors():
                    await self.wire.unary(method, request, left, self._sent())
            except ArchpressError as error:
                if attempts == 1 or not is_unknown(error):
                    raise

        await self._repeated(attempt, self.timeouts.request_seconds)

    async def send(
        self,
        method: Method[Q, R],
        messages: Callable[[], Iterator[Q]],
        timeout_seconds: float,
    ) -> R:
        """Return the answer to a stream of messages, which may be repeated from its start."""
        return await self._repeated(
            lambda left: self.wire.send(method, messages(), left, self._sent()),
            timeout_seconds,
        )

    async def stream(
        self, method: Method[Q, R], request: Q, patience: Patience
    ) -> AsyncGenerator[R, None]:
        """Yield the answers of a method, once; the caller decides about repetition."""
        messages = self.wire.stream(method, request, patience, self._sent())
        try:
            while True:
                with mapped_errors():
                    message = await anext(messages, None)
                if message is None:
                    return
                yield message
        except UnavailableError:
            self.wire.check_open()
            raise
        finally:
            await messages.aclose()

    async def _repeated(self, call: Callable[[float], Awaitable[T]], timeout_seconds: float) -> T:
        deadline = time.monotonic() + timeout_seconds
        failures = 0
        while True:
            try:
                with mapped_errors():
                    return await call(max(deadline - time.monotonic(), 0.001))
            except ArchpressError as error:
                if not may_repeat(error):
                    raise
                self.wire.check_open()
                failures += 1
                delay = self.retry.delay_seconds(failures, self.random, error.retry_after_seconds)
                too_late = time.monotonic() + delay > deadline
                if failures >= self.retry.request_attempts or too_late:
                    raise
                await self.wire.sleep(delay)

    def _sent(self) -> Metadata:
        """Return the metadata of a call, with the caller's span where the program has traces."""
        api = sys.modules.get("opentelemetry.trace")
        if api is None:
            return self._metadata
        span = api.get_current_span().get_span_context()
        if not span.is_valid:
            return self._metadata
        traceparent = f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
        return (*self._metadata, ("traceparent", traceparent))
