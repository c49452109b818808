"""Models that come in: whole and right, or refused by name; and jobs that start from them."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from onnx import helper

from archpress_proto.v1 import artifact_service_pb2 as pb
from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import jobs_pb2
from archpress_proto.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from archpress_server.compress.types import Compression
from archpress_server.config import ServerConfig
from archpress_server.jobs.model import Submission
from archpress_server.jobs.schema import uploads
from archpress_server.jobs.uploads import Uploads
from archpress_server.onnx_import.read import read_onnx
from archpress_server.server import Server
from archpress_server.service import upload as upload_module
from archpress_server.service.errors import UploadStalledError
from archpress_server.service.upload import CHUNK_BYTES, receive
from archpress_trainer.space.graph import Architecture
from tests.server.onnx_import.files import numbers, plain, written

if TYPE_CHECKING:
    from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceAsyncStub

pytestmark = pytest.mark.usefixtures("each_refusal_moves_one_series")

LIMIT = 1_000_000


def model(shape: tuple[int, ...] = (1, 28, 28), classes: int = 10) -> bytes:
    """Return a model for Fashion-MNIST of more than one chunk."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Flatten", ["c"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "v", "a"], ["y"], name="linear", transB=1),
    ]
    constants = {
        "w": numbers(16, shape[0], 5, 5),
        "v": numbers(classes, 16 * (shape[1] - 4) * (shape[2] - 4)),
        "a": np.zeros(classes, np.float32),
    }
    return written(nodes, constants, shape=("batch", *shape)).SerializeToString()


CONTENT = model()


@pytest.fixture
def config(config: ServerConfig) -> ServerConfig:
    return config.model_copy(
        update={
            "workers": 0,
            "max_artifact_bytes": LIMIT,
            "max_upload_bytes_per_principal": LIMIT,
        }
    )


@pytest.fixture
def artifacts(channel: grpc.aio.Channel) -> Any:
    return ArtifactServiceStub(channel)


