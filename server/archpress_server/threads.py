"""`Threads`: threads of one part's own, which the slow calls of other parts cannot take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

_MOST = 4
_P = ParamSpec("_P")
_T = TypeVar("_T")


class Threads:
    """Like `asyncio.to_thread`, beside the loop's pool, where a silent store can hold all threads.

    Threads that are idle end with the object.
    """

    def __init__(self, name: str) -> None:
        """Start no thread yet; they will have this name and a number."""
        self._pool = ThreadPoolExecutor(_MOST, thread_name_prefix=name)

    async def run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Return what a function returns in one of the threads."""
        loop = asyncio.get_running_loop()
        call = partial(copy_context().run, function, *args, **kwargs)
        return await loop.run_in_executor(self._pool, call)
