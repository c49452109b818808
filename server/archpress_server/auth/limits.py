"""`RateLimiter`: a bucket of requests for each principal."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from archpress_server.auth.errors import RateLimitError

MAX_BUCKETS = 10_000


class RateLimiter:
    """Lets each principal make `per_second` requests, and `burst` at once after a silence.

    A bucket is one number, the time at which it is full again. Full ones are as good as none and
    are dropped first; there are never more than `MAX_BUCKETS`.
    """

    def __init__(
        self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start with full buckets; 0 per second is no limit."""
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of buckets."""
        return len(self._full_at)

    def take(self, principal: str) -> None:
        """Count a request.

        Raises:
            RateLimitError: the principal's bucket is empty.
        """
        if not self._per_second:
            return
        now = self._clock()
        full_at = max(self._full_at.get(principal, now), now) + 1.0 / self._per_second
        late = full_at - now - self._burst / self._per_second
        # Half a request of slack: sums of floats are not exact.
        if late > 0.5 / self._per_second:
            raise RateLimitError(principal, self._per_second, late)
        self._full_at[principal] = full_at
        self._full_at.move_to_end(principal)
        if len(self._full_at) > MAX_BUCKETS:
            self._drop(now)

    def _drop(self, now: float) -> None:
        for principal in [name for name, full_at in self._full_at.items() if full_at <= now]:
            del self._full_at[principal]
        while len(self._full_at) > MAX_BUCKETS:
            self._full_at.popitem(last=False)
