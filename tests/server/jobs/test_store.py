"""Creating, listing, cancelling and deleting jobs."""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import replace

import pytest
import sqlalchemy as sa

from archpress_server.compress.types import Compression
from archpress_server.jobs.clock import Steadiness
from archpress_server.jobs.errors import (
    ArtifactNotFoundError,
    JobNotFoundError,
    JobUnreadableError,
    PageTokenError,
    PrincipalQuotaError,
    QueueFullError,
    RequestIdReusedError,
)
from archpress_server.jobs.leases import Leases, Signal
from archpress_server.jobs.model import EventKind, OnDisconnect, State, Submission, new_id
from archpress_server.jobs.schema import events, jobs
from archpress_server.jobs.store import JobStore

pytestmark = pytest.mark.both_databases


@pytest.fixture
def store(leases: Leases) -> JobStore:
    return leases.store


def with_labels(submission: Submission, **labels: str) -> Submission:
    return replace(submission, spec=replace(submission.spec, labels=labels))


def with_priority(submission: Submission, priority: int) -> Submission:
    return replace(submission, spec=replace(submission.spec, priority=priority))


def test_a_created_job_reads_back_as_it_was(store: JobStore, submission: Submission) -> None:
    created = store.create(with_labels(submission, team="a"))
    assert created.state is State.QUEUED
    assert created.queue_position == 1
    assert created.last_seq == 1
    assert store.get(created.id) == created
    assert created.spec.labels == {"team": "a"}


def test_many_jobs_are_read_at_one_moment(store: JobStore, submission: Submission) -> None:
    first, second, third = (store.create(submission) for _ in range(3))
    store.delete(third.id)
    found = store.get_all([second.id, third.id, first.id, "nowhere"])
    assert found == {job: store.get(job) for job in (first.id, second.id)}
    assert [store.get(job.id).queue_position for job in (first, second)] == [1, 2]
    assert store.get_all([]) == {}


def test_the_log_begins_with_the_queued_job(store: JobStore, submission: Submission) -> None:
    created = store.create(submission)
    (event,) = store.events_after(created.id, 0)
    assert (event.seq, event.kind, event.payload) == (1, EventKind.SNAPSHOT, created)


def test_the_same_request_id_makes_one_job(store: JobStore, submission: Submission) -> None:
    submission = replace(submission, request_id=str(uuid.uuid4()))
    first = store.create(submission)
    assert store.create(submission) == first
    # Another embedding on the server since then is no other request.
    later = replace(submission, spec=replace(submission.spec, embedding="newer"))
    assert store.create(later) == first
    # Nor is another setting for the longest run, where the request names none.
    later = replace(submission, spec=replace(submission.spec, max_run_time_seconds=43_200.0))
    assert store.create(replace(later, has_default_run_time=True)) == first
    with pytest.raises(RequestIdReusedError):
        store.create(later)
    assert len(store.list().jobs) == 1


def test_a_request_id_with_other_content_is_refused(
    store: JobStore, submission: Submission
) -> None:
    submission = replace(submission, request_id=str(uuid.uuid4()))
    first = store.create(submission)
    for other in (with_priority(submission, 3), with_labels(submission, a="b")):
        with pytest.raises(RequestIdReusedError) as caught:
            store.create(other)
        assert caught.value.job == first.id


def test_the_queue_has_an_end(store: JobStore, submission: Submission) -> None:
    small = replace(store, max_queued_jobs=2)
    small.create(submission)
    small.create(submission)
    with pytest.raises(QueueFullError):
        small.create(submission)


def test_a_principals_part_of_the_queue_has_an_end(
    leases: Leases, store: JobStore, submission: Submission
) -> None:
    small = replace(store, max_queued_jobs_per_principal=1)
    mine = replace(submission, principal="a")
    small.create(mine)
    with pytest.raises(PrincipalQuotaError) as caught:
        small.create(mine)
    assert (caught.value.principal, caught.value.maximum) == ("a", 1)
    small.create(replace(submission, principal="b"))
    leases.lease_next("w")
    small.create(mine)


def test_queue_positions_follow_priority_then_age(store: JobStore, submission: Submission) -> None:
    ids = [store.create(with_priority(submission, p)).id for p in (0, 5, 0)]
    assert [store.get(job).queue_position for job in ids] == [2, 1, 3]


