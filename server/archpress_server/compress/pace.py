"""`Pace`: the time that is left, from the work that this attempt has done itself."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Extrapolates a share of the work; what was done before the first look took no time here."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Measure with a clock in seconds."""
        self._clock = clock
        self._first: tuple[float, float] | None = None

    def seconds_left(self, share: float) -> float | None:
        """Return the time until a share in [0, 1] will be 1; None while nothing is known."""
        now = self._clock()
        if self._first is None:
            self._first = now, share
        began, before = self._first
        done = share - before
        return (now - began) * (1 - share) / done if done > 0 else None
