"""Health by service: what each depends on, when it is told, and what the operator's port says."""

from __future__ import annotations

import asyncio
import threading
import time
import urllib.error
import urllib.request

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from structlog.testing import capture_logs

from archpress_server.catalog import load_catalog
from archpress_server.config import ServerConfig
from archpress_server.executors.local_executor import LocalExecutor
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
from archpress_server.state import prepare_state
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
    channel: grpc.aio.Channel,
    server: Server,
    config: ServerConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(executor: LocalExecutor) -> bool:
        raise OSError("no more processes")

    await until(channel, ALL)
    monkeypatch.setattr(LocalExecutor, "has_room", fail)
    await until(channel, {**ALL, WORKERS: False})
    # Jobs are taken all the same: another replica may have workers.
    assert (await asyncio.to_thread(get, config, "/readyz"))[0] == 200
    monkeypatch.undo()
    await until(channel, ALL)


async def test_a_server_that_starts_is_alive_and_not_ready(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = asyncio.Event()

    async def slow(executor: LocalExecutor) -> None:
        await opened.wait()

    monkeypatch.setattr(LocalExecutor, "open", slow)
    monkeypatch.setattr("archpress_server.server._READY_SECONDS", 0.3)
    prepare_state(config)
    server = Server(config, load_catalog(config), warm=False)
    starting = asyncio.create_task(server.start())
    await asyncio.sleep(0.4)
    async with asyncio.timeout(10):
        while await asyncio.to_thread(get, config, "/livez") != (200, "OK\n"):
            await asyncio.sleep(0.05)
    assert await asyncio.to_thread(get, config, "/readyz") == (503, "the server is starting\n")
    assert measured(server) == dict.fromkeys(NAMES, False)
    monkeypatch.undo()
    opened.set()
    await starting
    assert await asyncio.to_thread(get, config, "/readyz") == (200, "OK\n")
    await server.stop()


class TestWithoutWorkers:
    @pytest.fixture
    def config(self, config: ServerConfig) -> ServerConfig:
        return config.model_copy(update={"workers": 0})

    async def test_a_server_without_workers_says_so(self, channel: grpc.aio.Channel) -> None:
        assert await told(channel) == {**ALL, WORKERS: False}


class TestDraining:
    @pytest.fixture
    def config(self, config: ServerConfig) -> ServerConfig:
        return config.model_copy(update={"drain_delay_seconds": 30.0})

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
        stopping.cancel()
        await asyncio.wait([stopping])
        server.config = config.model_copy(update={"drain_delay_seconds": 0.0})
        await server.stop()
        assert server._gate.draining


def test_names_are_those_that_probes_use() -> None:
    assert (PROCESS, COMPRESSION, INFO) == (
        "",
        "archpress.v1.CompressionService",
        "archpress.v1.InfoService",
    )
    assert (ARTIFACTS, WORKERS) == ("archpress.v1.ArtifactService", "archpress.workers")


async def test_an_outage_is_logged_once_however_long_it_lasts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("archpress_server.service.health._LOOK_SECONDS", 0.01)
    looks: list[str] = []

    def fault() -> str:
        looks.append(f"nothing for {len(looks)} s")
        return looks[-1]

    health = Health({COMPRESSION: fault}, Metrics())
    with capture_logs() as lines:
        await health.start()
        async with asyncio.timeout(10):
            while len(looks) < 3:
                await asyncio.sleep(0.01)
        await health.drain()
    assert [line["event"] for line in lines] == ["does not serve"]
