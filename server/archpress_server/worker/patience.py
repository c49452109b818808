"""`patiently`: what a worker asks of a store, which may be away for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from archpress_server.jobs.errors import DatabaseUnavailableError, StoreError

_RETRY_SECONDS = 1.0
_T = TypeVar("_T")


def patiently(
    work: Callable[[], _T],
    patience_seconds: float,
    away: tuple[type[StoreError], ...] = (DatabaseUnavailableError,),
) -> _T:
    """Return what `work` returns, trying again while it raises an error of `away`, up to a time.

    Raises:
        StoreError: one of them, for all that time.
    """
    end = time.monotonic() + patience_seconds
    while True:
        try:
            return work()
        except away:
            if time.monotonic() > end:
                raise
            time.sleep(_RETRY_SECONDS)
