"""Streams end in time even where gRPC's own call does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from archpress_client import RequestTimeoutError, Retry, Timeouts, UnavailableError
from archpress_client._transport import Transport


class StuckCall:
    """Gives some messages, then hangs; being cancelled does not wake it up."""

    def __init__(self, messages: int) -> None:
        self.messages = messages
        self.taken = 0
        self.cancelled = False
        self.release = threading.Event()

    def __iter__(self) -> Iterator[int]:
        """Yield, then hang."""
        for index in range(self.messages):
            self.taken += 1
            yield index
        self.release.wait(30)

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def transport() -> Iterator[Transport]:
    transport = Transport(
        "localhost:1", tls=None, insecure=False, token=None, timeouts=Timeouts(), retry=Retry()
    )
    yield transport
    transport.close()


def stream(transport: Transport, call: StuckCall, **limits: Any) -> Iterator[int]:
    def method(_: Any) -> Any:
        return lambda request, *, timeout, metadata: call

    return transport.stream(method, "request", **limits)


def test_silence_ends_a_stuck_call(transport: Transport) -> None:
    call = StuckCall(2)
    messages = stream(transport, call, silence_seconds=0.1)
    assert [next(messages), next(messages)] == [0, 1]
    with pytest.raises(UnavailableError, match=r"nothing came .* for 0\.1 seconds"):
        next(messages)
    assert call.cancelled
    call.release.set()


def test_a_deadline_ends_a_stuck_call(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archpress_client._transport._STUCK_SECONDS", 0.1)
    call = StuckCall(0)
    with pytest.raises(RequestTimeoutError):
        next(stream(transport, call, silence_seconds=60.0, timeout_seconds=0.05))
    call.release.set()


def test_a_slow_taker_holds_up_the_reading(transport: Transport) -> None:
    call = StuckCall(1000)
    messages = stream(transport, call, silence_seconds=0.1)
    next(messages)
    # Longer than the silence that is allowed: the taker's time is not the server's.
    time.sleep(0.3)
    assert call.taken < 10
    assert next(messages) == 1
    messages.close()  # type: ignore[attr-defined]
    call.release.set()
