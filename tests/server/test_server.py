"""The parts around the API: health, reflection, metrics, information, the command."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection_pb2  # type: ignore[import-untyped]

from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import info_service_pb2 as info_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_proto.v1.info_service_pb2_grpc import InfoServiceStub
from archpress_server.catalog import load_catalog
from archpress_server.config import ServerConfig
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.orphans import put_loose
from archpress_server.planner import DatasetFacts, Planner
from archpress_server.server import Server
from archpress_server.state import prepare_state
from archpress_trainer.data.registry import DataSources
from tests.ports import free_port

if TYPE_CHECKING:
    from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceAsyncStub

SERVICES = {
    "archpress.v1.CompressionService",
    "archpress.v1.ArtifactService",
    "archpress.v1.InfoService",
}
SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture
def config(config: ServerConfig) -> ServerConfig:
    return config.model_copy(
        update={"metrics_port": free_port(), "workers": 0, "drain_grace_seconds": 1.0}
    )


def get(config: ServerConfig, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{config.metrics_port}{path}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def test_health_is_told_per_service_and_ends_with_draining(
    channel: grpc.aio.Channel, server: Server, config: ServerConfig
) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", *SERVICES):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == SERVING
    for path in ("/livez", "/readyz"):
        assert await asyncio.to_thread(get, config, path) == (200, "OK\n")
    assert (await asyncio.to_thread(get, config, "/other"))[0] == 404
    watch = aiter(stub.Watch(health_pb2.HealthCheckRequest()))
    assert (await anext(watch)).status == SERVING
    stopping = asyncio.create_task(server.stop())
    assert (await anext(watch)).status != SERVING
    await stopping


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_the_services(channel: grpc.aio.Channel, version: str) -> None:
    method = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(
            file_containing_symbol="archpress.v1.CompressionService"
        ),
    ]
    listed, described = [answer async for answer in method(iter(requests))]
    names = {service.name for service in listed.list_services_response.service}
    assert names >= SERVICES
    assert described.file_descriptor_response.file_descriptor_proto


async def test_calls_move_their_series_and_make_no_new_ones(
    stub: CompressionServiceAsyncStub, channel: grpc.aio.Channel, config: ServerConfig
) -> None:
    def series(text: str) -> dict[str, float]:
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    before = series((await asyncio.to_thread(get, config, "/metrics"))[1])
    spec = pb.JobSpec(network="conv-7", dataset="fashion-mnist")
    await stub.CreateJob(service_pb.CreateJobRequest(spec=spec))
    odd: Any = channel.unary_unary
    bad = service_pb.CreateJobRequest(spec=pb.JobSpec(network="\u2028odd", dataset='"}\n'))
    for call in (
        stub.CreateJob(bad),
        stub.GetJob(service_pb.GetJobRequest(name="jobs/odd")),
        odd("/archpress.v1.CompressionService/Odd")(b""),
        odd("/odd.Service/Method")(b""),
    ):
        with pytest.raises(grpc.aio.AioRpcError):
            await call
    after = series((await asyncio.to_thread(get, config, "/metrics"))[1])
    assert set(after) == set(before)
    moved = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    where = 'grpc_service="archpress.v1.CompressionService",grpc_type="unary"}'
    create = f'grpc_method="CreateJob",{where}'
    assert moved[f"grpc_server_started_total{{{create}"] == 2
    assert moved[f'grpc_server_handled_total{{grpc_code="OK",{create}'] == 1
    assert moved[f'grpc_server_handled_total{{grpc_code="INVALID_ARGUMENT",{create}'] == 1
    assert moved[f"grpc_server_msg_sent_total{{{create}"] == 1
    assert (
        moved[f'grpc_server_handled_total{{grpc_code="NOT_FOUND",grpc_method="GetJob",{where}'] == 1
    )
    unknown = 'grpc_method="unknown",grpc_service="unknown",grpc_type="unary"}'
    assert moved[f'grpc_server_handled_total{{grpc_code="UNIMPLEMENTED",{unknown}'] == 2
    assert moved['archpress_rejected_total{reason="JOB_NOT_FOUND"}'] == 1
    assert moved['archpress_rejected_total{reason="UNKNOWN_DATASET"}'] == 1


async def test_the_server_describes_itself(channel: grpc.aio.Channel) -> None:
    info = await InfoServiceStub(channel).GetServerInfo(info_pb.GetServerInfoRequest())
    assert list(info.api_versions) == ["archpress.v1"]
    assert [dataset.name for dataset in info.datasets] == ["fashion-mnist", "cifar10"]
    assert [dataset.classes for dataset in info.datasets] == [10, 10]
    # The bundled ones come beside that of the test.
    (embedding,) = (e for e in info.embeddings if e.name == "fashion-mnist-default-1")
    assert embedding.quality.accuracy_kendall_tau == 0.5
    assert embedding.quality.held_out_networks == 60
    assert {network.name for network in info.networks} >= {"conv-7", "resnet-20"}
    assert len(info.layer_kinds) == 17
    assert info.limits.max_layers == 512


async def test_two_servers_do_not_share_a_port(server: Server, config: ServerConfig) -> None:
    taken = config.model_copy(update={"port": server.port, "metrics_port": 0})
    second = Server(taken, load_catalog(taken), warm=False)
    with pytest.raises(OSError, match="cannot listen"):
        await second.start()


async def test_a_data_set_that_cannot_be_looked_at_hides_no_other(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def refused(planner: Planner, sources: DataSources, name: str) -> None:
        asked.append(name)
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Planner, "dataset_facts", refused)
    prepare_state(config)
    catalog = load_catalog(config)
    server = Server(config, catalog)
    await server.start()
    await asyncio.sleep(0)
    await server.stop()
    assert asked == list(catalog.datasets)


async def test_data_that_come_later_are_looked_at_again(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def later(planner: Planner, sources: DataSources, name: str) -> DatasetFacts | None:
        asked.append(name)
        return DatasetFacts((1, 28, 28), 10, 5, 6, 7, "abc") if asked.count(name) > 1 else None

    monkeypatch.setattr(Planner, "dataset_facts", later)
    monkeypatch.setattr("archpress_server.server._LOOK_SECONDS", 0.01)
    prepare_state(config)
    catalog = load_catalog(config)
    server = Server(config, catalog)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub: Any = InfoServiceStub(channel)
        async with asyncio.timeout(10):
            while len(asked) < 2 * len(catalog.datasets):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        info = await stub.GetServerInfo(info_pb.GetServerInfoRequest())
    await server.stop()
    assert sorted(asked) == sorted(2 * list(catalog.datasets))
    assert {data.fingerprint for data in info.datasets} == {"abc"}


HANGS = """
import sys, time
from archpress_server.__main__ import main
from archpress_server.jobs.files import Files