def header(content: bytes = CONTENT, **values: Any) -> pb.UploadModelRequest:
    facts = {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return pb.UploadModelRequest(header=pb.UploadModelHeader(**{**facts, **values}))


def chunks(content: bytes = CONTENT, size: int = CHUNK_BYTES) -> list[pb.UploadModelRequest]:
    return [
        pb.UploadModelRequest(data=content[start : start + size])
        for start in range(0, len(content), size)
    ]


def messages(content: bytes = CONTENT, **values: Any) -> list[pb.UploadModelRequest]:
    return [header(content, **values), *chunks(content)]


async def upload(artifacts: Any, content: bytes = CONTENT) -> pb.Artifact:
    answer: pb.Artifact = await artifacts.UploadModel(iter(messages(content)))
    return answer


async def refusal(call: Any) -> tuple[grpc.StatusCode, str, str, dict[str, str]]:
    """Return code, reason, the first field at fault and the metadata of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    trailers = dict(caught.value.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    fields = [violation.field for violation in bad.field_violations]
    return caught.value.code(), info.reason, ", ".join(fields), dict(info.metadata)


async def test_a_model_is_taken_and_given_back(artifacts: Any, server: Server) -> None:
    artifact = await artifacts.UploadModel(iter(messages(display_name="mine.onnx")))
    assert artifact.kind == pb.ARTIFACT_KIND_UPLOAD
    assert (artifact.size_bytes, artifact.display_name, artifact.job) == (
        len(CONTENT),
        "mine.onnx",
        "",
    )
    assert len(artifact.architecture.layers) == 2
    assert artifact.costs.params == 16 * 25 + 10 * 16 * 24 * 24 + 10
    assert await artifacts.GetArtifact(pb.GetArtifactRequest(name=artifact.name)) == artifact
    parts = [
        part.data
        async for part in artifacts.DownloadArtifact(pb.DownloadArtifactRequest(name=artifact.name))
    ]
    assert b"".join(parts) == CONTENT
    assert (await upload(artifacts)).name == artifact.name
    received = server.metrics.registry.get_sample_value(
        "archpress_artifact_bytes_total", {"direction": "received"}
    )
    assert received == 2 * len(CONTENT)


BAD: dict[str, tuple[list[pb.UploadModelRequest], str, str]] = {
    "nothing": ([], "INVALID_FIELD", "header"),
    "no header": (chunks(), "INVALID_FIELD", "header"),
    "an empty message": ([pb.UploadModelRequest()], "INVALID_FIELD", "header"),
    "two headers": ([header(), header()], "INVALID_FIELD", "header"),
    "no size": (messages(size_bytes=0), "INVALID_FIELD", "header.size_bytes"),
    "a negative size": (messages(size_bytes=-1), "INVALID_FIELD", "header.size_bytes"),
    "a huge size": (messages(size_bytes=LIMIT + 1), "LIMIT_EXCEEDED", "header.size_bytes"),
    "too few bytes": (messages()[:-1], "INVALID_FIELD", "header.size_bytes"),
    "too many bytes": ([*messages(), *chunks(b"x")], "INVALID_FIELD", "header.size_bytes"),
    "no hash": (messages(sha256=""), "INVALID_FIELD", "header.sha256"),
    "no such hash": (messages(sha256="A" * 64), "INVALID_FIELD", "header.sha256"),
    "another hash": (messages(sha256="0" * 64), "INVALID_FIELD", "header.sha256"),
    "a long name": (messages(display_name="x" * 129), "INVALID_FIELD", "header.display_name"),
    "a name with a zero": (messages(display_name="\0"), "INVALID_FIELD", "header.display_name"),
    "a large chunk": (
        [header(), *chunks(size=CHUNK_BYTES + 1)],
        "INVALID_FIELD",
        "data",
    ),
    "an empty chunk": ([header(), pb.UploadModelRequest(data=b"")], "INVALID_FIELD", "data"),
    "no model": (messages(b"hello"), "INVALID_ARCHITECTURE", "data"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_upload_is_refused_by_its_field(
    artifacts: Any, server: Server, name: str
) -> None:
    sent, reason, field = BAD[name]
    code, found, fields, _ = await refusal(artifacts.UploadModel(iter(sent)))
    assert (code, found, fields) == (grpc.StatusCode.INVALID_ARGUMENT, reason, field)
    rejected = server.metrics.registry.get_sample_value(
        "archpress_rejected_total", {"reason": reason}
    )
    assert rejected == 1


async def test_the_refusal_reaches_a_client_that_is_still_sending(server: Server) -> None:
    sent = [header(size_bytes=LIMIT + 1), *chunks(bytes(2**22), size=2**16)]

    async def send() -> set[tuple[grpc.StatusCode, str]]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub: Any = ArtifactServiceStub(channel)
            refused = [await refusal(stub.UploadModel(iter(sent))) for _ in range(80)]
            return {(code, reason) for code, reason, _, _ in refused}

    # In a loop of its own, so that both write and read at the same time.
    found = await asyncio.to_thread(asyncio.run, send())
    assert found == {(grpc.StatusCode.INVALID_ARGUMENT, "LIMIT_EXCEEDED")}


async def test_what_cannot_be_expressed_names_its_node(artifacts: Any) -> None:
    odd = plain()
    odd.graph.node[1].op_type = "Selu"
    call = artifacts.UploadModel(iter(messages(odd.SerializeToString())))
    _, reason, _, metadata = await refusal(call)
    assert reason == "INVALID_ARCHITECTURE"
    assert (metadata["node"], metadata["op"]) == ("relu", "Selu")


async def test_a_message_that_is_none_blames_the_caller(channel: grpc.aio.Channel) -> None:
    call: Any = channel.stream_unary("/archpress.v1.ArtifactService/UploadModel")
    code, reason, fields, _ = await refusal(call(iter([b"\xff\xff\xff"])))
    assert (code, reason, fields) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
        "request",
    )


async def test_an_upload_that_stalls_ends() -> None:
    async def stalling() -> AsyncIterator[pb.UploadModelRequest]:
        yield header()
        await asyncio.sleep(60)

    with pytest.raises(UploadStalledError, match=r"no bytes of an upload came for 0\.05 seconds"):
        await receive(stalling(), LIMIT, lambda size: None, idle_seconds=0.05)


async def test_an_upload_that_trickles_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def trickling() -> AsyncIterator[pb.UploadModelRequest]:
        yield header(size_bytes=LIMIT)
        while True:
            yield pb.UploadModelRequest(data=b"x")
            await asyncio.sleep(0.01)

    monkeypatch.setattr(upload_module, "LEAST_BYTES_PER_SECOND", 10 * LIMIT)
    text = rf"{LIMIT} bytes may take 0 seconds, and they have not come"
    with pytest.raises(UploadStalledError, match=text):
        await receive(trickling(), LIMIT, lambda size: None, idle_seconds=0.1)


async def test_who_stalls_is_to_send_again(artifacts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "__kwdefaults__", {"idle_seconds": 0.05})
    release = asyncio.Event()

    async def stalling() -> AsyncIterator[pb.UploadModelRequest]:
        yield header()
        await release.wait()

    code, reason, _, _ = await refusal(artifacts.UploadModel(stalling()))
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "UPLOAD_STALLED")
    release.set()


async def test_room_is_limited(artifacts: Any) -> None:
    await upload(artifacts)
    await upload(artifacts, model(shape=(3, 28, 28)))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await upload(artifacts, model(shape=(5, 28, 28)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "your uploaded models take" in (caught.value.details() or "")


async def test_few_uploads_run_at_one_time(artifacts: Any) -> None:
    release = asyncio.Event()

    async def slow() -> AsyncIterator[pb.UploadModelRequest]:
        yield header()
        await release.wait()
        for chunk in chunks():
            yield chunk

    running = [asyncio.ensure_future(artifacts.UploadModel(slow())) for _ in range(4)]
    async with asyncio.timeout(10):
        while True:
            await asyncio.sleep(0.05)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await artifacts.UploadModel(iter([]))
            if caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                break
    release.set()
    assert len({artifact.name for artifact in await asyncio.gather(*running)}) == 1


async def test_models_are_read_one_after_another(
    artifacts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, most = 0, 0

    async def inspect(content: bytes) -> Architecture:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        await asyncio.sleep(0.2)
        reading -= 1
        return read_onnx(content).architecture

    monkeypatch.setattr("archpress_server.service.artifact.inspect_onnx", inspect)
    await asyncio.gather(*(upload(artifacts) for _ in range(3)))
    assert most == 1


def spec(artifact: str) -> jobs_pb2.JobSpec:
    return jobs_pb2.JobSpec(
        artifact=artifact, dataset="fashion-mnist", budget=jobs_pb2.Budget(max_params=20_000)
    )


async def test_a_job_starts_from_an_upload(
    artifacts: Any, stub: CompressionServiceAsyncStub, server: Server
) -> None:
    artifact = await upload(artifacts)
    job = await stub.CreateJob(service_pb.CreateJobRequest(spec=spec(artifact.name)))
    assert job.spec.artifact == artifact.name
    stored = server.leases.store.get(job.name.removeprefix("jobs/"))
    assert f"artifacts/{stored.spec.artifact}" == artifact.name
    assert stored.spec.request.architecture.classes == 10


async def test_a_request_that_comes_again_finds_its_job_after_the_upload_expired(
    artifacts: Any, stub: CompressionServiceAsyncStub, server: Server
) -> None:
    artifact = await upload(artifacts)
    request = service_pb.CreateJobRequest(spec=spec(artifact.name), request_id=str(uuid.uuid4()))
    job = await stub.CreateJob(request)
    await stub.CancelJob(service_pb.CancelJobRequest(name=job.name))
    store = server.leases.store
    with store.database.write() as connection:
        connection.execute(uploads.update().values(expire_time=0.0))
    Uploads(store).purge()
    assert (await stub.CreateJob(request)).name == job.name


async def refused_jobs(
    stub: CompressionServiceAsyncStub, names: Iterable[str]
) -> list[tuple[grpc.StatusCode, str, str, dict[str, str]]]:
    return [
        await refusal(stub.CreateJob(service_pb.CreateJobRequest(spec=spec(name))))
        for name in names
    ]


async def test_a_job_needs_an_upload_that_fits(
    artifacts: Any,
    stub: CompressionServiceAsyncStub,
    server: Server,
    submission: Submission,
    compression: Compression,
) -> None:
    coloured = await upload(artifacts, model(shape=(3, 28, 28)))
    leases = server.leases
    made = leases.store.create(submission).id
    leases.lease_next("w")
    done = leases.succeed(made, 1, replace(compression, model=b"x"))
    assert done is not None
    assert done.result is not None
    gone = "artifacts/01a20c62-4f83-7704-85b7-4ab1ca3c2720"
    found = await refused_jobs(
        stub, (coloured.name, f"artifacts/{done.result.artifact}", gone, "artifacts/x")
    )
    assert [(code, reason, field) for code, reason, field, _ in found] == [
        (grpc.StatusCode.INVALID_ARGUMENT, "SHAPE_MISMATCH", "spec.artifact"),
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "spec.artifact"),
        (grpc.StatusCode.NOT_FOUND, "ARTIFACT_NOT_FOUND", ""),
        (grpc.StatusCode.NOT_FOUND, "ARTIFACT_NOT_FOUND", ""),
    ]
