"""Reports as a caller gets them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import grpc
import pytest

from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_server.server import Server

if TYPE_CHECKING:
    from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceAsyncStub

SPEC = pb.JobSpec(network="conv-7", dataset="fashion-mnist", budget=pb.Budget(max_params=50_000))


async def test_a_job_is_drawn_when_it_is_made_and_when_it_is_done(
    stub: CompressionServiceAsyncStub,
) -> None:
    job = await stub.CreateJob(service_pb.CreateJobRequest(spec=SPEC))
    request = service_pb.GetReportRequest(name=job.name)
    early = (await stub.GetReport(request, timeout=60)).html.decode()
    async for event in stub.WatchJob(service_pb.WatchJobRequest(name=job.name), timeout=60):
        end = event
    late = (await stub.GetReport(request, timeout=60)).html.decode()
    assert job.name in early
    assert end.completed.result.certificate.sha256 in late
    assert len(late.encode()) < 2**22


async def test_there_is_none_of_a_job_that_is_not_there(stub: CompressionServiceAsyncStub) -> None:
    request = service_pb.GetReportRequest(name=f"jobs/{uuid.uuid4()}")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetReport(request)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_too_many_at_once_are_told_to_come_later(
    stub: CompressionServiceAsyncStub, server: Server
) -> None:
    job = await stub.CreateJob(service_pb.CreateJobRequest(spec=SPEC))
    request = service_pb.GetReportRequest(name=job.name)
    calls = [stub.GetReport(request, timeout=120) for _ in range(18)]
    codes = [await call.code() for call in calls]
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 2
    assert codes.count(grpc.StatusCode.OK) == 16


async def test_one_that_takes_too_long_is_refused(
    stub: CompressionServiceAsyncStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archpress_server.planner.MOST_SECONDS", 0.2)
    job = await stub.CreateJob(service_pb.CreateJobRequest(spec=SPEC))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetReport(service_pb.GetReportRequest(name=job.name))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "a plan or report may take 0.2 seconds" in (caught.value.details() or "")
