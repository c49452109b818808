"""Round trips of spans and points of time."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from archpress_server.service.times import MAX_SECONDS, duration, seconds, timestamp


@given(st.integers(0, 10**15))
def test_durations_survive_messages(nanos: int) -> None:
    assert math.isclose(seconds(duration(nanos / 1e9)), nanos / 1e9, abs_tol=1e-6)


def test_what_is_stored_can_always_be_said() -> None:
    assert seconds(duration(2.0**63)) == MAX_SECONDS
    assert seconds(duration(-math.inf)) == -MAX_SECONDS


@given(st.floats(0, 4e9))
def test_timestamps_are_exact_to_a_microsecond(time: float) -> None:
    message = timestamp(time)
    assert 0 <= message.nanos < 10**9
    assert math.isclose(message.seconds + message.nanos / 1e9, time, abs_tol=1e-6)
