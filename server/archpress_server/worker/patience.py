"""`patiently`: what a worker asks of the database, which may be away for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from archpress_server.jobs.errors import DatabaseUnavailableError

_RETRY_SECONDS = 1.0
_T = TypeVar("_T")


def patiently(work: Callable[[], _T], patience_seconds: float) -> _T:
    """Return what `work` returns, trying again while the database is away, up to a time.

    Raises:
        DatabaseUnavailableError: it was away for all that time.
    """
    end = time.monotonic() + patience_seconds
    while True:
        try:
            return work()
        except DatabaseUnavailableError:
            if time.monotonic() > end:
                raise
            time.sleep(_RETRY_SECONDS)
