"""Streams of events: order, resumption, coalescing, heartbeats, abandonment."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from structlog.testing import capture_logs

from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_server.compress.types import Compression, Phase, Progress
from archpress_server.config import ServerConfig
from archpress_server.jobs.errors import JobNotFoundError
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import Event, EventKind, LogLine, Severity, Submission
from archpress_server.jobs.schema import events, jobs
from archpress_server.jobs.store import JobStore
from archpress_server.metrics import Metrics
from archpress_server.server import Server
from archpress_server.service.errors import DrainingError
from archpress_server.service.watch import Watches, coalesced

if TYPE_CHECKING:
    from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceAsyncStub

pytestmark = pytest.mark.both_databases

SPEC = pb.JobSpec(network="conv-7", dataset="fashion-mnist")


@pytest.fixture
def config(config: ServerConfig) -> ServerConfig:
    """No workers: the tests do their work."""
    return config.model_copy(update={"workers": 0})


async def read(stream: AsyncIterator[pb.JobEvent], count: int) -> list[pb.JobEvent]:
    return [await anext(stream) for _ in range(count)]


async def rest_of(stream: AsyncIterator[pb.JobEvent]) -> list[pb.JobEvent]:
    return [event async for event in stream]


async def finish(leases: Leases, job: str, compression: Compression) -> None:
    leases.lease_next("w")
    for step in range(4):
        leases.append(job, 1, Progress(Phase.DESCEND, step, 4))
        leases.append(job, 1, LogLine(Severity.INFO, f"step {step}"))
    leases.succeed(job, 1, compression)


async def test_a_broken_stream_is_resumed_without_loss(
    stub: CompressionServiceAsyncStub, server: Server, compression: Compression
) -> None:
    call = stub.Compress(service_pb.CompressRequest(spec=SPEC))
    first = await anext(aiter(call))
    assert (first.seq, first.snapshot.state) == (1, pb.JOB_STATE_QUEUED)
    call.cancel()
    job = first.job.removeprefix("jobs/")
    await finish(server.leases, job, compression)
    whole = [e async for e in stub.WatchJob(service_pb.WatchJobRequest(name=first.job))]
    for cut in range(1, len(whole)):
        request = service_pb.WatchJobRequest(name=first.job, after_seq=whole[cut - 1].seq)
        rest = [event async for event in stub.WatchJob(request)]
        assert [event.seq for event in rest] == [event.seq for event in whole[cut:]]
    last = whole[-1]
    assert last.WhichOneof("event") == "completed"
    assert last.seq == last.completed.last_seq
    # Only outdated progress is left out.
    missing = set(range(1, last.seq + 1)) - {event.seq for event in whole}
    kinds = {e.seq: e.kind for e in server.leases.store.events_after(job, 0)}
    assert {kinds[seq] for seq in missing} <= {EventKind.PROGRESS}


async def test_the_end_is_told_again(
    stub: CompressionServiceAsyncStub, server: Server, compression: Compression
) -> None:
    job = await stub.CreateJob(service_pb.CreateJobRequest(spec=SPEC))
    beyond = service_pb.WatchJobRequest(name=job.name, after_seq=2)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.WatchJob(beyond).read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await finish(server.leases, job.name.removeprefix("jobs/"), compression)
    last = (await stub.GetJob(service_pb.GetJobRequest(name=job.name))).last_seq
    for after in (last, last + 1, 2**64 - 1):
        request = service_pb.WatchJobRequest(name=job.name, after_seq=after)
        events = [event async for event in stub.WatchJob(request)]
        assert [event.WhichOneof("event") for event in events] == ["completed"]
        assert events[0].seq == last


async def test_many_watchers_see_news_as_they_come(
    stub: CompressionServiceAsyncStub, server: Server, compression: Compression
) -> None:
    job = await stub.CreateJob(service_pb.CreateJobRequest(spec=SPEC))
    request = service_pb.WatchJobRequest(name=job.name)

    async def watch() -> list[str | None]:
        return [event.WhichOneof("event") async for event in stub.WatchJob(request)]

    def streams() -> float | None:
        return server.metrics.registry.get_sample_value("archpress_watch_streams")

    watchers = [asyncio.create_task(watch()) for _ in range(20)]
    async with asyncio.timeout(20):
        while streams() != 20:
            await asyncio.sleep(0.01)
    await finish(server.leases, job.name.removeprefix("jobs/"), compression)
    for kinds in await asyncio.gather(*watchers):
        assert kinds[0] == "snapshot"
        assert kinds.count("completed") == 1
        assert kinds.count("log") == 4
    async with asyncio.timeout(20):
        while streams() != 0:
            await asyncio.sleep(0.01)


async def test_a_repeated_compress_sends_the_log_from_its_start(
    stub: CompressionServiceAsyncStub, server: Server, compression: Compression
) -> None:
    request = service_pb.CompressRequest(
        spec=SPEC, request_id="2f7a9a3e-9f0e-4f4e-9b3b-0d7f4a1d9a11"
    )
    first = await anext(aiter(stub.Compress(request)))
    await finish(server.leases, first.job.removeprefix("jobs/"), compression)
    again = [event async for event in stub.Compress(request)]
    assert again[0] == first
    assert again[-1].WhichOneof("event") == "completed"


async def test_a_silent_stream_sends_heartbeats(
    leases: Leases, submission: Submission, compression: Compression
) -> None:
    job = leases.store.create(submission).id
    watches = Watches(leases.store, Metrics(), 0.01)
    watches.start()
    stream = watches.follow(job, 1, heartbeat_seconds=0.05)
    (beat,) = await read(stream, 1)
    assert (beat.seq, beat.heartbeat.state) == (0, pb.JOB_STATE_QUEUED)
    assert beat.heartbeat.queue_position == 1
    await finish(leases, job, compression)
    rest = [event async for event in stream]
    assert rest[-1].WhichOneof("event") == "completed"
    await watches.close()


async def test_closing_ends_streams_with_draining(leases: Leases, submission: Submission) -> None:
    job = leases.store.create(submission).id
    watches = Watches(leases.store, Metrics(), 0.01)
    watches.start()
    stream = watches.follow(job, 0, heartbeat_seconds=60)
    await read(stream, 1)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.05)
    await watches.close()
    with pytest.raises(DrainingError):
        await waiting


async def test_a_job_that_is_abandoned_is_cancelled(
    stub: CompressionServiceAsyncStub, server: Server
) -> None:
    request = service_pb.CompressRequest(
        spec=SPEC,
        on_disconnect=service_pb.DISCONNECT_POLICY_CANCEL_IF_ABANDONED,
        abandon_grace=Duration(seconds=1),
    )
    call = stub.Compress(request)
    first = await anext(aiter(call))
    await asyncio.sleep(2.5)
    job = await stub.GetJob(service_pb.GetJobRequest(name=first.job))
    assert job.state == pb.JOB_STATE_QUEUED
    call.cancel()
    async with asyncio.timeout(20):
        while job.state != pb.JOB_STATE_CANCELLED:
            await asyncio.sleep(0.05)
            job = await stub.GetJob(service_pb.GetJobRequest(name=first.job))


async def test_a_stream_that_falls_behind_misses_nothing(
    leases: Leases, submission: Submission, compression: Compression
) -> None:
    job = leases.store.create(submission).id
    watches = Watches(leases.store, Metrics(), 0.01)
    watches.start()
    quick, slow = (watches.follow(job, 0, heartbeat_seconds=60) for _ in range(2))
    await read(slow, 1)
    whole = asyncio.create_task(rest_of(quick))
    leases.lease_next("w")
    for number in range(100):
        await asyncio.to_thread(leases.append, job, 1, LogLine(Severity.INFO, f"line {number}"))
        if number == 50:
            await read(slow, 1)
    leases.succeed(job, 1, compression)
    late = asyncio.create_task(rest_of(watches.follow(job, 60, heartbeat_seconds=60)))
    assert [event.seq for event in await whole] == list(range(1, 104))
    assert [event.seq for event in await rest_of(slow)] == list(range(3, 104))
    assert [event.seq for event in await late] == list(range(61, 104))
    await watches.close()


async def test_an_event_is_read_once_for_all_streams(
    leases: Leases, submission: Submission, compression: Compression
) -> None:
    reads: list[int] = []

    class Counting(JobStore):
        def events_after(self, job: str, seq: int) -> tuple[Event, ...]:
            reads.append(seq)
            return super().events_after(job, seq)

    job = leases.store.create(submission).id
    watches = Watches(Counting(leases.store.database, leases.store.files), Metrics(), 0.01)
    watches.start()
    streams = [watches.follow(job, 0, heartbeat_seconds=60) for _ in range(10)]
    for stream in streams:
        await read(stream, 1)
    rests = [asyncio.create_task(rest_of(stream)) for stream in streams]
    await asyncio.sleep(0.1)
    reads.clear()
    await finish(leases, job, compression)
    for rest in await asyncio.gather(*rests):
        assert rest[-1].HasField("completed")
    # The log grew by ten events, in fewer steps than that or as many.
    assert len(reads) == len(set(reads)) <= 10
    await watches.close()


async def test_a_job_that_is_removed_ends_its_streams(
    leases: Leases, submission: Submission
) -> None:
    job = leases.store.create(submission).id
    watches = Watches(leases.store, Metrics(), 0.01)
    watches.start()
    streams = [watches.follow(job, 1, heartbeat_seconds=60) for _ in range(2)]
    waiting = [asyncio.create_task(rest_of(stream)) for stream in streams]
    await asyncio.sleep(0.1)
    with leases.store.database.write() as connection:
        connection.execute(jobs.delete())
    for found in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(found, JobNotFoundError)
    await watches.close()


async def test_a_log_that_cannot_be_read_ends_its_own_streams_only(
    leases: Leases, submission: Submission, compression: Compression
) -> None:
    bad, good = (leases.store.create(submission).id for _ in range(2))
    watches = Watches(leases.store, Metrics(), 0.01)
    watches.start()
    waiting = [
        asyncio.create_task(rest_of(watches.follow(job, 1, heartbeat_seconds=60)))
        for job in (bad, good)
    ]
    await asyncio.sleep(0.1)
    with leases.store.database.write() as connection:
        row = {"job": bad, "seq": 2, "time": 0.0, "kind": "log", "payload": "{"}
        connection.execute(events.insert().values(row))
        connection.execute(jobs.update().where(jobs.c.id == bad).values(last_seq=2, priority=-1))
    with pytest.raises(ValueError, match="Expecting property name"):
        await waiting[0]
    await finish(leases, good, compression)
    assert (await waiting[1])[-1].HasField("completed")
    await watches.close()


def test_only_outdated_progress_is_coalesced() -> None:
    progress, line = {"progress": pb.Progress()}, {"log": pb.LogLine()}
    waiting = [
        pb.JobEvent(seq=seq, **part)  # type: ignore[arg-type]
        for seq, part in enumerate((progress, line, progress, progress, line), start=1)
    ]
    assert [event.seq for event in coalesced(waiting)] == [2, 4, 5]


async def test_a_look_that_fails_for_whatever_reason_is_not_the_last(
    leases: Leases, submission: Submission, compression: Compression
) -> None:
    failures = [RuntimeError("odd")]

    class Failing(JobStore):
        def last_seqs(self, wanted: Sequence[str]) -> dict[str, int]:
            if failures:
                raise failures.pop()
            return super().last_seqs(wanted)

    job = leases.store.create(submission).id
    watches = Watches(Failing(leases.store.database, leases.store.files), Metrics(), 0.01)
    watches.start()
    with capture_logs() as lines:
        rest = asyncio.create_task(rest_of(watches.follow(job, 1, heartbeat_seconds=60)))
        while not lines:
            await asyncio.sleep(0.01)
        await finish(leases, job, compression)
        assert (await asyncio.wait_for(rest, 10))[-1].HasField("completed")
    assert [line["event"] for line in lines] == ["the look for news fails"]
    await watches.close()


async def test_streams_do_not_wait_for_other_calls_that_hang(
    leases: Leases, submission: Submission, compression: Compression
) -> None:
    job = leases.store.create(submission).id
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    over = threading.Event()
    hanging = asyncio.create_task(asyncio.to_thread(over.wait, 60))
    watches = Watches(leases.store, Metrics(), 0.01)
    watches.start()
    stream = watches.follow(job, 0, heartbeat_seconds=60)
    await asyncio.wait_for(read(stream, 1), 10)
    await finish(leases, job, compression)
    assert (await asyncio.wait_for(rest_of(stream), 10))[-1].HasField("completed")
    await asyncio.wait_for(watches.close(), 10)
    over.set()
    await hanging
