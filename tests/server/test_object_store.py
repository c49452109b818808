"""A server and its workers whose artifacts are in S3, which goes away and comes back."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import grpc
import pytest

from archpress_proto.v1 import artifact_service_pb2 as artifact_pb
from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_proto.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from archpress_server.__main__ import main
from archpress_server.compress.checkpoints import NO_CHECKPOINTS
from archpress_server.compress.types import Compression
from archpress_server.config import ServerConfig
from archpress_server.jobs.files import file_name
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import State, Submission
from archpress_server.worker import run
from archpress_server.worker.observer import JobObserver
from tests.server.object_store import BUCKET, ObjectStore, running_object_store

if TYPE_CHECKING:
    from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceAsyncStub


@pytest.fixture
def object_store() -> Iterator[ObjectStore]:
    with running_object_store() as store:
        yield store


@pytest.fixture
def config(config: ServerConfig, object_store: ObjectStore) -> ServerConfig:
    return config.model_copy(update={"artifacts_url": f"s3://{BUCKET}/{config.state_dir.name}"})


async def test_a_job_stores_in_s3_and_downloads_survive_an_outage(
    stub: CompressionServiceAsyncStub, channel: grpc.aio.Channel, object_store: ObjectStore
) -> None:
    spec = pb.JobSpec(network="conv-7", dataset="fashion-mnist")
    call = stub.Compress(service_pb.CompressRequest(spec=spec), timeout=60)
    job = [event async for event in call][-1].completed
    assert job.state == pb.JOB_STATE_SUCCEEDED
    request = artifact_pb.DownloadArtifactRequest(name=job.result.artifact)

    async def download() -> list[artifact_pb.DownloadArtifactResponse]:
        return [part async for part in ArtifactServiceStub(channel).DownloadArtifact(request)]

    parts = await download()
    model = b"".join(part.data for part in parts)
    assert hashlib.sha256(model).hexdigest() == parts[0].info.sha256
    await asyncio.to_thread(object_store.stop)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await download()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await asyncio.to_thread(object_store.start)
    assert b"".join(part.data for part in await download()) == model


def test_a_finished_model_waits_for_s3_to_come_back(
    config: ServerConfig,
    leases: Leases,
    submission: Submission,
    compression: Compression,
    object_store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "_STORE_SECONDS", 0.1)
    job = leases.store.create(submission).id
    leases.lease_next("w")
    back = threading.Timer(3.0, object_store.start)

    def compress(*_: object) -> Compression:
        object_store.stop()
        back.start()
        return compression

    monkeypatch.setattr(run, "_compress", compress)
    observer = JobObserver(leases, job, 1, threading.Event())
    run.run_attempt(leases, config, observer, NO_CHECKPOINTS, job, 1)
    back.join()
    record = leases.store.get(job)
    assert (record.state, record.attempt) == (State.SUCCEEDED, 1)
    size = len(compression.model)
    assert leases.store.files.read(file_name(compression.model), 0, size) == compression.model


def test_a_missing_bucket_ends_the_start_with_one_line(
    config: ServerConfig, object_store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    state = str(config.state_dir)
    arguments = ["--port", "0", "--state-dir", state, "--artifacts-url", "s3://absent/a"]
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "artifacts_url s3://absent/a cannot be written" in line
    assert [b["Name"] for b in object_store.client.list_buckets()["Buckets"]] == [BUCKET]
