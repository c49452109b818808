"""Jobs from creation to end through real worker processes, and what kills them."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from archpress_proto.v1 import artifact_service_pb2 as artifact_pb
from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_proto.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from archpress_server.catalog import load_catalog
from archpress_server.config import ServerConfig
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import JobRecord, State, Submission
from archpress_server.server import Server
from archpress_server.state import prepare_state
from tests.server.conftest import FAKE_WORKER

if TYPE_CHECKING:
    from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceAsyncStub


def spec(mode: str, **values: object) -> pb.JobSpec:
    message = pb.JobSpec(network="conv-7", dataset="fashion-mnist", labels={"mode": mode})
    message.MergeFrom(pb.JobSpec(**values))  # type: ignore[arg-type]
    return message


async def run(stub: CompressionServiceAsyncStub, message: pb.JobSpec) -> list[pb.JobEvent]:
    call = stub.Compress(service_pb.CompressRequest(spec=message), timeout=30)
    return [event async for event in call]


async def start(stub: CompressionServiceAsyncStub, message: pb.JobSpec) -> str:
    """Create a job and return its name once it runs and has made progress."""
    call = stub.Compress(service_pb.CompressRequest(spec=message), timeout=30)
    async for event in call:
        if event.WhichOneof("event") == "candidate":
            return event.job
    raise AssertionError("the job ended early")


async def end(stub: CompressionServiceAsyncStub, name: str) -> pb.Job:
    call = stub.WatchJob(service_pb.WatchJobRequest(name=name), timeout=30)
    return [event async for event in call][-1].completed


def value(server: Server, name: str, **labels: str) -> float:
    found = server.metrics.registry.get_sample_value(name, labels)
    assert found is not None
    return found


async def until(server: Server, name: str, expected: float, **labels: str) -> None:
    for _ in range(200):
        if value(server, name, **labels) == expected:
            return
        await asyncio.sleep(0.02)
    assert value(server, name, **labels) == expected


async def test_a_job_succeeds_and_its_model_downloads(
    stub: CompressionServiceAsyncStub, channel: grpc.aio.Channel, server: Server
) -> None:
    events = await run(stub, spec("succeed"))
    states = [event.snapshot.state for event in events if event.HasField("snapshot")]
    assert states == [pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING]
    job = events[-1].completed
    assert (job.state, job.attempt) == (pb.JOB_STATE_SUCCEEDED, 1)
    assert job.result.budget_met
    assert any(event.candidate.chosen for event in events)

    artifacts = ArtifactServiceStub(channel)
    request = artifact_pb.DownloadArtifactRequest(name=job.result.artifact)
    parts = [part async for part in artifacts.DownloadArtifact(request)]
    info, model = parts[0].info, b"".join(part.data for part in parts[1:])
    assert (info.job, info.size_bytes) == (job.name, len(model))
    assert hashlib.sha256(model).hexdigest() == info.sha256
    assert all(65_536 <= len(part.data) <= 262_144 for part in parts[1:-1])
    request = artifact_pb.DownloadArtifactRequest(
        name=info.name, read_offset=300_001, read_limit=7, if_sha256=info.sha256
    )
    parts = [part async for part in artifacts.DownloadArtifact(request)]
    assert b"".join(part.data for part in parts[1:]) == model[300_001:300_008]
    at_end = artifact_pb.DownloadArtifactRequest(name=info.name, read_offset=len(model))
    assert len([part async for part in artifacts.DownloadArtifact(at_end)]) == 1
    for bad in (
        artifact_pb.DownloadArtifactRequest(name=info.name, read_offset=len(model) + 1),
        artifact_pb.DownloadArtifactRequest(name=info.name, read_offset=-1),
        artifact_pb.DownloadArtifactRequest(name=info.name, read_limit=-1),
        artifact_pb.DownloadArtifactRequest(name=info.name, if_sha256="0" * 64),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await artifacts.DownloadArtifact(bad).read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    labels = {"outcome": "succeeded", "reason": ""}
    await until(server, "archpress_job_outcomes_total", 1, **labels)
    assert value(server, "archpress_job_attempts_total", cause="first") == 1
    assert value(server, "archpress_job_queue_seconds_count") == 1
    assert value(server, "archpress_artifact_bytes_total", direction="sent") == len(model) + 7

    await stub.DeleteJob(service_pb.DeleteJobRequest(name=job.name))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await artifacts.GetArtifact(artifact_pb.GetArtifactRequest(name=info.name))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_worker_that_is_killed_once_is_replaced(
    stub: CompressionServiceAsyncStub,
) -> None:
    events = await run(stub, spec("die-once"))
    job = events[-1].completed
    assert (job.state, job.attempt) == (pb.JOB_STATE_SUCCEEDED, 2)
    assert [event.log.text for event in events if event.HasField("log")] == [
        "attempt 1: the worker was killed by signal 9"
    ]


async def test_a_job_whose_workers_are_killed_fails(
    stub: CompressionServiceAsyncStub, server: Server
) -> None:
    events = await run(stub, spec("die"))
    states = [event.snapshot.state for event in events if event.HasField("snapshot")]
    queued, running = pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING
    assert states == [queued, running, queued, running]
    job = events[-1].completed
    assert (job.state, job.error.code) == (pb.JOB_STATE_FAILED, 10)
    assert b"WORKER_LOST" in job.error.details[0].value
    labels = {"outcome": "failed", "reason": "WORKER_LOST"}
    await until(server, "archpress_job_outcomes_total", 1, **labels)
    assert value(server, "archpress_job_attempts_total", cause="again") == 1


async def test_a_missed_budget_delivers_the_best_there_is(
    stub: CompressionServiceAsyncStub, channel: grpc.aio.Channel
) -> None:
    job = (await run(stub, spec("unreachable", budget=pb.Budget(min_accuracy=0.99))))[-1].completed
    assert job.state == pb.JOB_STATE_FAILED
    assert not job.result.budget_met
    assert job.result.nearest_budget.min_accuracy == 0.99
    request = artifact_pb.GetArtifactRequest(name=job.result.artifact)
    artifact = await ArtifactServiceStub(channel).GetArtifact(request)
    assert artifact.kind == artifact_pb.ARTIFACT_KIND_RESULT


@pytest.mark.parametrize("mode", ["wait", "stubborn"])
async def test_a_running_job_is_cancelled(
    stub: CompressionServiceAsyncStub, server: Server, mode: str
) -> None:
    name = await start(stub, spec(mode))
    job = await stub.CancelJob(service_pb.CancelJobRequest(name=name))
    assert job.state == pb.JOB_STATE_CANCELLING
    job = await end(stub, name)
    assert job.state == pb.JOB_STATE_CANCELLED
    assert not job.HasField("error")
    again = await stub.CancelJob(service_pb.CancelJobRequest(name=name))
    assert again == job
    await until(server, "archpress_job_cancel_seconds_count", 1)


async def test_a_worker_without_a_heart_is_killed_from_outside(
    stub: CompressionServiceAsyncStub, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archpress_server.supervisor._LAST_CHANCE_SECONDS", 0.0)
    name = (await stub.CreateJob(service_pb.CreateJobRequest(spec=spec("silent")))).name
    await until(server, "archpress_worker_slots", 1, state="busy")
    await stub.CancelJob(service_pb.CancelJobRequest(name=name))
    assert (await end(stub, name)).state == pb.JOB_STATE_CANCELLED
    await idle(server)


async def test_a_job_that_runs_too_long_times_out(stub: CompressionServiceAsyncStub) -> None:
    job = (await run(stub, spec("wait", max_run_time=Duration(seconds=1))))[-1].completed
    assert (job.state, job.error.code) == (pb.JOB_STATE_FAILED, 4)
    assert b"TIMED_OUT" in job.error.details[0].value


async def test_deleting_a_running_job_frees_its_worker(
    stub: CompressionServiceAsyncStub, server: Server
) -> None:
    name = await start(stub, spec("wait"))
    await stub.DeleteJob(service_pb.DeleteJobRequest(name=name))
    assert (await run(stub, spec("succeed")))[-1].completed.state == pb.JOB_STATE_SUCCEEDED


async def test_draining_gives_jobs_back_and_ends_streams(
    stub: CompressionServiceAsyncStub, server: Server
) -> None:
    name = await start(stub, spec("wait"))
    watch = aiter(stub.WatchJob(service_pb.WatchJobRequest(name=name)))
    await anext(watch)
    stopping = asyncio.create_task(server.stop())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in watch:
            pass
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    trailers: Any = caught.value.trailing_metadata()
    assert b"DRAINING" in dict(trailers)["grpc-status-details-bin"]
    await stopping
    record = server.leases.store.get(name.removeprefix("jobs/"))
    assert (record.state.value, record.attempt) == ("queued", 1)


def labelled(submission: Submission, mode: str, **values: Any) -> Submission:
    return replace(submission, spec=replace(submission.spec, labels={"mode": mode}, **values))


async def becomes(server: Server, job: str, state: State) -> JobRecord:
    """Look by itself, without a call that needs a thread."""
    for _ in range(1000):
        record = server.leases.store.get(job)
        if record.state is state:
            return record
        await asyncio.sleep(0.02)
    raise AssertionError(f"the job is {record.state}")


async def idle(server: Server) -> None:
    """Wait until no worker is left and what it left is settled: one that is told late takes 5 s."""
    async with asyncio.timeout(20):
        while value(server, "archpress_worker_slots", state="busy") or any(
            task.get_name().startswith("worker ") for task in asyncio.all_tasks()
        ):
            await asyncio.sleep(0.05)


async def test_calls_that_hang_hold_up_neither_jobs_nor_draining(
    server: Server, submission: Submission
) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    over = threading.Event()
    hanging = asyncio.create_task(asyncio.to_thread(over.wait, 60))
    done = server.leases.store.create(labelled(submission, "succeed")).id
    await becomes(server, done, State.SUCCEEDED)
    running = server.leases.store.create(labelled(submission, "wait")).id
    await becomes(server, running, State.RUNNING)
    await asyncio.wait_for(server.stop(), 20)
    over.set()
    await hanging
    assert server.leases.store.get(running).state is State.QUEUED


@pytest.mark.parametrize("method", ["purge", "lease_next"])
async def test_an_error_of_any_kind_ends_neither_the_supervisor_nor_the_purge(
    config: ServerConfig, submission: Submission, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    tries: list[int] = []

    def fail(*_: object, **__: object) -> None:
        tries.append(1)
        raise TypeError("odd")

    monkeypatch.setattr("archpress_server.supervisor._PURGE_SECONDS", 0.01)
    prepare_state(config)
    command = (sys.executable, str(FAKE_WORKER))
    server = Server(config, load_catalog(config), worker_command=command, warm=False)
    with monkeypatch.context() as patched:
        patched.setattr(Leases, method, fail)
        await server.start()
        async with asyncio.timeout(20):
            while len(tries) < 2:
                await asyncio.sleep(0.02)
    job = server.leases.store.create(labelled(submission, "succeed")).id
    await becomes(server, job, State.SUCCEEDED)
    await server.stop()


async def test_draining_stops_the_workers_though_all_sweeps_fail(
    server: Server, submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = server.leases.store.create(labelled(submission, "wait")).id
    await becomes(server, job, State.RUNNING)

    def fail(leases: Leases) -> list[JobRecord]:
        raise TypeError("odd")

    monkeypatch.setattr(Leases, "expire", fail)
    async with asyncio.timeout(20):
        while not server._supervisor.fault:
            await asyncio.sleep(0.02)
    await server.stop()
    assert server.leases.store.get(job).state is State.QUEUED


async def test_a_job_that_another_server_timed_out_is_not_counted_again(
    server: Server, leases: Leases, submission: Submission
) -> None:
    job = server.leases.store.create(labelled(submission, "wait", max_run_time_seconds=10.0)).id
    await until(server, "archpress_worker_slots", 1, state="busy")
    other = replace(leases, store=replace(leases.store, clock=lambda: time.time() + 100.0))
    assert [record.id for record in other.time_out()] == [job]
    await idle(server)
    labels = {"outcome": "failed", "reason": "TIMED_OUT"}
    assert value(server, "archpress_job_outcomes_total", **labels) == 0


async def test_a_job_that_times_out_is_counted_once(server: Server, submission: Submission) -> None:
    job = server.leases.store.create(labelled(submission, "wait", max_run_time_seconds=1.0)).id
    await until(server, "archpress_worker_slots", 1, state="busy")
    await becomes(server, job, State.FAILED)
    await idle(server)
    labels = {"outcome": "failed", "reason": "TIMED_OUT"}
    assert value(server, "archpress_job_outcomes_total", **labels) == 1


async def test_a_machine_that_starts_no_process_fails_no_job(
    config: ServerConfig, submission: Submission
) -> None:
    prepare_state(config)
    server = Server(config, load_catalog(config), worker_command=("/no/such/program",), warm=False)
    await server.start()
    job = server.leases.store.create(submission).id
    async with asyncio.timeout(30):
        while (record := server.leases.store.get(job)).attempt <= config.max_attempts:
            assert record.error is None
            await asyncio.sleep(0.05)
    assert "the system starts no process" in server._supervisor.fault
    await server.stop()
    assert server.leases.store.get(job).state is State.QUEUED
