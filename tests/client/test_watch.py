"""However a log is cut into streams, the watcher hands out the same events."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archpress_client import (
    ArchpressError,
    CandidateEvent,
    CompletedEvent,
    Event,
    GapEvent,
    HeartbeatEvent,
    JobCancelledError,
    JobFailedError,
    JobState,
    NotFoundError,
    ProgressEvent,
    QuotaExceededError,
    Retry,
    ServerError,
    SnapshotEvent,
    UnavailableError,
)
from archpress_client._convert_job import event_from_proto, job_from_proto
from archpress_client._events import UnknownEvent
from archpress_client._watch import Watch, outcome
from archpress_proto.v1 import jobs_pb2
from tests.client.test_convert_job import NO_SOURCE
from tests.client.told_jobs import candidate, final_job, log_of

JOB = jobs_pb2.Job(name="jobs/1", state=jobs_pb2.JobState.JOB_STATE_QUEUED)
LOG = [event_from_proto(message, NO_SOURCE) for message in log_of(JOB)]
RETRY = Retry(stream_attempts=4)


def new_watch(after_seq: int = 0) -> Watch:
    return Watch(RETRY, Random(0), after_seq=after_seq)


def feed(watch: Watch, events: list[Event | UnknownEvent]) -> list[Event]:
    return [fresh for event in events if (fresh := watch.feed(event)) is not None]


def snapshot(seq: int) -> Event:
    return SnapshotEvent(seq, None, job_from_proto(JOB, NO_SOURCE))


def completed(seq: int) -> Event:
    return CompletedEvent(seq, None, job_from_proto(final_job(JOB, "succeeded"), NO_SOURCE))


def proposed(seq: int) -> Event:
    message = jobs_pb2.JobEvent(seq=seq, candidate=candidate(1))
    event = event_from_proto(message, NO_SOURCE)
    assert isinstance(event, CandidateEvent)
    return event


HEARTBEAT = HeartbeatEvent(None, JobState.RUNNING, 0)
FAULTS = (None, UnavailableError("cut"), ServerError("RST_STREAM"))


@given(st.data())
def test_any_cuts_give_the_same_events(data: st.DataObject) -> None:
    watch = new_watch()
    seen: list[Event] = []
    while not watch.finished:
        # An overlap is what a careless server or proxy would repeat.
        start = max(watch.last_seq - data.draw(st.integers(0, 2), "overlap"), 0)
        length = data.draw(st.integers(0, len(LOG)), "length")
        stream = LOG[start : start + length]
        if data.draw(st.booleans(), "heartbeat"):
            stream = [HEARTBEAT, *stream]
        seen += [event for event in feed(watch, stream) if event != HEARTBEAT]
        if not watch.finished:
            try:
                delay_seconds = watch.ended(data.draw(st.sampled_from(FAULTS), "end"))
            except ArchpressError:
                assert seen == LOG[: len(seen)]
                return
            assert delay_seconds >= 0
            assert watch.last_seq == len(seen)
    assert seen == LOG


@given(st.sets(st.integers(2, 9)), st.integers(1, 10))
def test_coalesced_progress_is_no_fault(missing: set[int], cut: int) -> None:
    progress = {event.seq for event in LOG if isinstance(event, ProgressEvent)}
    sent = [event for event in LOG if event.seq not in missing & progress]
    watch = new_watch()
    seen = feed(watch, [event for event in sent if event.seq <= cut])
    seen += feed(watch, [event for event in sent if event.seq > watch.last_seq])
    assert seen == sent


@given(st.lists(st.integers(1, 7), max_size=3))
def test_gaps_are_told_once_and_lose_nothing_else(cuts: list[int]) -> None:
    """Entries 3 to 7 are compacted; the candidate among them is not."""
    gap, closing = GapEvent(None, 7), snapshot(7)
    log: list[Event] = [snapshot(1), snapshot(2), gap, proposed(5), closing, snapshot(8)]
    log.append(completed(9))

    def served(after_seq: int) -> list[Event | UnknownEvent]:
        if after_seq >= 7:
            return [event for event in log if event.seq > after_seq]
        head = [event for event in log[:2] if event.seq > after_seq]
        return [*head, gap, *(event for event in log[3:] if event.seq > after_seq)]

    watch = new_watch()
    seen: list[Event] = []
    while not watch.finished:
        length = cuts.pop() if cuts else len(log)
        seen += feed(watch, served(watch.last_seq)[:length])
        if not watch.finished:
            watch.ended(None)
    assert seen == log


def test_the_snapshot_after_a_gap_may_share_its_number() -> None:
    events: list[Event | UnknownEvent] = [
        GapEvent(None, 3),
        proposed(3),
        snapshot(3),
        completed(4),
    ]
    assert feed(new_watch(), events) == events


def test_events_of_a_newer_server_are_passed_over() -> None:
    watch = new_watch()
    assert feed(watch, [LOG[0], UnknownEvent(2, None)]) == [LOG[0]]
    assert watch.last_seq == 2


def test_a_final_job_is_told_again() -> None:
    watch = new_watch(after_seq=10)
    assert feed(watch, [completed(10)]) == [completed(10)]
    assert watch.finished


def test_ok_without_completed_is_a_transport_fault() -> None:
    watch = new_watch()
    feed(watch, LOG[:4])
    delay_seconds = watch.ended(None)
    assert watch.last_seq == 4
    assert 0.1 <= delay_seconds <= 0.3


def test_backoff_grows_and_an_event_resets_it() -> None:
    watch = Watch(Retry(initial_seconds=1.0, stream_attempts=9), Random(0))

    def delay() -> float:
        return watch.ended(UnavailableError("cut"))

    assert [delay() > floor for floor in (0.4, 0.9, 1.9, 3.9)] == [True] * 4
    feed(watch, [HEARTBEAT])
    assert delay() < 1.6
    feed(watch, LOG[:1])
    delay()
    feed(watch, LOG[:1])
    assert delay() >= 1.0


def test_the_servers_hint_is_waited_for() -> None:
    watch = new_watch()
    assert watch.ended(UnavailableError("draining", retry_after_seconds=9.0)) == 9.0
    assert watch.last_seq == 0


def test_too_many_requests_are_waited_for_where_the_server_says_how_long() -> None:
    limited = QuotaExceededError("often", reason="RATE_LIMITED", retry_after_seconds=9.0)
    watch = new_watch()
    assert [watch.ended(limited) for _ in range(3)] == [9.0] * 3
    assert watch.last_seq == 0
    with pytest.raises(QuotaExceededError):
        watch.ended(limited)
    for error in (
        QuotaExceededError("often", reason="RATE_LIMITED"),
        QuotaExceededError("the queue is full", retry_after_seconds=9.0),
    ):
        with pytest.raises(QuotaExceededError):
            new_watch().ended(error)


def test_faults_in_a_row_come_to_an_end() -> None:
    watch = new_watch()
    for _ in range(3):
        watch.ended(UnavailableError("cut"))
    with pytest.raises(UnavailableError):
        watch.ended(None)


def test_other_errors_end_it_at_once() -> None:
    with pytest.raises(ServerError):
        new_watch().ended(ServerError("a bug", reason="INTERNAL"))
    with pytest.raises(NotFoundError):
        new_watch().ended(NotFoundError("gone"))


def test_outcomes() -> None:
    def final(how: str) -> jobs_pb2.Job:
        return final_job(JOB, how)

    assert outcome(job_from_proto(final("succeeded"), NO_SOURCE)).budget_met
    with pytest.raises(JobCancelledError):
        outcome(job_from_proto(final("cancelled"), NO_SOURCE))
    with pytest.raises(JobFailedError, match=r"93\.1% is below 95%") as caught:
        outcome(job_from_proto(final("failed"), NO_SOURCE))
    assert caught.value.reason == "BUDGET_UNREACHABLE"
    assert caught.value.result is not None
    assert caught.value.result.nearest_budget is not None
    with pytest.raises(ServerError):
        outcome(job_from_proto(JOB, NO_SOURCE))
