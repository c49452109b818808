"""Who may call what, and what others are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection_pb2  # type: ignore[import-untyped]

from archpress_proto.v1 import artifact_service_pb2 as artifact_pb
from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_proto.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from archpress_server.auth.scopes import METHOD_SCOPES, Scope
from archpress_server.catalog import load_catalog
from archpress_server.compress.types import Compression
from archpress_server.config import ServerConfig
from archpress_server.jobs.model import new_id
from archpress_server.planner import Planner
from archpress_server.server import Server
from archpress_server.service.interceptors import SERVICES
from archpress_server.service.places import Places
from archpress_server.state import prepare_state
from tests.server.service.principals import Principals

SPEC = pb.JobSpec(network="conv-7", dataset="fashion-mnist")
COMPRESSION = "/archpress.v1.CompressionService/"
ARTIFACTS = "/archpress.v1.ArtifactService/"
UNKNOWN_CALLERS = {
    "": "TOKEN_MISSING",
    "nobody": "TOKEN_INVALID",
    "expired": "TOKEN_EXPIRED",
    "revoked": "TOKEN_REVOKED",
}
Refused = tuple[grpc.StatusCode, str, dict[str, str], str]


@pytest.fixture
def principals(tmp_path: Path) -> Principals:
    principals = Principals(tmp_path / "tokens.json")
    principals.tokens["nobody"] = "ap_" + "x" * 43
    return principals


@pytest.fixture
def config(config: ServerConfig, principals: Principals) -> ServerConfig:
    settings = {"workers": 0, "auth": "token", "tokens_file": str(principals.path)}
    return config.model_copy(update=settings)


class Api:
    """Makes calls by the method's name, with the token of a principal."""

    def __init__(self, channel: grpc.aio.Channel, principals: Principals) -> None:
        self._channel = channel
        self._principals = principals

    def call(self, method: str, principal: str, message: bytes = b"") -> Any:
        metadata = self._principals.metadata(principal) if principal else ()
        found = _DESCRIPTORS[method]
        multi: Any = {
            (False, False): self._channel.unary_unary,
            (False, True): self._channel.unary_stream,
            (True, False): self._channel.stream_unary,
        }[found.client_streaming, found.server_streaming]
        request = iter([message]) if found.client_streaming else message
        answer = GetMessageClass(found.output_type).FromString
        return multi(method, response_deserializer=answer)(request, metadata=metadata)

    async def refusal(self, method: str, principal: str, message: bytes = b"") -> Refused:
        """Return code, reason, metadata and text of a call that must fail."""
        call = self.call(method, principal, message)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await (call.read() if _DESCRIPTORS[method].server_streaming else call)
        return refused(caught.value)

    async def create(self, principal: str, **values: Any) -> pb.Job:
        request = service_pb.CreateJobRequest(spec=SPEC, **values)
        job: pb.Job = await self.call(
            COMPRESSION + "CreateJob", principal, request.SerializeToString()
        )
        return job


