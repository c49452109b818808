"""Spans of time on the wire, as seconds."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration


def duration_to_proto(seconds: float) -> Duration:
    """Return a span of time as a message."""
    nanos = round(seconds * 1e9)
    return Duration(seconds=nanos // 10**9, nanos=nanos % 10**9)


def duration_from_proto(message: Duration) -> float:
    """Inverse of `duration_to_proto`: whole numbers divide to the nearest float."""
    return (message.seconds * 10**9 + message.nanos) / 10**9
