"""`LoopLag`: measures how late the event loop comes to what is due."""

from __future__ import annotations

import asyncio
import contextlib
import time

from prometheus_client import CollectorRegistry, Histogram

_PERIOD_SECONDS = 0.02
"""Blocks are seen up to so much shorter than they are."""
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class LoopLag:
    """Sleeps for short times in the event loop and tells how much longer each took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Create the series."""
        self._lag = Histogram(
            "archpress_event_loop_lag_seconds",
            "How late the event loop comes to what is due.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._task: asyncio.Task[None] | None = None
        self.last_turn = time.monotonic()
        """When the loop last came round, on the monotonic clock."""

    def start(self) -> None:
        """Begin to measure the running loop."""
        self._task = asyncio.create_task(self._run(), name="loop lag")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _PERIOD_SECONDS
            await asyncio.sleep(_PERIOD_SECONDS)
            self.last_turn = time.monotonic()
            self._lag.observe(max(0.0, loop.time() - due))