def refused(error: grpc.aio.AioRpcError) -> Refused:
    trailers: Any = error.trailing_metadata()
    status = status_pb2.Status.FromString(dict(trailers)["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert f"ERROR_REASON_{info.reason}" in pb.ErrorReason.DESCRIPTOR.values_by_name
    return error.code(), info.reason, dict(info.metadata), error.details() or ""


_DESCRIPTORS: dict[str, Any] = {
    f"/{service.full_name}/{method.name}": method
    for service in SERVICES
    for method in service.methods
}


@pytest.fixture
def api(channel: grpc.aio.Channel, principals: Principals) -> Api:
    return Api(channel, principals)


def failures(server: Server) -> dict[str, float]:
    return {
        sample.labels["reason"]: sample.value
        for metric in server.metrics.auth_failures.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


def moved(server: Server, before: dict[str, float]) -> dict[str, float]:
    after = failures(server)
    return {
        reason: after[reason] - before[reason]
        for reason in after
        if after[reason] != before[reason]
    }


def test_every_method_of_the_api_has_a_scope() -> None:
    assert set(METHOD_SCOPES) == set(_DESCRIPTORS)
    assert Scope.ADMIN not in METHOD_SCOPES.values()


@pytest.mark.parametrize("method", METHOD_SCOPES)
async def test_unknown_callers_reach_no_method(api: Api, server: Server, method: str) -> None:
    for principal, reason in UNKNOWN_CALLERS.items():
        # Not even to learn that their message is malformed.
        for message in (b"", b"\xff"):
            before = failures(server)
            code, told, _, text = await api.refusal(method, principal, message)
            assert (code, told) == (grpc.StatusCode.UNAUTHENTICATED, reason)
            assert "xxx" not in text
            assert moved(server, before) == {reason: 1}


@pytest.mark.parametrize("method", METHOD_SCOPES)
async def test_the_scope_of_the_method_is_needed(api: Api, server: Server, method: str) -> None:
    scope = METHOD_SCOPES[method]
    principal = "writer" if scope is Scope.READ else "reader"
    before = failures(server)
    code, reason, metadata, _ = await api.refusal(method, principal)
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
    assert metadata == {"scope": scope.value}
    assert moved(server, before) == {"SCOPE_MISSING": 1}


@pytest.mark.parametrize("method", ["GetJob", "GetReport", "WatchJob", "CancelJob", "DeleteJob"])
async def test_a_job_of_another_is_the_same_as_none(api: Api, server: Server, method: str) -> None:
    job = await api.create("alice")
    before = failures(server)
    texts = set()
    names = (job.name, f"jobs/{new_id()}", "jobs/odd")
    for name in names:
        message = service_pb.GetJobRequest(name=name).SerializeToString()
        code, reason, metadata, text = await api.refusal(COMPRESSION + method, "bob", message)
        assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_OWNER")
        assert metadata == {"name": name}
        texts.add(text.replace(name, "NAME"))
    assert len(texts) == 1
    assert moved(server, before) == {"NOT_OWNER": 3}
    message = service_pb.GetJobRequest(name=f"jobs/{new_id()}").SerializeToString()
    code, reason, _, _ = await api.refusal(COMPRESSION + method, "admin", message)
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
    state = (await asyncio.to_thread(server.leases.store.get, job.name[5:])).state
    assert state == "queued"


@pytest.mark.parametrize("method", ["GetArtifact", "DownloadArtifact"])
async def test_an_artifact_of_another_is_the_same_as_none(
    api: Api, server: Server, compression: Compression, method: str
) -> None:
    job = await api.create("alice")
    server.leases.lease_next("w")
    server.leases.succeed(job.name[5:], 1, compression)
    message = service_pb.GetJobRequest(name=job.name).SerializeToString()
    done = await api.call(COMPRESSION + "GetJob", "alice", message)
    for name in (done.result.artifact, f"artifacts/{new_id()}"):
        message = artifact_pb.GetArtifactRequest(name=name).SerializeToString()
        code, reason, metadata, _ = await api.refusal(ARTIFACTS + method, "bob", message)
        assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_OWNER")
        assert metadata == {"name": name}
    code, reason, _, _ = await api.refusal(ARTIFACTS + method, "admin", message)
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "ARTIFACT_NOT_FOUND")
    message = artifact_pb.GetArtifactRequest(name=done.result.artifact).SerializeToString()
    for principal in ("alice", "admin"):
        call = api.call(ARTIFACTS + method, principal, message)
        assert await (call.read() if method == "DownloadArtifact" else call)


async def test_lists_hold_the_callers_own_jobs(api: Api) -> None:
    request_id = "6f5902ac-237f-4d2a-a1f5-0a0f3b8c7d11"
    mine = await api.create("alice", request_id=request_id)
    # The same id of another principal is another request.
    theirs = await api.create("bob", request_id=request_id)
    assert mine.name != theirs.name
    listed = {}
    for principal in ("alice", "bob", "reader", "admin"):
        answer = await api.call(COMPRESSION + "ListJobs", principal)
        listed[principal] = {job.name for job in answer.jobs}
    assert listed == {
        "alice": {mine.name},
        "bob": {theirs.name},
        "reader": set(),
        "admin": {mine.name, theirs.name},
    }


async def test_probes_and_tools_need_no_token(channel: grpc.aio.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert await reflect(channel)


async def test_reflection_can_be_off(config: ServerConfig) -> None:
    config = config.model_copy(update={"reflection": False})
    prepare_state(config)
    server = Server(config, load_catalog(config), warm=False)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await reflect(channel)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    finally:
        await server.stop()


async def reflect(channel: grpc.aio.Channel) -> list[Any]:
    method = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    return [answer async for answer in method(iter([request]))]


@pytest.mark.parametrize(
    ("change", "code", "reason"),
    [
        ("revoke", grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED"),
        ("remove", grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED"),
        ("expire", grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED"),
        ("scope", grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"),
    ],
)
async def test_a_watch_ends_with_the_right_to_watch(
    api: Api, server: Server, principals: Principals, change: str, code: Any, reason: str
) -> None:
    job = await api.create("alice")
    message = service_pb.WatchJobRequest(name=job.name).SerializeToString()
    watch = aiter(api.call(COMPRESSION + "WatchJob", "alice", message))
    other = aiter(api.call(COMPRESSION + "WatchJob", "admin", message))
    assert (await anext(watch)).seq == (await anext(other)).seq == 1
    now = datetime.now(UTC)
    match change:
        case "revoke":
            principals.change("alice", revoke_time=now)
        case "expire":
            principals.change("alice", expire_time=now + timedelta(seconds=0.5))
        case "scope":
            principals.change("alice", scopes=frozenset({Scope.COMPRESS}))
        case _:
            principals.remove("alice")
    start = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(anext(watch), 30)
    assert refused(caught.value)[:2] == (code, reason)
    # Two looks at the file, and much more for a busy machine.
    assert time.monotonic() - start < 10
    server.leases.store.request_cancel(job.name[5:])
    assert [event async for event in other][-1].WhichOneof("event") == "completed"


async def test_an_upload_ends_with_the_right_to_upload(
    api: Api, server: Server, principals: Principals, channel: grpc.aio.Channel
) -> None:
    def received() -> float:
        sent = {"direction": "received"}
        value = server.metrics.registry.get_sample_value("archpress_artifact_bytes_total", sent)
        return value or 0.0

    async def trickling() -> AsyncIterator[artifact_pb.UploadModelRequest]:
        head = artifact_pb.UploadModelHeader(size_bytes=100_000, sha256="0" * 64)
        yield artifact_pb.UploadModelRequest(header=head)
        while not is_revoked.is_set():
            yield artifact_pb.UploadModelRequest(data=b"x")
            await asyncio.sleep(0.05)
        # A message that is being sent when the server ends the call may hide the call's status.
        await asyncio.Event().wait()

    is_revoked = asyncio.Event()
    stub: Any = ArtifactServiceStub(channel)
    call = stub.UploadModel(trickling(), metadata=principals.metadata("alice"))
    async with asyncio.timeout(20):
        while not received():
            await asyncio.sleep(0.02)
    is_revoked.set()
    principals.change("alice", revoke_time=datetime.now(UTC))
    start = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call, 30)
    assert refused(caught.value)[:2] == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED")
    assert time.monotonic() - start < 10


async def test_one_principal_leaves_room_for_others(
    principals: Principals, channel: grpc.aio.Channel
) -> None:
    release = asyncio.Event()

    async def waiting() -> AsyncIterator[artifact_pb.UploadModelRequest]:
        head = artifact_pb.UploadModelHeader(size_bytes=1, sha256="0" * 64)
        yield artifact_pb.UploadModelRequest(header=head)
        await release.wait()
        yield artifact_pb.UploadModelRequest(data=b"x")

    def uploading(principal: str) -> Any:
        return stub.UploadModel(waiting(), metadata=principals.metadata(principal))

    stub: Any = ArtifactServiceStub(channel)
    running = [uploading("alice") for _ in range(3)]

    async def refused_with(words: str, principal: str) -> None:
        """Wait until one more upload, of nothing, is refused so."""
        async with asyncio.timeout(10):
            while True:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.UploadModel(iter([]), metadata=principals.metadata(principal))
                if words in (caught.value.details() or ""):
                    break
                await asyncio.sleep(0.05)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    await refused_with("3 of your uploads are under way", "alice")
    running.append(uploading("bob"))
    await refused_with("4 uploads are under way", "bob")
    release.set()
    ends = await asyncio.gather(*running, return_exceptions=True)
    # All came to the end, where their bytes turned out to be others than announced.
    codes = [end.code() for end in ends if isinstance(end, grpc.aio.AioRpcError)]
    assert codes == [grpc.StatusCode.INVALID_ARGUMENT] * 4


async def test_one_principal_leaves_reports_to_others(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = asyncio.Event()

    async def drawn(*_: object) -> bytes:
        await release.wait()
        return b"<html>"

    monkeypatch.setattr(Planner, "report", drawn)

    async def reporting(principal: str, number: int) -> list[Any]:
        name = (await api.create(principal)).name
        message = service_pb.GetReportRequest(name=name).SerializeToString()
        return [api.call(COMPRESSION + "GetReport", principal, message) for _ in range(number)]

    alices = await reporting("alice", 9)
    async with asyncio.timeout(10):
        while not (refused := [call for call in alices if call.done()]):
            await asyncio.sleep(0.05)
    assert "8 of your plans and reports are under way" in await refused[0].details()
    (bobs,) = await reporting("bob", 1)
    release.set()
    assert await bobs.code() is grpc.StatusCode.OK
    codes = [await call.code() for call in alices]
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 1
    assert codes.count(grpc.StatusCode.OK) == 8


async def test_one_principal_leaves_streams_to_others(api: Api, server: Server) -> None:
    server._auth._streams = Places("streams", 3, 2)

    async def watch(principal: str) -> Any:
        name = (await api.create(principal)).name
        message = service_pb.WatchJobRequest(name=name).SerializeToString()
        stream = api.call(COMPRESSION + "WatchJob", principal, message)
        return stream, await stream.read()

    first, _ = await watch("alice")
    await watch("alice")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await watch("alice")
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    text = "2 of your streams are under way, which is the most that may"
    assert caught.value.details() == text
    await watch("bob")
    first.cancel()
    async with asyncio.timeout(10):
        while server._auth._streams._taken["alice"] == 2:
            await asyncio.sleep(0.05)
    await watch("alice")


async def test_tokens_that_are_added_work_at_once(
    api: Api, server: Server, principals: Principals
) -> None:
    method = COMPRESSION + "ListJobs"
    assert (await api.refusal(method, "revoked"))[1] == "TOKEN_REVOKED"
    principals.change("revoked", revoke_time=None)
    for _ in range(100):
        try:
            await api.call(method, "revoked")
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.1)
        else:
            break
    else:
        raise AssertionError("the changed file was not read")
    principals.path.write_text("{")
    for _ in range(100):
        broken = server.metrics.reload_failures.labels("tokens")._value.get()
        if broken:
            break
        await asyncio.sleep(0.1)
    assert broken == 1
    # What was in force before still is.
    await api.call(method, "revoked")


class TestRate:
    @pytest.fixture
    def config(self, config: ServerConfig) -> ServerConfig:
        return config.model_copy(update={"requests_per_second": 0.1, "request_burst": 3})

    async def test_a_principal_that_calls_too_often_is_told_when_to_come_back(
        self, api: Api, server: Server
    ) -> None:
        method = COMPRESSION + "ListJobs"
        for _ in range(3):
            await api.call(method, "alice")
        call = api.call(method, "alice")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        code, reason, metadata, text = refused(caught.value)
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        assert metadata == {"requests_per_second": "0.1"}
        assert text == "more than 0.1 requests a second"
        trailers: Any = caught.value.trailing_metadata()
        status = status_pb2.Status.FromString(dict(trailers)["grpc-status-details-bin"])
        retry, quota = error_details_pb2.RetryInfo(), error_details_pb2.QuotaFailure()
        assert status.details[1].Unpack(retry)
        assert 0 < retry.retry_delay.ToMilliseconds() <= 10_000
        assert status.details[2].Unpack(quota)
        assert quota.violations[0].subject == "principal:alice"
        rejected = server.metrics.rejected.labels("RATE_LIMITED")._value.get()
        assert rejected == 1
        # Others are not held up.
        await api.call(method, "bob")
