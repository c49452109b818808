"""Uploaded models: one for each content and principal, within its room, as long as it is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from archpress_server.compress.types import Compression
from archpress_server.jobs.clock import Steadiness
from archpress_server.jobs.errors import ArtifactNotFoundError, UploadQuotaError
from archpress_server.jobs.files import file_name
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import INTERNAL, ArtifactRecord, JobError, Submission
from archpress_server.jobs.orphans import remove_orphans
from archpress_server.jobs.store import JobStore
from archpress_server.jobs.uploads import Uploads
from archpress_trainer.space.costs import count
from archpress_trainer.space.named import named

pytestmark = pytest.mark.both_databases

CONTENT = b"a model of somebody"
NETWORK = named("conv-7", (1, 28, 28), 10)


class Later:
    """A store's clock that tests move."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.clock() + self.seconds


@pytest.fixture
def later(leases: Leases) -> Later:
    later = Later(leases.store.clock)
    object.__setattr__(leases.store, "clock", later)
    return later


@pytest.fixture
def store(leases: Leases) -> JobStore:
    return leases.store


def add(
    store: JobStore, principal: str = "alice", content: bytes = CONTENT, **limits: int
) -> ArtifactRecord:
    return Uploads(store, **limits).add(principal, content, NETWORK, "a name")


def test_an_upload_is_an_artifact_of_its_principal(store: JobStore) -> None:
    record = add(store)
    assert store.artifact(record.id) == record
    assert (record.principal, record.display_name, record.job) == ("alice", "a name", "")
    assert (record.sha256, record.size_bytes) == (file_name(CONTENT), len(CONTENT))
    assert (record.architecture, record.costs) == (NETWORK, count(NETWORK))
    assert store.files.read(record.sha256, 0, 100) == CONTENT


def test_the_same_bytes_are_the_same_artifact_for_longer(store: JobStore, later: Later) -> None:
    first = add(store)
    later.seconds = 1000.0
    again = add(store)
    assert again.id == first.id
    assert first.expire_time is not None
    assert again.expire_time is not None
    assert again.expire_time >= first.expire_time + 1000.0
    assert add(store, "bob").id != first.id


def test_room_is_limited_for_each_principal(store: JobStore) -> None:
    limit = 2 * len(CONTENT)
    for content in (CONTENT, CONTENT[::-1]):
        add(store, content=content, max_bytes_per_principal=limit)
    with pytest.raises(UploadQuotaError, match=f"take {limit} bytes of at most {limit}"):
        add(store, content=b"x", max_bytes_per_principal=limit)
    # What is there already takes no more room, and others have their own.
    add(store, max_bytes_per_principal=limit)
    add(store, "bob", max_bytes_per_principal=limit)
    add(store, content=b"x", max_bytes_per_principal=0)


def test_expired_uploads_go_with_their_files(leases: Leases, later: Later) -> None:
    record = add(leases.store)
    assert leases.purge() == 0
    later.seconds = leases.store.retention_seconds + 100.0
    assert Uploads(leases.store).purge() == 1
    with pytest.raises(ArtifactNotFoundError):
        leases.store.artifact(record.id)
    remove_orphans(leases.store.database, leases.store.files, lambda: later() + 1.0)
    assert not leases.store.files.check(record.sha256, record.size_bytes)


def test_a_file_of_two_principals_stays_for_the_other(leases: Leases, later: Later) -> None:
    add(leases.store, "alice")
    later.seconds = leases.store.retention_seconds / 2
    kept = add(leases.store, "bob")
    later.seconds = leases.store.retention_seconds + 100.0
    assert Uploads(leases.store).purge() == 1
    remove_orphans(leases.store.database, leases.store.files, lambda: later() + 1.0)
    assert leases.store.files.check(kept.sha256, kept.size_bytes)


@pytest.mark.parametrize("end", ["succeed", "fail", "cancel", "delete"])
def test_an_upload_stays_as_long_as_its_job(
    leases: Leases, submission: Submission, compression: Compression, later: Later, end: str
) -> None:
    store, sweeping = leases.store, replace(leases, steadiness=Steadiness(later))
    record = add(store)
    job = store.create(replace(submission, spec=replace(submission.spec, artifact=record.id))).id
    leases.lease_next("w")
    later.seconds = 3 * store.retention_seconds
    assert sweeping.purge() == 0
    ends: dict[str, Callable[[], object]] = {
        "succeed": lambda: leases.succeed(job, 1, compression),
        "fail": lambda: leases.fail(job, 1, JobError(INTERNAL, "an error")),
        "cancel": lambda: (store.request_cancel(job), leases.cancelled(job, 1)),
        "delete": lambda: store.delete(job),
    }
    ends[end]()
    assert sweeping.purge() == 0
    assert store.artifact(record.id) == record
    later.seconds += store.retention_seconds + 100.0
    assert sweeping.purge() == 2
    with pytest.raises(ArtifactNotFoundError):
        store.artifact(record.id)


def test_no_job_is_made_for_an_upload_that_is_gone(store: JobStore, submission: Submission) -> None:
    gone = "01a20c62-4f83-7704-85b7-4ab1ca3c2720"
    needing = replace(submission, spec=replace(submission.spec, artifact=gone))
    with pytest.raises(ArtifactNotFoundError):
        store.create(needing)
    assert store.list().jobs == ()
