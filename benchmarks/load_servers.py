"""The processes that `load.py` puts under load: a real server, and a bare one for the floor.

Each runs with a probe of its event loop and answers on a pipe what the probe saw since the last
question.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

import grpc

from archpress_server.config import ServerConfig

_SPAWN = get_context("spawn")
_PROBE_SECONDS = 0.005
ECHO = "/load.Echo/Echo"


@dataclass(frozen=True)
class Sample:
    """What a server process looked like since the last sample."""

    resident_bytes: int
    longest_block_seconds: float
    cpu_seconds: float


class Served:
    """A server process, to be used as a context."""

    def __init__(self, serve: Callable[..., None], *arguments: Any) -> None:
        """Run `serve(connection, *arguments)`, which sends its port first."""
        self._connection, far = _SPAWN.Pipe()
        self._process: BaseProcess = _SPAWN.Process(target=serve, args=(far, *arguments))
        self.port = 0

    def __enter__(self) -> Self:
        """Start the process and wait for its port."""
        self._process.start()
        self.port = self._connection.recv()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the process."""
        self._connection.send(False)
        self._process.join()

    def sample(self) -> Sample:
        """Return what was seen since the last call."""
        self._connection.send(True)
        sample: Sample = self._connection.recv()
        return sample


def serve_archpress(connection: Connection, state: Path) -> None:
    """Serve the API from a state folder, without workers."""
    from archpress_server.catalog import load_catalog
    from archpress_server.logs import configure_logs
    from archpress_server.server import Server

    configure_logs("warning")
    config = settings(state)
    # As `archpress-server` does: a full collection of what torch brings would block the loop.
    gc.collect()
    gc.freeze()

    async def start() -> tuple[int, Callable[[], Awaitable[object]]]:
        server = Server(config, load_catalog(config), warm=False)
        await server.start()
        return server.port, server.stop

    asyncio.run(_serve(connection, start))


def serve_echo(connection: Connection, answer: bytes) -> None:
    """Answer every call with the same bytes: what grpc.aio itself can do."""

    async def echo(_request: bytes, _context: object) -> bytes:
        return answer

    async def start() -> tuple[int, Callable[[], Awaitable[object]]]:
        _, service, method = ECHO.split("/")
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(echo)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: handler}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return port, lambda: server.stop(None)

    asyncio.run(_serve(connection, start))


def settings(state: Path) -> ServerConfig:
    """Return the settings of the server under load."""
    return ServerConfig(
        port=0,
        metrics_port=0,
        state_dir=state,
        workers=0,
        lease_seconds=3600.0,
        log_level="warning",
    )


async def _serve(
    connection: Connection,
    start: Callable[[], Awaitable[tuple[int, Callable[[], Awaitable[object]]]]],
) -> None:
    port, stop = await start()
    connection.send(port)
    probe = _Probe()
    watching = asyncio.create_task(probe.run())
    while await asyncio.to_thread(connection.recv):
        times = os.times()
        connection.send(Sample(_resident_bytes(), probe.take(), times.user + times.system))
    watching.cancel()
    await stop()


class _Probe:
    """Sleeps shortly again and again: how late it wakes up is how long the loop was blocked."""

    def __init__(self) -> None:
        self._longest = 0.0

    def take(self) -> float:
        longest, self._longest = self._longest, 0.0
        return longest

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _PROBE_SECONDS
            await asyncio.sleep(_PROBE_SECONDS)
            self._longest = max(self._longest, loop.time() - due)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
