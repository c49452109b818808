"""The time of day that leases and deadlines go by, and whether it can be trusted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import sqlalchemy as sa

_LOOK_SECONDS = 5.0
_TOLERANCE_SECONDS = 1.0


class ServerClock:
    """The clock of a PostgreSQL server, which all replicas have in common.

    It is looked at now and then in transactions that are open anyway, and carried on by the
    monotonic clock. It is never this machine's: one that is wrong would end the leases of others.
    """

    def __init__(self, begin: Callable[[], None]) -> None:
        """Know nothing yet; `begin` makes a transaction that looks at the clock."""
        self._begin = begin
        self._lead: float | None = None
        self._looked = -math.inf

    def __call__(self) -> float:
        """Return seconds since the epoch.

        Raises:
            DatabaseUnavailableError: the server was never asked, and does not answer.
        """
        if self._lead is None:
            self._begin()
        assert self._lead is not None
        return time.monotonic() + self._lead

    def look(self, connection: sa.Connection) -> None:
        """Ask for the time, unless it was asked for a moment ago."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        query = sa.select(sa.extract("epoch", sa.func.clock_timestamp()))
        answer = float(connection.scalar(query) or 0.0)
        now = time.monotonic()
        # In this order, since another thread that looks meanwhile relies on it.
        self._lead = answer - now
        self._looked = now


class Steadiness:
    """For how long a time of day has gone on like the monotonic clock.

    Clocks are set, and machines sleep: after either, times that were written before mean little.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Compare with a monotonic clock."""
        self._monotonic = monotonic
        self._lead: float | None = None
        self._since = -math.inf

    def seconds(self, now: float) -> float:
        """Return the seconds since the last jump, infinite if there was none; told the time."""
        monotonic = self._monotonic()
        lead = now - monotonic
        if self._lead is not None and abs(lead - self._lead) > _TOLERANCE_SECONDS:
            self._since = monotonic
        self._lead = lead
        return monotonic - self._since
