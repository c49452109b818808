"""Rates of requests."""

from __future__ import annotations

import pytest

from archpress_server.auth import limits
from archpress_server.auth.errors import RateLimitError
from archpress_server.auth.limits import RateLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def taken(limiter: RateLimiter, principal: str, tries: int) -> int:
    count = 0
    for _ in range(tries):
        try:
            limiter.take(principal)
        except RateLimitError:
            continue
        count += 1
    return count


def test_a_burst_passes_and_then_the_rate() -> None:
    clock = Clock()
    limiter = RateLimiter(10.0, 5, clock)
    assert taken(limiter, "a", 20) == 5
    assert taken(limiter, "b", 20) == 5
    with pytest.raises(RateLimitError, match="more than 10 requests a second") as caught:
        limiter.take("a")
    assert caught.value.retry_seconds == pytest.approx(0.1)
    clock.now += caught.value.retry_seconds
    assert taken(limiter, "a", 20) == 1
    clock.now += 3600
    assert taken(limiter, "a", 20) == 5


def test_the_rate_holds_over_time() -> None:
    clock = Clock()
    limiter = RateLimiter(10.0, 5, clock)
    count = 0
    for _ in range(1000):
        count += taken(limiter, "a", 3)
        clock.now += 0.01
    assert count == pytest.approx(5 + 100, abs=2)


def test_zero_is_no_limit() -> None:
    limiter = RateLimiter(0.0, 1)
    assert taken(limiter, "a", 1000) == 1000
    assert len(limiter) == 0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BUCKETS", 10)
    clock = Clock()
    limiter = RateLimiter(1.0, 2, clock)
    for number in range(100):
        limiter.take(f"p{number}")
        assert len(limiter) <= 10
    clock.now += 10
    for number in range(10):
        limiter.take(f"q{number}")
    # The full ones went first, and those of this second all stayed.
    assert all(taken(limiter, f"q{number}", 3) == 1 for number in range(10))
