"""Health by service: what each depends on, when it is told, and what the operator's port says."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
import urllib.error
import urllib.request

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from structlog.testing import capture_logs

from archpress_server.config import ServerConfig
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import JobRecord
from archpress_server.metrics import Metrics
from archpress_server.server import Server
from archpress_server.service.health import (
    ARTIFACTS,
    COMPRESSION,
    INFO,
    NAMES,
    PROCESS,
    WORKERS,
    Health,
)
from tests.ports import free_port

STATES = health_pb2.HealthCheckResponse


@pytest.fixture
def config(config: ServerConfig) -> ServerConfig:
    return config.model_copy(update={"metrics_port": free_port(), "drain_grace_seconds": 1.0})


def get(config: ServerConfig, path: str) -> tuple[int, str]:
    try:
        url = f"http://127.0.0.1:{config.metrics_port}{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def told(channel: grpc.aio.Channel) -> dict[str, bool]:
    stub = health_pb2_grpc.HealthStub(channel)
    answers = {
        name: await stub.Check(health_pb2.HealthCheckRequest(service=name)) for name in NAMES
    }
    return {name: answer.status == STATES.SERVING for name, answer in answers.items()}


def measured(server: Server) -> dict[str, bool]:
    value = server.metrics.registry.get_sample_value
    return {name: value("archpress_serving", {"service": name or "process"}) == 1 for name in NAMES}


async def until(channel: grpc.aio.Channel, expected: dict[str, bool]) -> None:
    async with asyncio.timeout(10):
        while await told(channel) != expected:
            await asyncio.sleep(0.05)


ALL = dict.fromkeys(NAMES, True)


async def test_a_server_that_works_serves_all(
    channel: grpc.aio.Channel, server: Server, config: ServerConfig
) -> None:
    assert await told(channel) == measured(server) == ALL
    for path in ("/livez", "/readyz"):
        assert await asyncio.to_thread(get, config, path) == (200, "OK\n")


async def test_without_a_database_only_process_and_information_serve(
    channel: grpc.aio.Channel,
    server: Server,
    config: ServerConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As if it had not answered for long.
    monkeypatch.setattr("archpress_server.server._READY_SECONDS", -1.0)
    fewer = {**ALL, COMPRESSION: False, ARTIFACTS: False}
    await until(channel, fewer)
    assert measured(server) == fewer
    code, text = await asyncio.to_thread(get, config, "/readyz")
    assert code == 503
    assert text.startswith("the database has not answered")
    monkeypatch.undo()
    await until(channel, ALL)
    assert (await asyncio.to_thread(get, config, "/readyz"))[0] == 200


async def test_an_unexpected_error_is_not_blamed_on_the_database(
    channel: grpc.aio.Channel,
    server: Server,
    config: ServerConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(leases: Leases) -> list[JobRecord]:
        raise TypeError("odd")

    monkeypatch.setattr("archpress_server.server._READY_SECONDS", 0.2)
    monkeypatch.setattr(Leases, "expire", fail)
    await until(channel, {**ALL, COMPRESSION: False, ARTIFACTS: False, WORKERS: False})
    code, text = await asyncio.to_thread(get, config, "/readyz")
    assert code == 503
    assert text.startswith("nobody has looked after jobs for")
    assert "odd" in text
    monkeypatch.undo()
    await until(channel, ALL)


async def test_a_database_that_hangs_is_no_reason_to_restart(
    channel: grpc.aio.Channel,
    config: ServerConfig,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = threading.Event()

    def hang(leases: Leases) -> list[JobRecord]:
        over.wait(60)
        return []

    monkeypatch.setattr("archpress_server.server._READY_SECONDS", 0.5)
    monkeypatch.setattr(Leases, "expire", hang)
    try:
        await until(channel, {**ALL, COMPRESSION: False, ARTIFACTS: False})
        assert await asyncio.to_thread(get, config, "/livez") == (200, "OK\n")
        begin = time.monotonic()
        await server.stop()
        assert time.monotonic() - begin < config.drain_grace_seconds + 10
    finally:
        over.set()


async def test_workers_that_cannot_start_are_told(
    channel: grpc.aio.Channel, server: Server, config: ServerConfig
) -> None:
    server._supervisor.fault = ""
    await until(channel, ALL)

    class Broken:
        async def has_room(self) -> bool:
            raise OSError("no more processes")

    working = server._supervisor._executor
    object.__setattr__(server._supervisor, "_executor", Broken())
    await until(channel, {**ALL, WORKERS: False})
    # Jobs are taken all the same: another replica may have workers.
    assert (await asyncio.to_thread(get, config, "/readyz"))[0] == 200
    object.__setattr__(server._supervisor, "_executor", working)
    await until(channel, ALL)


class TestWithoutWorkers:
    @pytest.fixture
    def config(self, config: ServerConfig) -> ServerConfig:
        return config.model_copy(update={"workers": 0})

    async def test_a_server_without_workers_says_so(self, channel: grpc.aio.Channel) -> None:
        assert await told(channel) == {**ALL, WORKERS: False}


class TestDraining:
    @pytest.fixture
    def config(self, config: ServerConfig) -> ServerConfig:
        return config.model_copy(update={"drain_delay_seconds": 1.5})

    async def test_it_is_told_before_anything_is_refused(
        self, channel: grpc.aio.Channel, server: Server, config: ServerConfig
    ) -> None:
        watch = aiter(health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()))
        assert (await anext(watch)).status == STATES.SERVING
        stopping = asyncio.create_task(server.stop())
        assert (await anext(watch)).status == STATES.NOT_SERVING
        assert await told(channel) == measured(server) == dict.fromkeys(NAMES, False)
        assert not server._gate.draining
        code, text = await asyncio.to_thread(get, config, "/readyz")
        assert (code, text) == (503, "the server is shutting down\n")
        assert (await asyncio.to_thread(get, config, "/livez"))[0] == 200
        await stopping
        assert server._gate.draining


def test_names_are_those_that_probes_use() -> None:
    assert (PROCESS, COMPRESSION, INFO) == (
        "",
        "archpress.v1.CompressionService",
        "archpress.v1.InfoService",
    )
    assert (ARTIFACTS, WORKERS) == ("archpress.v1.ArtifactService", "archpress.workers")


async def test_an_outage_is_logged_once_however_long_it_lasts() -> None:
    seconds = itertools.count()
    health = Health({COMPRESSION: lambda: f"nothing for {next(seconds)} s"}, Metrics())
    with capture_logs() as lines:
        await health.start()
        await asyncio.sleep(1.2)
        await health.drain()
    assert next(seconds) >= 3
    assert [line["event"] for line in lines] == ["does not serve"]