def test_pages_are_newest_first_and_complete(store: JobStore, submission: Submission) -> None:
    ids = [store.create(submission).id for _ in range(5)]
    found: list[str] = []
    token = ""
    for _ in range(3):
        page = store.list(size=2, token=token)
        found += [job.id for job in page.jobs]
        token = page.next_token
    assert token == ""
    assert found == ids[::-1]


def test_a_list_filters_by_state_and_all_labels(store: JobStore, submission: Submission) -> None:
    store.create(with_labels(submission, team="a"))
    both = store.create(with_labels(submission, team="a", run="1"))
    assert [j.id for j in store.list(with_labels={"team": "a", "run": "1"}).jobs] == [both.id]
    store.request_cancel(both.id)
    assert [j.id for j in store.list(states=[State.CANCELLED]).jobs] == [both.id]
    assert store.list(states=[State.RUNNING]).jobs == ()


NESTED = base64.urlsafe_b64encode(b"[" * 100_000).decode()


@pytest.mark.parametrize("token", ["x", "%%%", "W10=", "bnVsbA==", NESTED])
def test_a_foreign_page_token_is_refused(store: JobStore, token: str) -> None:
    with pytest.raises(PageTokenError):
        store.list(token=token)


@pytest.mark.parametrize(
    ("create_time", "job"),
    [("1e999", '"x"'), ("1", '"\\ud800"'), ("1", "7"), (str(10**400), f'"{uuid.UUID(int=7)}"')],
)
def test_a_forged_page_token_is_refused(
    store: JobStore, submission: Submission, create_time: str, job: str
) -> None:
    for _ in range(2):
        store.create(submission)
    token = store.list(size=1).next_token
    filters = json.loads(base64.urlsafe_b64decode(token))[2]
    forged = base64.urlsafe_b64encode(f'[{create_time},{job},"{filters}"]'.encode()).decode()
    with pytest.raises(PageTokenError):
        store.list(token=forged)


def test_a_page_token_belongs_to_its_filters(store: JobStore, submission: Submission) -> None:
    for _ in range(2):
        store.create(submission)
    token = store.list(size=1).next_token
    with pytest.raises(PageTokenError):
        store.list(size=1, token=token, states=[State.QUEUED])


def test_cancelling_a_queued_job_passes_both_states(
    store: JobStore, submission: Submission
) -> None:
    job = store.create(submission).id
    assert store.request_cancel(job).state is State.CANCELLED
    states = [getattr(e.payload, "state", None) for e in store.events_after(job, 0)]
    assert states == [State.QUEUED, State.CANCELLING, State.CANCELLED]
    assert store.request_cancel(job) == store.get(job)


def test_cancelling_a_running_job_waits_for_its_worker(
    leases: Leases, store: JobStore, submission: Submission
) -> None:
    job = store.create(submission).id
    leases.lease_next("w")
    assert store.request_cancel(job).state is State.CANCELLING
    assert leases.heartbeat(job, 1) is Signal.CANCEL
    leases.cancelled(job, 1)
    assert store.get(job).state is State.CANCELLED


def test_a_deleted_job_is_gone_but_its_watchers_see_the_end(
    leases: Leases, store: JobStore, submission: Submission
) -> None:
    submission = replace(submission, request_id=str(uuid.uuid4()))
    job = store.create(submission).id
    leases.lease_next("w")
    store.delete(job)
    for call in (store.get, store.delete, store.request_cancel):
        with pytest.raises(JobNotFoundError):
            call(job)
    assert store.list().jobs == ()
    assert store.events_after(job, 0)[-1].kind is EventKind.COMPLETED
    assert leases.heartbeat(job, 1) is Signal.STALE
    assert store.create(submission).id != job


