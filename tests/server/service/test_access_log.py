"""The log's line for each call, and the id that caller and log share."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from structlog.testing import capture_logs

from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_server.config import ServerConfig

if TYPE_CHECKING:
    from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceAsyncStub

CREATE = "/archpress.v1.CompressionService/CreateJob"
SPEC = pb.JobSpec(network="conv-7", dataset="fashion-mnist")


@pytest.fixture
def config(config: ServerConfig) -> ServerConfig:
    return config.model_copy(update={"workers": 0})


async def test_a_call_is_one_line(stub: CompressionServiceAsyncStub) -> None:
    with capture_logs() as lines:
        await stub.CreateJob(service_pb.CreateJobRequest(spec=SPEC))
    (line,) = (line for line in lines if line["event"] == "call")
    assert (line["method"], line["code"], line["reason"]) == (CREATE, "OK", "")
    assert line["log_level"] == "info"
    assert 0 < line["seconds"] < 10


async def test_a_refusal_says_its_reason(stub: CompressionServiceAsyncStub) -> None:
    request = service_pb.CreateJobRequest(spec=pb.JobSpec(network="conv-7", dataset="nothing"))
    with capture_logs() as lines, pytest.raises(grpc.aio.AioRpcError):
        await stub.CreateJob(request)
    (line,) = (line for line in lines if line["event"] == "call")
    assert (line["code"], line["reason"]) == ("INVALID_ARGUMENT", "UNKNOWN_DATASET")


async def test_successful_reading_is_for_debugging_only(
    stub: CompressionServiceAsyncStub,
) -> None:
    job = await stub.CreateJob(service_pb.CreateJobRequest(spec=SPEC))
    with capture_logs() as lines:
        await stub.GetJob(service_pb.GetJobRequest(name=job.name))
    assert [line["log_level"] for line in lines if line["event"] == "call"] == ["debug"]


async def trailing(call: Any) -> str:
    with contextlib.suppress(grpc.aio.AioRpcError):
        await call
    return str(dict(await call.trailing_metadata())["x-request-id"])


async def test_the_callers_id_comes_back(stub: CompressionServiceAsyncStub) -> None:
    good = service_pb.CreateJobRequest(spec=SPEC)
    for request in (good, service_pb.CreateJobRequest()):
        call = stub.CreateJob(request, metadata=(("x-request-id", "build-7:a.b"),))
        assert await trailing(call) == "build-7:a.b"


@pytest.mark.parametrize("sent", ["", "two words", "x" * 65, 'a"b'])
async def test_an_odd_id_is_replaced(stub: CompressionServiceAsyncStub, sent: str) -> None:
    call = stub.CreateJob(
        service_pb.CreateJobRequest(spec=SPEC), metadata=(("x-request-id", sent),)
    )
    found = await trailing(call)
    assert found != sent
    assert len(found) == 32


async def test_a_stream_has_an_id_too(stub: CompressionServiceAsyncStub) -> None:
    stream = stub.WatchJob(service_pb.WatchJobRequest(name="jobs/none"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(aiter(stream))
    assert len(dict(caught.value.trailing_metadata() or ())["x-request-id"]) == 32
