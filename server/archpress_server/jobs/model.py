"""What a job is: its specification, its states, its log and its result."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from archpress_server.compress.types import (
    Budget,
    Candidate,
    Compression,
    Progress,
    Request,
)
from archpress_trainer.space.costs import Costs
from archpress_trainer.space.graph import Architecture

WORKER_LOST = "WORKER_LOST"
TIMED_OUT = "TIMED_OUT"
INTERNAL = "INTERNAL"
ARTIFACT_CORRUPT = "ARTIFACT_CORRUPT"
"""Reasons of failed jobs beside those of `archpress_server.compress.types.Reason`."""


class State(StrEnum):
    """Where a job is in its life; the last three never change again."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether a job in this state never changes again."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


HELD = (State.RUNNING, State.CANCELLING)
"""States in which a worker holds the job."""


class OnDisconnect(StrEnum):
    """What happens to a job that nobody watches any more."""

    DETACH = "detach"
    CANCEL_IF_ABANDONED = "cancel_if_abandoned"


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What to do and under which limits; `network` is the name it was asked by, if any.

    `artifact` is the id of the uploaded model that it was asked by, if any.
    """

    request: Request
    embedding: str
    network: str = ""
    artifact: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    max_run_time_seconds: float = 86_400.0
    max_queue_time_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """A job to create for a principal, empty where the server asks for none.

    An empty `request_id` makes a job each time, any other one job of the principal. Jobs with one
    `result_key` have one result (`archpress_server.result_key`); an empty one is like no other.
    """

    spec: JobSpec
    request_id: str = ""
    on_disconnect: OnDisconnect = OnDisconnect.DETACH
    abandon_grace_seconds: float = 60.0
    principal: str = ""
    result_key: str = ""
    traceparent: str = ""
    """W3C's name of the span that asks for it; empty without traces."""
    has_default_run_time: bool = False
    """Whether the longest run is the server's setting, which may change between two tries."""


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed: a reason of the API, a message for people, facts for programs."""

    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a job delivers; the compression is without its bytes, which the artifacts hold.

    `artifact` is that of the result, `front` are those of `compression.front` in its order, the
    result's first, and `int8` is that of the quantized model, empty if there is none.
    """

    artifact: str
    compression: Compression
    nearest_budget: Budget | None = None
    front: tuple[str, ...] = ()
    int8: str = ""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as it is stored; times are seconds since the epoch."""

    id: str
    state: State
    spec: JobSpec
    create_time: float
    progress: Progress | None = None
    result: JobResult | None = None
    error: JobError | None = None
    start_time: float | None = None
    end_time: float | None = None
    expire_time: float | None = None
    cancel_time: float | None = None
    attempt: int = 0
    last_seq: int = 0
    queue_position: int = 0
    run_seconds: float = 0.0
    principal: str = ""
    cached_result: bool = False


class Severity(StrEnum):
    """How much a log line matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a job's log for people."""

    severity: Severity
    text: str


class EventKind(StrEnum):
    """What an entry of a job's log holds."""

    SNAPSHOT = "snapshot"
    COMPLETED = "completed"
    PROGRESS = "progress"
    CANDIDATE = "candidate"
    LOG = "log"


Payload = JobRecord | Progress | Candidate | LogLine


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a job's log, numbered from 1."""

    job: str
    seq: int
    time: float
    kind: EventKind
    payload: Payload


@dataclass(frozen=True, slots=True)
class ArtifactRecord:
    """Description of a stored ONNX file; `job` made it, or is empty where a caller uploaded it."""

    id: str
    sha256: str
    size_bytes: int
    architecture: Architecture
    costs: Costs
    job: str
    create_time: float
    expire_time: float | None = None
    principal: str = ""
    display_name: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs, and the token for those after them; empty on the last page."""

    jobs: tuple[JobRecord, ...]
    next_token: str


def new_id() -> str:
    """Return a UUID, version 7: ids sort by the time at which they were made."""
    milliseconds = time.time_ns() // 1_000_000
    number = (milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10))
    number = number & ~(0xF << 76) | 7 << 76
    number = number & ~(0x3 << 62) | 2 << 62
    return str(uuid.UUID(int=number))
