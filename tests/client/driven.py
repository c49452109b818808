"""Both clients under one interface, so that one suite holds for both."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from enum import StrEnum
from typing import Any, Self, cast

from archpress_client import AsyncClient, AsyncJobHandle, Client


class Kind(StrEnum):
    """Which client."""

    BLOCKING = "blocking"
    ASYNCIO = "asyncio"


class LoopThread:
    """An event loop that runs in a thread until it is closed."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Return what a coroutine returns, from any other thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def close(self) -> None:
        self.run(self.loop.shutdown_asyncgens())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Driven:
    """An `AsyncClient` or one of its handles, with the methods of the blocking one."""

    def __init__(self, asynchronous: Any, thread: LoopThread) -> None:
        self._asynchronous = asynchronous
        self._thread = thread

    def __getattr__(self, name: str) -> Any:
        """Find a method or property."""
        value = getattr(self._asynchronous, name)
        if not callable(value):
            return value
        return lambda *args, **kwargs: self._blocking(value(*args, **kwargs))

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        """Show the client."""
        return repr(self._asynchronous)

    def _blocking(self, value: Any) -> Any:
        if inspect.iscoroutine(value):
            value = self._thread.run(value)
        if isinstance(value, AsyncGenerator):
            return self._iterate(value)
        return Driven(value, self._thread) if isinstance(value, AsyncJobHandle) else value

    def _iterate(self, source: AsyncGenerator[Any, None]) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(source)

        try:
            while True:
                try:
                    yield self._thread.run(following())
                except StopAsyncIteration:
                    return
        finally:
            self._thread.run(_close(source))


class Connect:
    """Makes clients of one kind, as if they were blocking ones."""

    def __init__(self, kind: Kind, thread: LoopThread) -> None:
        self.kind = kind
        self._thread = thread

    def __call__(self, target: str, **settings: Any) -> Client:
        if self.kind is Kind.BLOCKING:
            return Client(target, **settings)
        return cast(Client, Driven(AsyncClient(target, **settings), self._thread))


async def _close(source: AsyncGenerator[Any, None]) -> None:
    await source.aclose()
