"""Spans and points of time between messages and seconds."""

from __future__ import annotations

import math

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

MAX_SECONDS = 315_576_000_000.0
"""The longest span of time that a message can say, 10,000 years."""


def duration(seconds: float) -> Duration:
    """Return a span of time, at most `MAX_SECONDS`."""
    seconds = max(-MAX_SECONDS, min(MAX_SECONDS, seconds))
    whole, nanos = divmod(round(seconds * 1e9), 1_000_000_000)
    return Duration(seconds=whole, nanos=nanos)


def seconds(message: Duration) -> float:
    """Return a span of time in seconds."""
    # Whole numbers divide to the nearest float, so that `duration` has an exact inverse.
    return (message.seconds * 1_000_000_000 + message.nanos) / 1_000_000_000


def timestamp(time: float) -> Timestamp:
    """Return a point of time from seconds since the epoch."""
    whole = math.floor(time)
    return Timestamp(seconds=whole, nanos=min(999_999_999, round((time - whole) * 1e9)))
