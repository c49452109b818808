"""Latencies: what is timed for how long, and which of several tries counts."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from archpress_server.compress import latency
from archpress_server.compress.latency import Timer, cpu_name, measure_latency, untrained_seconds
from archpress_server.compress.types import Latency
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import conv, global_average_pool, linear

NET = Architecture((1, 6, 6), 4, (conv(4, 3), global_average_pool(), linear(4)))
SHAPE = NET.input_shape
LIMIT = 1.0


class _Clock:
    """Stands for the clock and for a model, which takes as long as is told, run by run."""

    def __init__(self, seconds: Sequence[float]) -> None:
        self._seconds = list(seconds)
        self.now = 0.0
        self.runs = 0

    def perf_counter(self) -> float:
        return self.now

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="images")]

    def run(self, names: None, feed: dict[str, np.ndarray]) -> None:
        assert feed["images"].shape == (1, *SHAPE)
        self.now += self._seconds[min(self.runs, len(self._seconds) - 1)]
        self.runs += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    """A model that takes seconds a run."""
    found = _Clock([1.0, 1.0, 1.0, 2.0, 1.0, 2.0, 10.0])
    monkeypatch.setattr(latency, "time", found)
    monkeypatch.setattr(latency, "session", lambda model, threads: found)
    return found


def test_a_slow_model_runs_for_about_five_seconds(clock: _Clock) -> None:
    timer = Timer(b"", SHAPE)
    # The warm-up ends after half of that time.
    assert clock.runs == 3
    assert timer.seconds(200) == [2.0, 1.0, 2.0]
    assert timer.seconds(200) == [10.0]


def test_a_model_runs_as_often_as_is_asked(clock: _Clock) -> None:
    timer = Timer(b"", SHAPE)
    assert timer.seconds(2) == [2.0, 1.0]
    assert timer.median_seconds(1) == 2.0


def script(monkeypatch: pytest.MonkeyPatch, tries: Sequence[Sequence[float]]) -> list[int]:
    """Give each timing what is next in a list, and return how many runs each asks for."""
    asked: list[int] = []

    class Scripted(Timer):
        def __init__(self, model: bytes, input_shape: tuple[int, int, int]) -> None:
            assert input_shape == SHAPE

        def seconds(self, runs: int) -> list[float]:
            asked.append(runs)
            return list(tries[len(asked) - 1])

    monkeypatch.setattr(latency, "Timer", Scripted)
    return asked


SLOWEST, SLOWER, SLOW, FAST = [3.0], [2.5], [2.0], [0.5]


@pytest.mark.parametrize(
    ("tries", "lowest", "times"),
    [
        ([FAST], 0.5, 1),
        ([[LIMIT]], LIMIT, 1),
        ([SLOW, SLOWER, FAST], 0.5, 3),
        ([SLOW, FAST], 0.5, 2),
        ([SLOWER, SLOW, SLOWEST], 2.0, 3),
    ],
    ids=["fast", "at-the-limit", "fast-at-last", "fast-again", "never-fast"],
)
def test_a_model_over_the_limit_has_three_tries_of_which_the_fastest_counts(
    monkeypatch: pytest.MonkeyPatch, tries: list[list[float]], lowest: float, times: int
) -> None:
    asked = script(monkeypatch, tries)
    found = measure_latency(b"", SHAPE, limit_seconds=LIMIT)
    assert found.median_seconds == lowest
    assert asked == [200] * times


def test_without_a_limit_a_model_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [float(place) for place in range(101)]
    asked = script(monkeypatch, [times[::-1]])
    assert measure_latency(b"", SHAPE) == Latency(50.0, 10.0, 90.0, 1, 1, 101, cpu_name())
    assert asked == [200]


@pytest.mark.parametrize(
    ("tries", "seconds", "times"),
    [
        ([FAST], 0.5, 1),
        ([[LIMIT]], LIMIT, 1),
        ([SLOW, FAST], 0.5, 2),
        ([SLOWER, SLOW], 2.0, 2),
        ([SLOW, SLOWER], 2.0, 2),
    ],
    ids=["fast", "at-the-limit", "fast-again", "second-faster", "first-faster"],
)
def test_an_untrained_network_over_the_limit_is_timed_once_more(
    monkeypatch: pytest.MonkeyPatch, tries: list[list[float]], seconds: float, times: int
) -> None:
    asked = script(monkeypatch, tries)
    assert untrained_seconds(NET, LIMIT) == seconds
    assert len(asked) == times


def test_a_network_takes_time() -> None:
    times = Timer.untrained(NET).seconds(3)
    assert len(times) == 3
    assert min(times) > 0
