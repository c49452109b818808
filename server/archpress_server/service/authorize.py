"""Before every call of the API: who calls, may they, and not too often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
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


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Lets known callers with the method's scope pass; what it raises others turn into statuses."""

    def __init__(self, authenticator: Authenticator, limiter: RateLimiter) -> None:
        """Ask an authenticator for each caller, and count its requests."""
        self._authenticator = authenticator
        self._limiter = limiter
        self._streams: set[_Stream] = set()

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
        around = self._streaming if handler.response_streaming else self._single
        return with_function(handler, around(function_of(handler), method, scope))

    def end_revoked(self) -> None:
        """End the open streams of callers who are no longer known or lost the scope."""
        for stream in list(self._streams):
            try:
                self._authenticator.renewed(stream.caller).check_scope(stream.scope)
            except AuthError as error:
                stream.end(error)

    def _single(self, inner: Any, method: str, scope: Scope) -> Any:
        async def run(request: Any, context: Context) -> Any:
            with _logged(method, context):
                caller = self._admit(scope, context)
                with _hidden(caller):
                    return await inner(request, context)

        return run

    def _streaming(self, inner: Any, method: str, scope: Scope) -> Any:
        async def run(request: Any, context: Context) -> AsyncIterator[Any]:
            with _logged(method, context):
                caller = self._admit(scope, context)
                stream = _Stream(caller, scope, inner(request, context))
                self._streams.add(stream)
                try:
                    with _hidden(caller):
                        async for answer in stream:
                            yield answer
                finally:
                    self._streams.discard(stream)
                    await stream.answers.aclose()

        return run

    def _admit(self, scope: Scope, context: Context) -> Caller:
        metadata = context.invocation_metadata() or ()
        caller = self._authenticator.caller_of(metadata, context.auth_context() or {})
        caller.check_scope(scope)
        self._limiter.take(caller.principal)
        enter(caller)
        if caller.principal:
            structlog.contextvars.bind_contextvars(principal=caller.principal)
        return caller


class _Stream:
    """The answers of one call, which somebody else may end with an error."""

    def __init__(self, caller: Caller, scope: Scope, answers: AsyncGenerator[Any, None]) -> None:
        self.caller = caller
        self.scope = scope
        self.answers = answers
        self._error: AuthError | None = None
        self._wait: asyncio.Timeout | None = None

    def __aiter__(self) -> _Stream:
        return self

    async def __anext__(self) -> Any:
        if self._error is not None:
            raise self._error
        try:
            async with asyncio.timeout(None) as self._wait:
                return await anext(self.answers)
        except TimeoutError:
            if self._error is None:
                raise
            raise self._error from None
        finally:
            self._wait = None

    def end(self, error: AuthError) -> None:
        if self._error is None:
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
