"""The entries of a job's log, and the signs of life between them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from archpress_client._types import Candidate, Job, JobState, Progress


class LogSeverity(StrEnum):
    """How much a log line matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class SnapshotEvent:
    """The job as a whole, after a change of its state."""

    seq: int
    time: datetime | None
    job: Job


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """The job got on."""

    seq: int
    time: datetime | None
    progress: Progress


@dataclass(frozen=True, slots=True)
class CandidateEvent:
    """A candidate was found, trained or chosen."""

    seq: int
    time: datetime | None
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class LogEvent:
    """A line for people."""

    seq: int
    time: datetime | None
    severity: LogSeverity
    text: str


@dataclass(frozen=True, slots=True)
class HeartbeatEvent:
    """Nothing happened, but server and connection are alive."""

    time: datetime | None
    state: JobState
    queue_position: int
    seq: int = 0


@dataclass(frozen=True, slots=True)
class GapEvent:
    """Progress and log lines up to `to_seq` are left out."""

    time: datetime | None
    to_seq: int
    seq: int = 0


@dataclass(frozen=True, slots=True)
class CompletedEvent:
    """The job is final; always the last event."""

    seq: int
    time: datetime | None
    job: Job


@dataclass(frozen=True, slots=True)
class UnknownEvent:
    """An event that this version of the client does not know; never handed out."""

    seq: int
    time: datetime | None


Event = (
    SnapshotEvent
    | ProgressEvent
    | CandidateEvent
    | LogEvent
    | HeartbeatEvent
    | GapEvent
    | CompletedEvent
)
"""What `JobHandle.events` gives."""

Incoming = Event | UnknownEvent
"""What a stream brings."""
