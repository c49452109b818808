"""Leases: order, fencing, expiry, time limits, and the log."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archpress_server.compress.types import Budget, Compression, Phase, Progress
from archpress_server.jobs.clock import Steadiness
from archpress_server.jobs.errors import StaleAttemptError
from archpress_server.jobs.leases import Leases, Signal
from archpress_server.jobs.model import EventKind, JobError, LogLine, Severity, State, Submission

pytestmark = pytest.mark.both_databases


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(leases: Leases, clock: Clock) -> Leases:
    """Leases with a clock that stands still."""
    store = replace(leases.store, clock=clock)
    return replace(leases, store=store, steadiness=Steadiness(clock))


def live(leases: Leases, clock: Clock, job: str, attempt: int, seconds: int) -> None:
    """Let time go by with a heartbeat each second."""
    for _ in range(seconds):
        clock.now += 1
        assert leases.heartbeat(job, attempt) is Signal.GO_ON


def seqs(leases: Leases, job: str) -> list[int]:
    return [event.seq for event in leases.store.events_after(job, 0)]


def test_leases_go_by_priority_then_age(leases: Leases, submission: Submission) -> None:
    urgent = replace(submission, spec=replace(submission.spec, priority=1))
    ids = [leases.store.create(s).id for s in (submission, urgent, submission)]
    got = [leases.lease_next("w") for _ in range(4)]
    assert [record and record.id for record in got] == [ids[1], ids[0], ids[2], None]
    assert got[0] is not None
    assert (got[0].state, got[0].attempt) == (State.RUNNING, 1)


def test_within_a_priority_the_principal_with_fewest_running_jobs_comes_first(
    leases: Leases, submission: Submission
) -> None:
    def of(principal: str, priority: int = 0) -> str:
        spec = replace(submission.spec, priority=priority)
        return leases.store.create(replace(submission, spec=spec, principal=principal)).id

    a = [of("a") for _ in range(3)]
    b = [of("b") for _ in range(2)]
    c = of("c")
    urgent = of("a", 1)
    order = [urgent, b[0], c, a[0], b[1], a[1], a[2]]
    places = {job.id: job.queue_position for job in leases.store.list().jobs}
    assert sorted(places, key=lambda job: places[job]) == order
    for job in order:
        assert leases.store.get(job).queue_position == 1
        record = leases.lease_next("w")
        assert record is not None
        assert record.id == job


def test_a_principal_may_have_a_limit_of_running_jobs(
    leases: Leases, submission: Submission
) -> None:
    leases = replace(leases, max_running_jobs_per_principal=2)
    mine = [leases.store.create(replace(submission, principal="a")).id for _ in range(3)]
    other = leases.store.create(replace(submission, principal="b")).id
    got = [leases.lease_next("w") for _ in range(4)]
    assert [record and record.id for record in got] == [mine[0], other, mine[1], None]
    leases.cancelled(mine[0], 1)
    record = leases.lease_next("w")
    assert record is not None
    assert record.id == mine[2]


def test_the_log_is_dense(leases: Leases, submission: Submission, compression: Compression) -> None:
    job = leases.store.create(submission).id
    leases.lease_next("w")
    for step in range(5):
        leases.append(job, 1, Progress(Phase.DESCEND, step, 5))
    leases.append(job, 1, LogLine(Severity.INFO, "hello"))
    record = leases.succeed(job, 1, compression)
    assert record is not None
    assert seqs(leases, job) == list(range(1, record.last_seq + 1))
    last = leases.store.events_after(job, record.last_seq - 1)[0]
    assert (last.kind, last.payload) == (EventKind.COMPLETED, record)
    assert leases.store.get(job) == record


def test_a_given_up_attempt_changes_nothing(
    leases: Leases, submission: Submission, compression: Compression
) -> None:
    job = leases.store.create(submission).id
    leases.lease_next("a")
    leases.lose(job, 1, "gone")
    leases.lease_next("b")
    assert leases.heartbeat(job, 1) is Signal.STALE
    with pytest.raises(StaleAttemptError):
        leases.append(job, 1, Progress(Phase.DESCEND))
    assert leases.succeed(job, 1, compression) is None
    assert leases.lose(job, 1, "gone") is None
    assert leases.requeue(job, 1) is None
    assert leases.heartbeat(job, 2) is Signal.GO_ON
    assert leases.succeed(job, 2, compression) is not None
    assert leases.fail(job, 2, JobError("INTERNAL", "late")) is None
    assert leases.store.get(job).state is State.SUCCEEDED


def test_the_last_lost_worker_fails_the_job(leases: Leases, submission: Submission) -> None:
    job = leases.store.create(submission).id
    leases.lease_next("w")
    first = leases.lose(job, 1, "killed")
    assert first is not None
    assert (first.state, first.attempt) == (State.QUEUED, 1)
    leases.lease_next("w")
    last = leases.lose(job, 2, "killed")
    assert last is not None
    assert last.error is not None
    assert last.state is State.FAILED
    assert (last.error.reason, last.error.metadata) == ("WORKER_LOST", {"attempts": "2"})


def test_giving_back_does_not_count_as_lost(leases: Leases, submission: Submission) -> None:
    job = leases.store.create(submission).id
    for attempt in range(1, 6):
        assert leases.lease_next("w") is not None
        record = leases.requeue(job, attempt)
        assert record is not None
        assert record.state is State.QUEUED


def test_silent_workers_lose_their_lease(
    timed: Leases, clock: Clock, submission: Submission
) -> None:
    job = timed.store.create(submission).id
    timed.lease_next("w")
    clock.now += 15
    timed.heartbeat(job, 1)
    clock.now += 15
    assert timed.expire() == []
    clock.now += 10
    assert [record.state for record in timed.expire()] == [State.QUEUED]
    timed.lease_next("w")
    clock.now += 21
    assert [record.state for record in timed.expire()] == [State.FAILED]


def test_a_cancelled_job_whose_worker_is_lost_is_cancelled(
    timed: Leases, clock: Clock, submission: Submission
) -> None:
    job = timed.store.create(submission).id
    timed.lease_next("w")
    timed.store.request_cancel(job)
    clock.now += 100
    assert [record.state for record in timed.expire()] == [State.CANCELLED]


def test_a_result_after_a_cancellation_is_dropped(
    leases: Leases, submission: Submission, compression: Compression
) -> None:
    job = leases.store.create(submission).id
    leases.lease_next("w")
    leases.store.request_cancel(job)
    record = leases.succeed(job, 1, compression)
    assert record is not None
    assert (record.state, record.result) == (State.CANCELLED, None)


def test_run_time_counts_over_all_attempts(
    timed: Leases, clock: Clock, submission: Submission
) -> None:
    spec = replace(submission.spec, max_run_time_seconds=100)
    job = timed.store.create(replace(submission, spec=spec)).id
    timed.lease_next("w")
    live(timed, clock, job, 1, 60)
    timed.requeue(job, 1)
    clock.now += 500
    assert timed.time_out() == []
    timed.lease_next("w")
    live(timed, clock, job, 2, 39)
    assert timed.time_out() == []
    clock.now += 2
    (record,) = timed.time_out()
    assert record.error is not None
    assert (record.state, record.error.reason) == (State.FAILED, "TIMED_OUT")
    assert record.error.metadata == {"limit": "max_run_time"}
    assert record.run_seconds == pytest.approx(101)
    assert timed.heartbeat(job, 2) is Signal.STALE


def test_queue_time_counts_before_the_first_attempt_only(
    timed: Leases, clock: Clock, submission: Submission
) -> None:
    spec = replace(submission.spec, max_queue_time_seconds=10)
    tried = timed.store.create(replace(submission, spec=spec)).id
    timed.lease_next("w")
    timed.requeue(tried, 1)
    waiting = timed.store.create(replace(submission, spec=spec)).id
    clock.now += 11
    (record,) = timed.time_out()
    assert record.id == waiting
    assert record.error is not None
    assert record.error.metadata == {"limit": "max_queue_time"}


def test_a_failed_job_keeps_its_best_result(
    leases: Leases, submission: Submission, compression: Compression
) -> None:
    job = leases.store.create(submission).id
    leases.lease_next("w")
    best = replace(compression, budget_met=False)
    error = JobError("BUDGET_UNREACHABLE", "0.91 at most")
    leases.fail(job, 1, error, best=best, nearest_budget=Budget(min_accuracy=0.91))
    record = leases.store.get(job)
    assert record.state is State.FAILED
    assert record.error == error
    assert record.result is not None
    assert record.result.compression == replace(best, model=b"")
    assert record.result.nearest_budget == Budget(min_accuracy=0.91)
    artifact = leases.store.artifact(record.result.artifact)
    assert leases.store.files.read(artifact.sha256, 0, 10**6) == compression.model
    assert (artifact.job, artifact.size_bytes) == (job, len(compression.model))


def test_old_progress_is_coalesced_and_nothing_else(leases: Leases, submission: Submission) -> None:
    job = leases.store.create(submission).id
    leases.lease_next("w")
    leases.append(job, 1, LogLine(Severity.INFO, "early"))
    few = replace(leases, kept_progress=20)
    for step in range(60):
        few.append(job, 1, Progress(Phase.RETRAIN, step))
    first, last = seqs(leases, job)[:4], seqs(leases, job)[-20:]
    assert first[:3] == [1, 2, 3]
    assert first[3] > 30
    assert last == list(range(44, 64))
    assert leases.store.get(job).last_seq == 63
