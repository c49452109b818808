"""How many calls a server holds open, whoever makes them."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from archpress_server.config import ServerConfig
from archpress_server.server import Server


@pytest.fixture
def config(config: ServerConfig, monkeypatch: pytest.MonkeyPatch) -> ServerConfig:
    monkeypatch.setattr("archpress_server.server._STREAMS_PER_CONNECTION", 2)
    monkeypatch.setattr("archpress_server.server._CALLS", 3)
    return config.model_copy(update={"workers": 0})


def watches(server: Server) -> tuple[grpc.aio.Channel, list[Any]]:
    """Return a connection of its own and two open streams that anybody may have."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options)
    stub = health_pb2_grpc.HealthStub(channel)
    return channel, [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]


async def test_streams_of_a_connection_and_calls_of_all_are_limited(server: Server) -> None:
    channel, streams = watches(server)
    other, (third, fourth) = watches(server)
    async with channel, other:
        for stream in streams:
            await stream.read()
        waiting = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waiting.read(), 0.5)
        ends = await asyncio.gather(third.read(), fourth.read(), return_exceptions=True)
        (refused,) = [end for end in ends if isinstance(end, grpc.aio.AioRpcError)]
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
