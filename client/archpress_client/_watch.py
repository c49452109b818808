"""What a watcher of a job does next; no input or output happens here."""

from __future__ import annotations

from random import Random

from archpress_client._config import Retry
from archpress_client._errors import (
    ArchpressError,
    ServerError,
    UnavailableError,
)
from archpress_client._events import (
    CompletedEvent,
    Event,
    GapEvent,
    HeartbeatEvent,
    Incoming,
    SnapshotEvent,
    UnknownEvent,
)
from archpress_client._job_errors import JobCancelledError, JobFailedError
from archpress_client._rpc_errors import may_repeat
from archpress_client._types import Job, JobState, Result


class Watch:
    """Follows one job over as many streams as it takes.

    Feed it every event of a stream, and say how the stream ended; it hands out each entry of the
    log once, in order, and decides how to go on.
    """

    def __init__(self, retry: Retry, random: Random, *, after_seq: int = 0) -> None:
        """Start behind `after_seq`."""
        self._retry = retry
        self._random = random
        self._open_gap = 0
        self._failures = 0
        self.last_seq = after_seq
        self.finished = False

    def feed(self, event: Incoming) -> Event | None:
        """Return the event if it is to be handed out, None if it is known or not for users."""
        fresh = self._accept(event)
        if fresh is not None:
            # Only what is new counts: repeated events and then a cut are no way forward.
            self._failures = 0
        return None if isinstance(fresh, UnknownEvent) else fresh

    def _accept(self, event: Incoming) -> Incoming | None:
        match event:
            case HeartbeatEvent():
                return event
            case GapEvent(to_seq=to_seq):
                # After a cut the same gap is announced again.
                if to_seq <= max(self._open_gap, self.last_seq):
                    return None
                self._open_gap = to_seq
                return event
            case CompletedEvent():
                self.finished = True
                self.last_seq = max(self.last_seq, event.seq)
                return event
            case SnapshotEvent(seq=seq) if seq == self._open_gap and seq >= self.last_seq:
                # It closes the gap, and may share its number with the last entry of the range.
                self._open_gap = 0
                self.last_seq = seq
                return event
        if event.seq <= self.last_seq:
            return None
        self.last_seq = event.seq
        return event

    def ended(self, error: ArchpressError | None) -> float:
        """Return the wait in seconds before the next stream.

        The stream ended before `completed`, with OK where `error` is None.

        Raises:
            ArchpressError: there is no going on.
        """
        if error is None:
            error = UnavailableError("the stream ended before the job was final")
        elif not may_repeat(error):
            raise error
        self._failures += 1
        if self._failures >= self._retry.stream_attempts:
            raise error
        return self._retry.delay_seconds(self._failures, self._random, error.retry_after_seconds)

    def restart(self) -> None:
        """Begin at the start of the log, after the job was created again."""
        self.last_seq = 0
        self._open_gap = 0


def outcome(job: Job) -> Result:
    """Return the result of a final job.

    Raises:
        JobFailedError: the job failed.
        JobCancelledError: the job was cancelled.
    """
    match job.state:
        case JobState.SUCCEEDED if job.result is not None:
            return job.result
        case JobState.FAILED:
            reason = job.error.reason if job.error else ""
            text = job.error.message if job.error else "no cause is known"
            metadata = job.error.metadata if job.error else {}
            message = f"{job.name} failed: {text}"
            raise JobFailedError(message, job=job, reason=reason, metadata=metadata)
        case JobState.CANCELLED:
            raise JobCancelledError(f"{job.name} was cancelled", job=job, reason="CANCELLED")
        case _:
            raise ServerError(f"{job.name} is {job.state} and has no result")
