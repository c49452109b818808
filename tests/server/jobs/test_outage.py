"""A database that goes away and comes back, without a restart of the server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from google.rpc import error_details_pb2, status_pb2
from structlog.testing import capture_logs

from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceStub
from archpress_server.catalog import load_catalog
from archpress_server.compress.types import Compression
from archpress_server.config import ServerConfig
from archpress_server.jobs.leases import Leases
from archpress_server.server import Server
from archpress_server.state import prepare_state

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

SPEC = pb.JobSpec(network="conv-7", dataset="fashion-mnist")


class Line:
    """A line to a database server that can be cut: connections end and new ones are refused."""

    def __init__(self, url: sa.URL) -> None:
        self._url = url
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._carried: list[asyncio.Task[None]] = []
        self.port = 0

    @property
    def url(self) -> str:
        options = {"options": self._url.query["options"]}
        url = self._url.set(host="127.0.0.1", port=self.port, query=options)
        return url.render_as_string(hide_password=False)

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        await asyncio.gather(*self._carried)
        await self._server.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = str(self._url.host or self._url.query["host"]), self._url.port or 5432
        if host.startswith("/"):
            path = Path(host) / f".s.PGSQL.{port}"
            far_reader, far_writer = await asyncio.open_unix_connection(str(path))
        else:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        self._writers |= {writer, far_writer}
        self._carried.append(asyncio.create_task(_copy(reader, far_writer)))
        self._carried.append(asyncio.create_task(_copy(far_reader, writer)))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
def config(config: ServerConfig) -> ServerConfig:
    """No workers: the tests do their work."""
    return config.model_copy(update={"workers": 0})


@pytest.fixture
async def line(config: ServerConfig) -> AsyncIterator[Line]:
    line = Line(sa.make_url(config.database_url))
    await line.mend()
    yield line
    await line.cut()


@pytest.fixture
async def far_server(config: ServerConfig, line: Line) -> AsyncIterator[Server]:
    """A server at the other end of the line."""
    prepare_state(config)
    far = config.model_copy(update={"database_url": line.url})
    server = Server(far, load_catalog(far), warm=False)
    with capture_logs() as lines:
        await server.start()
        yield server
        await server.stop()
    assert any(line["event"] == "the job store cannot be reached" for line in lines)


async def is_unavailable(call: Awaitable[Any]) -> bool:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    metadata: Any = caught.value.trailing_metadata()
    status = status_pb2.Status.FromString(dict(metadata)["grpc-status-details-bin"])
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(retry)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    return str(info.reason) == "DATABASE_UNAVAILABLE"


async def moves(server: Server, name: str, **labels: str) -> bool:
    """Wait until a series is above 0."""
    async with asyncio.timeout(20):
        while not server.metrics.registry.get_sample_value(name, labels):
            await asyncio.sleep(0.02)
    return True


async def test_calls_say_that_the_database_is_away_and_work_once_it_is_back(
    far_server: Server, line: Line, leases: Leases, compression: Compression
) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{far_server.port}") as channel:
        stub = CompressionServiceStub(channel)
        create = service_pb.CreateJobRequest(spec=SPEC)
        job = await stub.CreateJob(create)
        get = service_pb.GetJobRequest(name=job.name)
        for _ in range(2):
            await line.cut()
            assert await is_unavailable(stub.GetJob(get))
            assert await is_unavailable(stub.CreateJob(create))
            assert await is_unavailable(stub.ListJobs(service_pb.ListJobsRequest()))
            watch = stub.WatchJob(service_pb.WatchJobRequest(name=job.name))
            assert await is_unavailable(watch.read())
            # The supervisor, too, asks while the line is cut.
            assert await moves(far_server, "archpress_store_failures_total", what="database")
            await line.mend()
            assert (await stub.GetJob(get)).state == pb.JOB_STATE_QUEUED
        assert await moves(far_server, "archpress_queue_oldest_age_seconds")
        await line.cut()
        leases.lease_next("w")
        leases.succeed(job.name.removeprefix("jobs/"), 1, compression)
        await line.mend()
        watch = stub.WatchJob(service_pb.WatchJobRequest(name=job.name, after_seq=1))
        assert [event.seq async for event in watch] == [2, 3]
        assert len((await stub.ListJobs(service_pb.ListJobsRequest())).jobs) == 1
