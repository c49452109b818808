"""Fields of messages that may be unset, or of a newer server."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from archpress_client import _events
from archpress_client._durations import duration_from_proto
from archpress_client._types import Effort, Interval, JobState, Method, Phase
from archpress_proto.v1 import jobs_pb2

E = TypeVar("E", bound=StrEnum)

_ENUMS = {
    Effort: (jobs_pb2.Effort, "EFFORT_"),
    JobState: (jobs_pb2.JobState, "JOB_STATE_"),
    Method: (jobs_pb2.Method, "METHOD_"),
    Phase: (jobs_pb2.Phase, "PHASE_"),
    _events.LogSeverity: (jobs_pb2.LogSeverity, "LOG_SEVERITY_"),
}


def enum_field(kind: type[E], number: int, unknown: E, *, unset: E | None = None) -> E:
    """Return the member of this number.

    It is `unknown` for one of a newer server, and for 0 unless there is one for what is `unset`.
    """
    if number == 0 and unset is not None:
        return unset
    descriptor, prefix = _ENUMS[kind]
    value = descriptor.DESCRIPTOR.values_by_number.get(number)
    name = "" if value is None else value.name.removeprefix(prefix)
    return kind.__members__.get(name, unknown)


def interval(message: jobs_pb2.Interval) -> Interval:
    """Return an interval."""
    return Interval(message.lower, message.upper)


def optional_interval(message: Message, field: str) -> Interval | None:
    """Return an interval, None where it is unset."""
    return interval(getattr(message, field)) if message.HasField(field) else None


def optional(message: Message, field: str) -> float | None:
    """Return a number, None where it is unset."""
    return float(getattr(message, field)) if message.HasField(field) else None


def seconds(message: Message, field: str) -> float | None:
    """Return a span of time in seconds, None where it is unset."""
    if not message.HasField(field):
        return None
    return duration_from_proto(getattr(message, field))


def point_of_time(message: Message, field: str) -> datetime | None:
    """Return a point of time, None where it is unset."""
    if not message.HasField(field):
        return None
    value: Timestamp = getattr(message, field)
    return value.ToDatetime(tzinfo=UTC)
