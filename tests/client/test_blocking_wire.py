"""Streams end in time even where gRPC's own call does not; channels may close under a call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from archpress_client import (
    Client,
    ClientClosedError,
    RequestTimeoutError,
    Retry,
    Timeouts,
    UnavailableError,
)
from archpress_client._blocking_wire import BlockingWire
from archpress_client._drive import iterate
from archpress_client._methods import WATCH_JOB
from archpress_client._wire import Address, Patience
from archpress_proto.v1.compression_service_pb2 import WatchJobRequest
from archpress_proto.v1.jobs_pb2 import JobEvent
from tests.client.scripted import ScriptedServer


class StuckCall:
    """Gives some messages, then hangs; being cancelled does not wake it up."""

    def __init__(self, messages: int) -> None:
        self.messages = messages
        self.taken = 0
        self.cancelled = False
        self.release = threading.Event()

    def __iter__(self) -> Iterator[JobEvent]:
        """Yield, then hang."""
        for index in range(self.messages):
            self.taken += 1
            yield JobEvent(seq=index)
        self.release.wait(30)

    def cancel(self) -> None:
        self.cancelled = True


class StuckChannel:
    """Has one call to give."""

    def __init__(self, call: StuckCall) -> None:
        self.call = call

    def unary_stream(self, path: str, **_: Any) -> Any:
        assert path == WATCH_JOB.path
        return lambda request, **_: self.call

    def close(self) -> None:
        self.call.release.set()


def stream(
    monkeypatch: pytest.MonkeyPatch, call: StuckCall, patience: Patience
) -> Iterator[JobEvent]:
    monkeypatch.setattr(
        "archpress_client._blocking_wire._new_channel", lambda address: StuckChannel(call)
    )
    wire = BlockingWire(Address("localhost:1"))
    try:
        yield from iterate(wire.stream(WATCH_JOB, WatchJobRequest(name="jobs/1"), patience, ()))
    finally:
        wire.close()


def test_silence_ends_a_stuck_call(monkeypatch: pytest.MonkeyPatch) -> None:
    call = StuckCall(2)
    messages = stream(monkeypatch, call, Patience(0.1))
    assert [next(messages).seq, next(messages).seq] == [0, 1]
    with pytest.raises(UnavailableError, match=r"nothing came .* for 0\.1 seconds"):
        next(messages)
    assert call.cancelled


def test_a_deadline_ends_a_stuck_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archpress_client._wire.STUCK_SECONDS", 0.1)
    with pytest.raises(RequestTimeoutError, match=r"no end in 0\.05 seconds"):
        next(stream(monkeypatch, StuckCall(0), Patience(60.0, 0.05)))


def test_a_slow_taker_holds_up_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    call = StuckCall(1000)
    messages = stream(monkeypatch, call, Patience(0.1))
    next(messages)
    # Longer than the silence that is allowed: the taker's time is not the server's.
    time.sleep(0.3)
    assert call.taken < 10
    assert next(messages).seq == 1


class ClosedByAnother:
    """A channel that another thread closes, once, right before a call on it begins."""

    def __init__(self, channel: grpc.Channel, close: Callable[[], None]) -> None:
        self._channel = channel
        self._close = [close]

    def __getattr__(self, name: str) -> Any:
        """Find a kind of call."""
        if name != "close" and self._close:
            self._close.pop()()
        return getattr(self._channel, name)


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[Client]:
    with Client(server.target, retry=Retry(initial_seconds=0.01)) as client:
        yield client


def close_first(monkeypatch: pytest.MonkeyPatch, close: Callable[[], None]) -> list[grpc.Channel]:
    """Have the next channel closed before its first call; return the channels opened from now."""
    opened: list[grpc.Channel] = []
    open_channel = grpc.insecure_channel

    def opening(target: str, **settings: Any) -> Any:
        opened.append(open_channel(target, **settings))
        return ClosedByAnother(opened[0], close) if len(opened) == 1 else opened[-1]

    monkeypatch.setattr(grpc, "insecure_channel", opening)
    return opened


ASKS: list[Callable[[Client], object]] = [
    Client.info,
    lambda client: client.upload(b"model"),
    lambda client: list(client.job("jobs/1").events()),
]


@pytest.mark.parametrize("ask", ASKS, ids=["unary", "send", "stream"])
def test_a_channel_that_another_thread_gave_up_is_replaced(
    client: Client,
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[Client], object],
) -> None:
    client.compress("conv-7", dataset="fashion-mnist")

    def watch_in_silence() -> None:
        server.script.hang = True
        with monkeypatch.context() as patch:
            patch.setattr(Timeouts, "watch_silence_seconds", 0.05)
            with pytest.raises(UnavailableError, match="nothing came"):
                asking.job("jobs/1").result()
        server.script.hang = False

    opened = close_first(monkeypatch, watch_in_silence)
    with Client(server.target, retry=Retry(initial_seconds=0.01, stream_attempts=2)) as asking:
        ask(asking)
    # Each of the two silent streams costs one.
    assert len(opened) == 3


def test_a_client_that_another_thread_closed_says_so(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_first(monkeypatch, client.close)
    with pytest.raises(ClientClosedError):
        client.info()


def test_a_forgotten_client_is_told(server: ScriptedServer) -> None:
    with Client(server.target) as client:
        client.info()
        with pytest.warns(ResourceWarning, match="not closed"):
            BlockingWire.__del__(client._wire)
