"""Round trips of spans and points of time."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from archpress_server.service.times import duration, seconds, timestamp


@given(st.integers(0, 10**15))
def test_durations_survive_messages(nanos: int) -> None:
    assert math.isclose(seconds(duration(nanos / 1e9)), nanos / 1e9, abs_tol=1e-6)


@given(st.floats(0, 4e9))
def test_timestamps_are_exact_to_a_microsecond(time: float) -> None:
    message = timestamp(time)
    assert 0 <= message.nanos < 10**9
    assert math.isclose(message.seconds + message.nanos / 1e9, time, abs_tol=1e-6)
