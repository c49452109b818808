"""Jobs that take over the result of an equal one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from archpress_server.compress.types import Compression
from archpress_server.jobs.clock import Steadiness
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import EventKind, JobError, JobRecord, State, Submission
from archpress_server.jobs.result_cache import take_result
from archpress_server.jobs.store import JobStore

pytestmark = pytest.mark.both_databases


@pytest.fixture
def submission(submission: Submission) -> Submission:
    return replace(submission, principal="a", result_key="k")


def create(store: JobStore, submission: Submission) -> JobRecord:
    return store.create(submission, store.earlier_result(submission))


def succeed(leases: Leases, submission: Submission, compression: Compression) -> JobRecord:
    job = create(leases.store, submission).id
    assert leases.lease_next("w") is not None
    record = leases.succeed(job, 1, compression)
    assert record is not None
    return record


def models(leases: Leases, job: JobRecord) -> list[bytes]:
    """Return the files of a job: the front's, then the quantized one."""
    assert job.result is not None
    names = [*job.result.front, job.result.int8]
    artifacts = [leases.store.artifact(name) for name in names]
    assert {artifact.job for artifact in artifacts} == {job.id}
    return [leases.store.files.read(artifact.sha256, 0, 10**6) for artifact in artifacts]


def test_an_equal_job_ends_at_once_with_artifacts_of_its_own(
    leases: Leases, submission: Submission, with_all: Compression
) -> None:
    first = succeed(leases, submission, with_all)
    second = create(leases.store, submission)
    assert (second.state, second.cached_result, second.attempt) == (State.SUCCEEDED, True, 0)
    assert not first.cached_result
    assert first.result is not None
    assert second.result is not None
    assert second.result.compression == first.result.compression
    assert second.result.artifact == second.result.front[0]
    assert set(second.result.front).isdisjoint(first.result.front)
    assert models(leases, second) == models(leases, first)
    events = leases.store.events_after(second.id, 0)
    assert [event.seq for event in events] == [1, 2]
    assert [event.kind for event in events] == [EventKind.SNAPSHOT, EventKind.COMPLETED]
    assert events[1].payload == second == leases.store.get(second.id)
    assert leases.lease_next("w") is None


def test_purging_one_of_two_leaves_the_files_to_the_other(
    leases: Leases, submission: Submission, with_all: Compression
) -> None:
    now = 1000.0
    timed = replace(leases.store, clock=lambda: now, retention_seconds=100)
    leases = replace(leases, store=timed, steadiness=Steadiness(timed.clock))
    first = succeed(leases, submission, with_all)
    now = 1050.0
    second = create(leases.store, submission)
    assert (first.expire_time, second.expire_time) == (1100, 1150)
    now = 1120.0
    assert leases.purge() == 1
    whole = models(leases, second)
    assert whole[0] == with_all.model
    # The second one serves a third.
    third = create(leases.store, submission)
    now = 1160.0
    assert leases.purge() == 1
    assert models(leases, third) == whole
    assert third.result is not None
    sha256 = leases.store.artifact(third.result.artifact).sha256
    now = 1300.0
    assert leases.purge() == 1
    with pytest.raises(FileNotFoundError):
        leases.store.files.read(sha256, 0, 1)


def test_a_result_takes_no_room_in_the_queue(
    leases: Leases, submission: Submission, compression: Compression
) -> None:
    store = replace(leases.store, max_queued_jobs=1, max_queued_jobs_per_principal=1)
    succeed(leases, submission, compression)
    create(store, replace(submission, result_key=""))
    assert create(store, submission).state is State.SUCCEEDED


def _delete(leases: Leases, job: JobRecord) -> None:
    leases.store.delete(job.id)


def _lose_a_file(leases: Leases, job: JobRecord) -> None:
    assert job.result is not None
    leases.store.files.delete(leases.store.artifact(job.result.int8).sha256)


@pytest.mark.parametrize("spoil", [_delete, _lose_a_file])
def test_a_result_that_is_not_whole_is_computed_again(
    leases: Leases,
    submission: Submission,
    with_all: Compression,
    spoil: Callable[[Leases, JobRecord], None],
) -> None:
    spoil(leases, succeed(leases, submission, with_all))
    assert create(leases.store, submission).state is State.QUEUED


@pytest.mark.parametrize(
    "other", [{"result_key": "l"}, {"result_key": ""}, {"principal": "b"}], ids=str
)
def test_other_jobs_and_other_principals_get_nothing(
    leases: Leases, submission: Submission, compression: Compression, other: dict[str, Any]
) -> None:
    succeed(leases, replace(submission, result_key=""), compression)
    succeed(leases, submission, compression)
    assert create(leases.store, replace(submission, **other)).state is State.QUEUED


def test_only_success_is_taken_over(
    leases: Leases, submission: Submission, compression: Compression
) -> None:
    job = create(leases.store, submission).id
    leases.lease_next("w")
    leases.fail(job, 1, JobError("BUDGET_UNREACHABLE", "0.91 at most"), best=compression)
    assert create(leases.store, submission).state is State.QUEUED


def test_a_result_that_is_purged_in_between_is_not_taken(
    leases: Leases, submission: Submission, compression: Compression
) -> None:
    store = leases.store
    job = succeed(leases, submission, compression)
    found = store.earlier_result(submission)
    assert found is not None
    with store.database.write() as connection:
        assert take_result(connection, found)
    store.delete(job.id)
    assert leases.purge(deleted_before_seconds=0) == 1
    with store.database.write() as connection:
        assert not take_result(connection, found)


def test_each_look_for_a_result_is_told_once(
    leases: Leases, submission: Submission, compression: Compression
) -> None:
    told: list[bool] = []
    store = replace(leases.store, observe_cache=lambda job: told.append(job.cached_result))
    named = replace(submission, request_id="0c1f2f30-64a5-4d3a-9d57-0d7f4a1d9a11")
    create(store, named)
    create(store, named)
    create(store, replace(submission, result_key=""))
    assert told == [False]
    leases.lease_next("w")
    leases.succeed(create(store, named).id, 1, compression)
    create(store, submission)
    assert told == [False, True]
