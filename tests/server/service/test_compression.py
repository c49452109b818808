"""Jobs that are stored and asked for, where what is stored is unusual."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest

from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_server.config import ServerConfig
from archpress_server.jobs.model import State, Submission
from archpress_server.jobs.schema import jobs
from archpress_server.server import Server

if TYPE_CHECKING:
    from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceAsyncStub


@pytest.fixture
def config(config: ServerConfig) -> ServerConfig:
    """No workers: what is stored stays."""
    return config.model_copy(update={"workers": 0})


async def test_a_page_of_large_jobs_ends_before_the_message_is_full(
    stub: CompressionServiceAsyncStub, submission: Submission, server: Server
) -> None:
    labels = {f"label-{index}": "\N{GRINNING FACE}" * 128 for index in range(32)}
    spec = replace(submission.spec, labels=labels)
    made = {server.leases.store.create(replace(submission, spec=spec)).id for _ in range(260)}
    found, token, pages = set[str](), "", 0
    while token or not pages:
        page = await stub.ListJobs(service_pb.ListJobsRequest(page_size=1000, page_token=token))
        assert page.ByteSize() < 2**21
        found |= {job.name.removeprefix("jobs/") for job in page.jobs}
        token, pages = page.next_page_token, pages + 1
    assert found == made
    assert pages == 3


async def test_a_job_of_another_version_is_told_apart_from_none(
    stub: CompressionServiceAsyncStub, submission: Submission, server: Server
) -> None:
    job = server.leases.store.create(submission).id
    request = service_pb.GetJobRequest(name=f"jobs/{job}")
    for state, code in (
        (State.QUEUED, grpc.StatusCode.UNAVAILABLE),
        (State.FAILED, grpc.StatusCode.INTERNAL),
    ):
        with server.leases.store.database.write() as connection:
            foreign = {"spec": '{"news": 1}', "state": state}
            connection.execute(jobs.update().where(jobs.c.id == job).values(**foreign))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetJob(request)
        assert caught.value.code() is code
        assert "is of another version of the server" in (caught.value.details() or "")