def test_purging_removes_rows_and_files(
    leases: Leases, store: JobStore, submission: Submission, compression: Compression
) -> None:
    kept, deleted = (store.create(submission).id for _ in range(2))
    names = []
    for job in (kept, deleted):
        leases.lease_next("w")
        record = leases.succeed(job, 1, compression)
        assert record is not None
        assert record.result is not None
        names.append(record.result.artifact)
    artifact = store.artifact(names[0])
    store.delete(deleted)
    with pytest.raises(ArtifactNotFoundError):
        store.artifact(names[1])
    assert leases.purge() == 0
    assert leases.purge(deleted_before_seconds=0) == 1
    with store.database.read() as connection:
        assert connection.scalars(sa.select(jobs.c.id)).all() == [kept]
        assert set(connection.scalars(sa.select(events.c.job)).all()) == {kept}
    # The same bytes are still those of the other job.
    assert store.files.read(artifact.sha256, 0, 10**6) == compression.model
    store.delete(kept)
    leases.purge(deleted_before_seconds=0)
    with pytest.raises(FileNotFoundError):
        store.files.read(artifact.sha256, 0, 1)


def test_the_abandonment_of_a_watched_job_is_put_off(
    leases: Leases, store: JobStore, submission: Submission
) -> None:
    now = 1000.0
    timed = replace(store, clock=lambda: now)
    leases = replace(leases, store=timed, steadiness=Steadiness(timed.clock))
    policy = OnDisconnect.CANCEL_IF_ABANDONED
    grace = replace(submission, on_disconnect=policy, abandon_grace_seconds=10)
    job, other = leases.store.create(grace).id, leases.store.create(submission).id
    now = 1005.0
    leases.store.watched(job, renew_seconds=0)
    now = 1014.0
    assert leases.cancel_abandoned() == []
    now = 1016.0
    assert [record.id for record in leases.cancel_abandoned()] == [job]
    assert leases.store.get(other).state is State.QUEUED


def test_ids_sort_by_time() -> None:
    ids = [new_id() for _ in range(3)]
    assert all(uuid.UUID(identifier).version == 7 for identifier in ids)
    assert ids[0][:13] <= ids[-1][:13]


def test_a_request_id_is_its_principals(store: JobStore, submission: Submission) -> None:
    mine = replace(submission, principal="a", request_id=str(uuid.uuid4()))
    first = store.create(mine)
    assert store.create(mine) == first
    other = store.create(replace(mine, principal="b"))
    assert other.id != first.id
    assert (store.get(first.id).principal, store.get(other.id).principal) == ("a", "b")


def test_a_list_can_be_of_one_principal(store: JobStore, submission: Submission) -> None:
    mine = [store.create(replace(submission, principal="a")) for _ in range(3)]
    store.create(replace(submission, principal="b"))
    page = store.list(size=2, principal="a")
    rest = store.list(size=2, token=page.next_token, principal="a")
    assert [job.id for job in (*page.jobs, *rest.jobs)] == [job.id for job in reversed(mine)]
    with pytest.raises(PageTokenError):
        store.list(token=page.next_token, principal="b")
    assert len(store.list().jobs) == 4


def test_a_job_that_was_given_back_has_waited_since_then(
    leases: Leases, submission: Submission
) -> None:
    now = 1000.0
    store = replace(leases.store, clock=lambda: now)
    timed = replace(leases, store=store, steadiness=Steadiness(lambda: now))
    store.create(submission)
    now += 3
    assert store.counts().oldest_queued_seconds == 3
    job = store.list().jobs[0].id
    timed.lease_next("w")
    timed.requeue(job, 1, "no worker could be started", began=False)
    now += 2
    # It still waits for its first start.
    assert store.counts().oldest_queued_seconds == 5
    timed.lease_next("w")
    now += 36_000
    timed.requeue(job, 2)
    now += 1
    assert store.counts().oldest_queued_seconds == 1


def test_a_job_of_another_version_hides_no_other(store: JobStore, submission: Submission) -> None:
    oldest, foreign, newest = (store.create(submission).id for _ in range(3))
    with store.database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id == foreign).values(spec='{"news": 1}'))
    found = store.get_all([oldest, foreign, newest])
    assert isinstance(found.pop(foreign), JobUnreadableError)
    assert found == {job: store.get(job) for job in (oldest, newest)}
    with pytest.raises(JobUnreadableError, match="is of another version of the server"):
        store.get(foreign)
    assert [job.id for job in store.list().jobs] == [newest, oldest]
    shown, token = [], ""
    for _ in range(3):
        page = store.list(size=1, token=token)
        shown += [job.id for job in page.jobs]
        token = page.next_token
    assert (shown, token) == ([newest, oldest], "")
