"""`JobClient`: asks for a job through the SDK, follows it over any number of cuts, checks all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from random import Random

from archpress_client import (
    ArchpressError,
    Client,
    CompletedEvent,
    Event,
    GapEvent,
    HeartbeatEvent,
    JobState,
    LogEvent,
    Retry,
    SnapshotEvent,
    Timeouts,
)
from tests.chaos.work import STEPS, line, model

_TIMEOUT_SECONDS = 300.0
_TIMEOUTS = Timeouts(request_seconds=120.0, heartbeat_seconds=5.0, download_silence_seconds=10.0)
_RETRY = Retry(initial_seconds=0.1, max_seconds=1.0, request_attempts=1000, stream_attempts=1000)


@dataclass
class Seen:
    """What a client saw of a job; an empty list of faults is a pass."""

    job: str = ""
    attempt: int = 0
    seqs: list[int] = field(default_factory=list)
    streams: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class JobClient:
    """One caller; `target` may name several servers, `leaves` is how often it hangs up itself."""

    target: str
    leaves: int = 0

    def run(self, rng: Random, most_seconds: float) -> Seen:
        """Ask for a job and follow it to its end."""
        try:
            job = self.create(rng, most_seconds)
        except ArchpressError as error:
            return Seen(faults=[f"not created: {type(error).__name__}: {error}"])
        return self.follow(job, rng)

    def create(self, rng: Random, most_seconds: float) -> str:
        """Ask for a job that takes some seconds of work, and return its name."""
        labels = {"seconds": f"{rng.uniform(most_seconds / 4, most_seconds):.3f}"}
        # Another seed for each, or the server would answer with the result of an earlier job.
        seed = rng.randrange(2**63)
        with self._open() as client:
            handle = client.compress("conv-7", dataset="fashion-mnist", seed=seed, labels=labels)
        return handle.name

    def follow(self, job: str, rng: Random) -> Seen:
        """Follow a job from its start to its end, and fetch what it delivers."""
        seen = Seen(job)
        try:
            self._follow(seen, [rng.randrange(1, 2 * STEPS) for _ in range(self.leaves)])
        except ArchpressError as error:
            seen.faults.append(f"{type(error).__name__}: {error}")
        return seen

    def _follow(self, seen: Seen, hang_ups: list[int]) -> None:
        events: list[Event] = []
        while not (events and isinstance(events[-1], CompletedEvent)):
            seen.streams += 1
            with self._open() as client:
                after = max((event.seq for event in events), default=0)
                stream = client.job(seen.job).events(
                    after_seq=after, timeout_seconds=_TIMEOUT_SECONDS
                )
                events += islice(stream, hang_ups.pop() if hang_ups else None)
        seen.seqs = [event.seq for event in events if event.seq]
        seen.faults += faults_of(events)
        last = events[-1]
        assert isinstance(last, CompletedEvent)
        seen.attempt = last.job.attempt
        if last.job.state is not JobState.SUCCEEDED:
            seen.faults.append(f"{last.job.state}: {last.job.error}")
            return
        with self._open() as client:
            result = client.job(seen.job).result(timeout_seconds=_TIMEOUT_SECONDS)
            content = result.model_bytes()
        if content != model(seen.job.removeprefix("jobs/"), seen.attempt):
            seen.faults.append(f"delivers other bytes than attempt {seen.attempt} made")

    def _open(self) -> Client:
        return Client(self.target, insecure=True, timeouts=_TIMEOUTS, retry=_RETRY)


def faults_of(events: Iterable[Event]) -> list[str]:
    """Return what is wrong with a job's events as one client was handed them."""
    found, last_seq, attempt, lines = [], 0, 0, 0
    *before, end = [event for event in events if not isinstance(event, HeartbeatEvent)]
    if not isinstance(end, CompletedEvent) or any(isinstance(e, CompletedEvent) for e in before):
        found.append("completed is not once and last")
    for event in [*before, end]:
        if isinstance(event, GapEvent):
            found.append(f"a gap to {event.to_seq} in a log that was never compacted")
            continue
        if event.seq <= last_seq:
            found.append(f"event {event.seq} came after {last_seq}")
        last_seq = event.seq
        if isinstance(event, SnapshotEvent) and event.job.state is JobState.RUNNING:
            attempt, lines = event.job.attempt, 0
        # The line by which the server gives a job back is none of the worker's.
        if isinstance(event, LogEvent) and event.text.startswith("step "):
            if event.text != line(attempt, lines):
                found.append(f"{event.text!r} instead of {line(attempt, lines)!r}")
            lines += 1
    if lines != STEPS:
        found.append(f"{lines} lines of the last attempt instead of {STEPS}")
    return found