def hang(files, sha256):
    print("hangs", flush=True)
    time.sleep(600)

Files.delete = hang
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_store_that_hangs_does_not_keep_a_stopped_server(
    config: ServerConfig, leases: Leases
) -> None:
    put_loose(leases.store.database, leases.store.files, [b"over"], now=0.0)
    flags = ["--port", "0", "--metrics-port", "0", "--workers", "0"]
    command = [sys.executable, "-c", HANGS, *flags, "--state-dir", str(config.state_dir)]
    with subprocess.Popen([*command, "--log-level", "error"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"hangs\n"
        process.terminate()
        try:
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
def test_the_command_serves_until_it_is_told_to_stop(config: ServerConfig, signals: int) -> None:
    port = free_port()
    flags = ["--port", str(port), "--metrics-port", "0", "--workers", "0"]
    command = [sys.executable, "-m", "archpress_server"]
    health = [*command, "health", "--port", str(port)]
    assert subprocess.run(health, check=False).returncode == 1
    process = subprocess.Popen(
        [*command, *flags, "--state-dir", str(config.state_dir), "--log-level", "error"],
        stderr=subprocess.PIPE,
    )
    try:
        for _ in range(60):
            if subprocess.run(health, check=False).returncode == 0:
                break
        else:
            raise AssertionError("the server did not come up")
        for _ in range(signals):
            os.kill(process.pid, signal.SIGTERM)
        assert process.wait(20) in ((0,) if signals == 1 else (0, 1))
    finally:
        process.kill()
        _, errors = process.communicate()
    assert b"Traceback" not in errors
