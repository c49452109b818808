"""Leases: order, fencing, expiry, time limits, and the log."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
import sqlalchemy as sa

from archpress_server.compress.types import Budget, Compression, Phase, Progress, Waypoint
from archpress_server.jobs.clock import Steadiness
from archpress_server.jobs.errors import StaleAttemptError
from archpress_server.jobs.leases import Leases, Signal
from archpress_server.jobs.model import (
    EventKind,
    JobError,
    JobRecord,
    LogLine,
    Severity,
    State,
    Submission,
)
from archpress_server.jobs.rows import to_event
from archpress_server.jobs.schema import events, jobs

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


def test_the_principal_with_the_fewest_running_jobs_comes_first(
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


def test_principals_take_turns_however_urgent_and_old_the_jobs_of_one_are(
    leases: Leases, submission: Submission
) -> None:
    """One worker: no job runs when the next one is chosen."""
    clock = itertools.count(1.0)
    store = replace(leases.store, clock=lambda: next(clock))
    leases = replace(leases, store=store)
    urgent = replace(submission.spec, priority=100)
    many = [store.create(replace(submission, spec=urgent, principal="many")).id for _ in range(3)]
    few = [store.create(replace(submission, principal="few")).id for _ in range(2)]
    order = [many[0], few[0], many[1], few[1], many[2]]
    for place, job in enumerate(order):
        positions = [store.get(left).queue_position for left in order[place:]]
        assert positions == list(range(1, len(order) - place + 1))
        record = leases.lease_next("w")
        assert record is not None
        assert record.id == job
        leases.cancelled(job, 1)


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


def test_old_progress_that_reports_draw_stays(leases: Leases, submission: Submission) -> None:
    job = leases.store.create(submission).id
    leases.lease_next("w")
    few = replace(leases, kept_progress=20)
    drawn = [
        few.append(job, 1, Progress(Phase.DESCEND, 1, waypoint=Waypoint(0.9, 20_000.0))),
        few.append(job, 1, Progress(Phase.RETRAIN, 2, accuracy=0.5, message='"accuracy":null')),
    ]
    for step in range(60):
        few.append(job, 1, Progress(Phase.RETRAIN, step, message='"waypoint":0'))
    found = seqs(leases, job)
    assert set(drawn) <= set(found)
    assert len(found) < 40


def test_a_replica_with_shorter_leases_takes_no_longer_one(
    timed: Leases, clock: Clock, submission: Submission
) -> None:
    longer = replace(timed, lease_seconds=10 * timed.lease_seconds)
    job = longer.store.create(submission).id
    longer.lease_next("w")
    assert timed.expire() == []
    clock.now += 2 * timed.lease_seconds
    assert timed.expire() == []
    clock.now += longer.lease_seconds
    assert [record.id for record in timed.expire()] == [job]


def rewrite(leases: Leases, job: str) -> None:
    """Make a job one of a later version, whose jobs say more."""
    with leases.store.database.write() as connection:
        spec = connection.scalar(sa.select(jobs.c.spec).where(jobs.c.id == job))
        later = json.dumps({**json.loads(spec or ""), "news": 1})
        connection.execute(jobs.update().where(jobs.c.id == job).values(spec=later))


def state_and_error(leases: Leases, job: str) -> tuple[str, str | None]:
    with leases.store.database.read() as connection:
        row = connection.execute(sa.select(jobs).where(jobs.c.id == job)).one()
    return row.state, row.error


def test_a_job_of_another_version_is_left_to_it_and_later_ended(
    timed: Leases, clock: Clock, submission: Submission
) -> None:
    foreign, own = (timed.store.create(submission).id for _ in range(2))
    rewrite(timed, foreign)
    record = timed.lease_next("w")
    assert record is not None
    assert record.id == own
    assert timed.lease_next("w") is None
    assert state_and_error(timed, foreign) == (State.QUEUED, None)
    clock.now += 3601
    assert timed.lease_next("w") is None
    state, error = state_and_error(timed, foreign)
    assert state == State.FAILED
    assert json.loads(error or "")["reason"] == "INTERNAL"
    assert "another version" in json.loads(error or "")["message"]
    with timed.store.database.read() as connection:
        log = sa.select(events).where(events.c.job == foreign).order_by(events.c.seq.desc())
        last = connection.execute(log.limit(1)).mappings().one()
    told = to_event(last, submission.spec).payload
    assert isinstance(told, JobRecord)
    assert told.error is not None
    assert (told.state, told.error.reason, told.last_seq) == (State.FAILED, "INTERNAL", last["seq"])
    assert told.expire_time == clock.now + timed.store.retention_seconds


def test_the_hour_of_another_version_begins_with_the_newest_event(
    timed: Leases, clock: Clock, submission: Submission
) -> None:
    job = timed.store.create(submission).id
    timed.lease_next("w")
    clock.now += 7200
    timed.requeue(job, 1)
    rewrite(timed, job)
    clock.now += 3599
    assert timed.lease_next("w") is None
    assert state_and_error(timed, job)[0] == State.QUEUED
    clock.now += 2
    assert timed.lease_next("w") is None
    assert state_and_error(timed, job)[0] == State.FAILED


def test_a_job_that_no_machine_starts_waits_no_longer_than_it_may(
    timed: Leases, clock: Clock, submission: Submission
) -> None:
    spec = replace(submission.spec, max_queue_time_seconds=100.0)
    job = timed.store.create(replace(submission, spec=spec)).id
    for attempt in (1, 2, 3):
        timed.lease_next("w")
        clock.now += 1
        timed.requeue(job, attempt, "no worker could be started", began=False)
        found = timed.store.get(job)
        assert (found.start_time, found.run_seconds) == (None, 0.0)
    clock.now += 101
    (ended,) = timed.time_out()
    assert ended.error is not None
    assert (ended.id, ended.error.reason) == (job, "TIMED_OUT")


def test_a_sweep_passes_a_job_of_another_version_over(
    timed: Leases, clock: Clock, submission: Submission
) -> None:
    foreign, own = (timed.store.create(submission).id for _ in range(2))
    for _ in range(2):
        timed.lease_next("w")
    rewrite(timed, foreign)
    clock.now += timed.lease_seconds + 1
    assert [record.id for record in timed.expire()] == [own]
    assert state_and_error(timed, foreign)[0] == State.RUNNING
    clock.now += 3600
    assert timed.expire() == []
    assert state_and_error(timed, foreign)[0] == State.FAILED


def test_a_job_that_is_given_back_says_why(leases: Leases, submission: Submission) -> None:
    job = leases.store.create(submission).id
    for attempt in range(1, 6):
        leases.lease_next("w")
        record = leases.requeue(job, attempt, "no worker could be started")
        assert record is not None
        assert record.state is State.QUEUED
    lines = [event.payload for event in leases.store.events_after(job, 0)]
    texts = [line.text for line in lines if isinstance(line, LogLine)]
    assert texts[0] == "attempt 1: no worker could be started"


def test_all_that_is_over_is_purged_at_once(
    timed: Leases, clock: Clock, submission: Submission
) -> None:
    for _ in range(101):
        timed.store.request_cancel(timed.store.create(submission).id)
    clock.now += timed.store.retention_seconds + 1
    assert timed.purge(should_stop=lambda: True) == 0
    assert timed.purge() == 101
