"""A loop that is blocked shows."""

from __future__ import annotations

import asyncio
import time

from prometheus_client import CollectorRegistry

from archpress_server.loop_lag import LoopLag


async def test_a_blocked_loop_is_seen() -> None:
    registry = CollectorRegistry()
    lag = LoopLag(registry)
    lag.start()

    def counted(le: str) -> float:
        value = registry.get_sample_value("archpress_event_loop_lag_seconds_bucket", {"le": le})
        assert value is not None
        return value

    def late() -> float:
        return counted("+Inf") - counted("0.5")

    await asyncio.sleep(0.3)
    assert counted("0.5") > 1
    before = late()
    time.sleep(0.7)
    await asyncio.sleep(0.1)
    assert late() > before
    await lag.close()
    ended = counted("+Inf")
    await asyncio.sleep(0.1)
    assert counted("+Inf") == ended
