"""A result that is there already, as a caller sees it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import grpc
import pytest

from archpress_proto.v1 import artifact_service_pb2 as artifact_pb
from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_proto.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from archpress_server.config import ServerConfig
from archpress_server.jobs.store import JobStore
from archpress_server.server import Server

if TYPE_CHECKING:
    from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceAsyncStub


@pytest.fixture
def config(config: ServerConfig) -> ServerConfig:
    return config.model_copy(update={"result_cache": True})


async def run(stub: CompressionServiceAsyncStub, **values: object) -> list[pb.JobEvent]:
    spec = pb.JobSpec(network="conv-7", dataset="fashion-mnist")
    spec.MergeFrom(pb.JobSpec(**values))  # type: ignore[arg-type]
    call = stub.Compress(service_pb.CompressRequest(spec=spec), timeout=30)
    return [event async for event in call]


async def test_an_equal_request_is_answered_at_once_and_counted(
    stub: CompressionServiceAsyncStub, channel: grpc.aio.Channel, server: Server
) -> None:
    def count(outcome: str) -> float | None:
        labels = {"outcome": outcome}
        return server.metrics.registry.get_sample_value("archpress_result_cache_total", labels)

    assert (count("hit"), count("miss")) == (0, 0)
    computed = (await run(stub))[-1].completed
    assert computed.state == pb.JOB_STATE_SUCCEEDED
    assert not computed.cached_result
    queued, end = await run(stub, labels={"another": "label"}, priority=3)
    assert queued.snapshot.state == pb.JOB_STATE_QUEUED
    job = end.completed
    assert (job.state, job.cached_result) == (pb.JOB_STATE_SUCCEEDED, True)
    assert job.result.artifact != computed.result.artifact
    assert job.result.certificate == computed.result.certificate
    artifacts = ArtifactServiceStub(channel)
    files = []
    for name in (computed.result.artifact, job.result.artifact):
        call = artifacts.DownloadArtifact(artifact_pb.DownloadArtifactRequest(name=name))
        files.append(b"".join([part.data async for part in call]))
    assert files[0] == files[1] != b""
    other = (await run(stub, seed=1))[-1].completed
    assert not other.cached_result
    assert (count("hit"), count("miss")) == (1, 2)


async def test_a_store_that_does_not_answer_keeps_no_job_from_being_created(
    stub: CompressionServiceAsyncStub, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(JobStore, "earlier_result", lambda *_: over.wait(60) and None)
    monkeypatch.setattr("archpress_server.service.compression._CHECK_SECONDS", 0.05)
    request = service_pb.CreateJobRequest(
        spec=pb.JobSpec(network="conv-7", dataset="fashion-mnist")
    )
    try:
        for _ in range(6):
            job = await stub.CreateJob(request, timeout=10)
            assert (await stub.GetJob(service_pb.GetJobRequest(name=job.name))).name == job.name
    finally:
        over.set()
