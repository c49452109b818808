"""Before every call of the API: who calls, may they, and not too often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import structlog

from archpress_server.auth.authenticator import Authenticator
from archpress_server.auth.callers import Caller, enter
from archpress_server.auth.errors import AuthError, not_owner
from archpress_server.auth.limits import RateLimiter
from archpress_server.auth.scopes import METHOD_SCOPES, Scope, is_open
from archpress_server.jobs.errors import ArtifactNotFoundError, JobNotFoundError
from archpress_server.service.handlers import Context, Handler, function_of, with_function
from archpress_server.service.places import Places

_STREAMS = 5_000
"""Streams and uploads of all at one time."""

_STREAMS_EACH = 1_000
"""Of one principal."""


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Lets known callers with the method's scope pass; what it raises others turn into statuses."""

    def __init__(self, authenticator: Authenticator, limiter: RateLimiter) -> None:
        """Ask an authenticator for each caller, and count its requests."""
        self._authenticator = authenticator
        self._limiter = limiter
        self._calls: set[_Call] = set()
        self._streams = Places("streams", _STREAMS, _STREAMS_EACH)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the method's handler with the checks before it."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or is_open(method):
            return handler
        scope = METHOD_SCOPES.get(method)
        if scope is None:
            # What the table forgets is nobody's to call.
            return None
        around = self._single
        if handler.response_streaming or handler.request_streaming:
            around = self._streaming if handler.response_streaming else self._receiving
        return with_function(handler, around(function_of(handler), method, scope))

    def end_revoked(self) -> None:
        """End the open calls of callers who are no longer known or lost the scope."""
        for call in list(self._calls):
            try:
                self._authenticator.renewed(call.caller).check_scope(call.scope)
            except AuthError as error:
                call.end(error)

    def _single(self, inner: Any, method: str, scope: Scope) -> Any:
        async def run(request: Any, context: Context) -> Any:
            with _logged(method, context), _hidden(self._admit(scope, context)):
                return await inner(request, context)

        return run

    def _receiving(self, inner: Any, method: str, scope: Scope) -> Any:
        async def run(requests: Any, context: Context) -> Any:
            with _logged(method, context), self._entered(scope, context) as call:
                return await call.wait(lambda: inner(requests, context))

        return run

    def _streaming(self, inner: Any, method: str, scope: Scope) -> Any:
        async def run(request: Any, context: Context) -> AsyncIterator[Any]:
            with _logged(method, context), self._entered(scope, context) as call:
                answers = inner(request, context)
                try:
                    while True:
                        try:
                            answer = await call.wait(lambda: anext(answers))
                        except StopAsyncIteration:
                            return
                        yield answer
                finally:
                    await answers.aclose()

        return run

    @contextmanager
    def _entered(self, scope: Scope, context: Context) -> Iterator[_Call]:
        caller = self._admit(scope, context)
        call = _Call(caller, scope)
        with self._streams.taken(caller.principal), _hidden(caller):
            self._calls.add(call)
            try:
                yield call
            finally:
                self._calls.discard(call)

    def _admit(self, scope: Scope, context: Context) -> Caller:
        metadata = context.invocation_metadata() or ()
        caller = self._authenticator.caller_of(metadata, context.auth_context() or {})
        caller.check_scope(scope)
        self._limiter.take(caller.principal)
        enter(caller)
        if caller.principal:
            structlog.contextvars.bind_contextvars(principal=caller.principal)
        return caller


class _Call:
    """A call under way, which somebody else may end with an error."""

    def __init__(self, caller: Caller, scope: Scope) -> None:
        self.caller = caller
        self.scope = scope
        self._error: AuthError | None = None
        self._wait: asyncio.Timeout | None = None

    async def wait(self, step: Callable[[], Awaitable[Any]]) -> Any:
        """Return what the next step of the call gives, unless the call ends before."""
        if self._error is not None:
            raise self._error
        try:
            async with asyncio.timeout(None) as self._wait:
                return await step()
        except TimeoutError:
            if self._error is None:
                raise
            raise self._error from None
        finally:
            self._wait = None

    def end(self, error: AuthError) -> None:
        """End it now, or at its next step."""
        self._error = error
        if self._wait is not None:
            self._wait.reschedule(asyncio.get_running_loop().time())


@contextmanager
def _hidden(caller: Caller) -> Iterator[None]:
    """Tell a caller of what does not exist the same as of what is another's."""
    try:
        yield
    except JobNotFoundError as error:
        if caller.sees_all:
            raise
        raise not_owner(f"jobs/{error.job}") from None
    except ArtifactNotFoundError as error:
        if caller.sees_all:
            raise
        raise not_owner(f"artifacts/{error.artifact}") from None


@contextmanager
def _logged(method: str, context: Context) -> Iterator[None]:
    """Log who is turned away from what; never what they came with."""
    try:
        yield
    except AuthError as error:
        structlog.get_logger().info(
            "a caller is turned away", reason=error.reason, method=method, peer=context.peer()
        )
        raise
