"""Clocks that are set, forwards and backwards, while jobs run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from archpress_server.compress.types import Compression, Phase, Progress
from archpress_server.jobs.clock import Steadiness
from archpress_server.jobs.errors import StaleAttemptError
from archpress_server.jobs.leases import Leases, Signal
from archpress_server.jobs.model import OnDisconnect, State, Submission

pytestmark = pytest.mark.both_databases

HOUR = 3600.0


class Clocks:
    """A time of day that can be set, and a monotonic clock that cannot."""

    def __init__(self) -> None:
        self.now = 1e6
        self.monotonic = 10.0

    def go(self, seconds: float) -> None:
        self.now += seconds
        self.monotonic += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def timed(leases: Leases, clocks: Clocks) -> Leases:
    """Leases of 20 seconds on these clocks, with a sweep behind them."""
    store = replace(leases.store, clock=lambda: clocks.now, retention_seconds=100.0)
    timed = replace(leases, store=store, steadiness=Steadiness(lambda: clocks.monotonic))
    assert timed.expire() == []
    return timed


def start(leases: Leases, submission: Submission) -> str:
    job = leases.store.create(submission).id
    assert leases.lease_next("w") is not None
    return job


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_jump_takes_no_job_from_a_living_worker_and_every_job_from_a_dead_one(
    timed: Leases, clocks: Clocks, submission: Submission, jump: float
) -> None:
    living, dead = start(timed, submission), start(timed, submission)
    clocks.now += jump
    taken = []
    for second in range(60):
        taken += timed.expire()
        if second % 5 == 4:
            assert timed.heartbeat(living, 1) is Signal.GO_ON
        clocks.go(1)
    assert [(record.id, record.state) for record in taken] == [(dead, State.QUEUED)]


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_worker_that_was_given_up_by_a_jump_writes_nothing(
    timed: Leases, clocks: Clocks, submission: Submission, compression: Compression, jump: float
) -> None:
    job = start(timed, submission)
    clocks.now += jump
    for _ in range(50):
        timed.expire()
        clocks.go(1)
    again = timed.lease_next("other")
    assert again is not None
    assert (again.id, again.attempt) == (job, 2)
    assert timed.heartbeat(job, 1) is Signal.STALE
    with pytest.raises(StaleAttemptError):
        timed.append(job, 1, Progress(Phase.DESCEND))
    assert timed.succeed(job, 1, compression) is None
    assert timed.succeed(job, 2, compression) is not None
    assert timed.store.get(job).attempt == 2


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_run_time_is_not_that_of_a_jump(
    timed: Leases, clocks: Clocks, submission: Submission, jump: float
) -> None:
    spec = replace(submission.spec, max_run_time_seconds=600.0)
    job = start(timed, replace(submission, spec=spec))
    for second in range(60):
        clocks.go(1)
        if second == 30:
            clocks.now += jump
        assert timed.heartbeat(job, 1) is Signal.GO_ON
        assert timed.time_out() == []
    record = timed.requeue(job, 1)
    assert record is not None
    # At most one lease is counted for the jump.
    assert 59 <= record.run_seconds <= 81


def _expired(leases: Leases, submission: Submission, compression: Compression) -> str:
    job = start(leases, submission)
    leases.succeed(job, 1, compression)
    return job


def _abandonable(leases: Leases, submission: Submission, compression: Compression) -> str:
    policy = OnDisconnect.CANCEL_IF_ABANDONED
    return leases.store.create(replace(submission, on_disconnect=policy)).id


def _waiting(leases: Leases, submission: Submission, compression: Compression) -> str:
    spec = replace(submission.spec, max_queue_time_seconds=60.0)
    return leases.store.create(replace(submission, spec=spec)).id


@pytest.mark.parametrize("make", [_expired, _abandonable, _waiting])
def test_a_clock_that_is_set_right_again_within_a_lease_ends_nothing(
    timed: Leases,
    clocks: Clocks,
    submission: Submission,
    compression: Compression,
    make: Callable[[Leases, Submission, Compression], str],
) -> None:
    job = make(timed, submission, compression)
    before = timed.store.get(job)
    for jump in (HOUR, -HOUR):
        clocks.now += jump
        for _ in range(10):
            assert timed.time_out() == []
            assert timed.cancel_abandoned() == []
            assert timed.purge() == 0
            clocks.go(1)
    assert timed.store.get(job) == before
