"""`Health`: what of the server serves, by grpc.health.v1, on /readyz and as `archpress_serving`."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.request
from collections.abc import Callable, Mapping

import grpc
import structlog
from grpc_health.v1 import (  # type: ignore[import-untyped]
    health,
    health_pb2,
    health_pb2_grpc,
)

from archpress_proto.v1 import artifact_service_pb2, compression_service_pb2, info_service_pb2
from archpress_server.metrics import Metrics

PROCESS = ""
COMPRESSION, ARTIFACTS, INFO = (
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (compression_service_pb2, "CompressionService"),
        (artifact_service_pb2, "ArtifactService"),
        (info_service_pb2, "InfoService"),
    )
)
WORKERS = "archpress.workers"
"""Whether jobs can run here; a server without workers of its own still takes them."""

NAMES = (PROCESS, COMPRESSION, ARTIFACTS, INFO, WORKERS)
_LOOK_SECONDS = 0.5

Checks = Mapping[str, Callable[[], str]]
"""By name: what keeps it from serving, empty if nothing does."""


class Health:
    """Looks at the checks twice a second; what has none serves from `start` until the drain."""

    def __init__(self, checks: Checks, metrics: Metrics) -> None:
        """Report nothing as serving before `start`."""
        self._checks = checks
        self._metrics = metrics
        self._servicer = health.aio.HealthServicer()
        self._task: asyncio.Task[None] | None = None
        self._overall = "the server is starting"
        self._told: dict[str, bool | None] = dict.fromkeys(NAMES)
        self._log = structlog.get_logger()
        self._measure_none()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Answer grpc.health.v1 on a server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def start(self) -> None:
        """Report once, then go on looking."""
        self._overall = ""
        await self._look()
        self._task = asyncio.create_task(self._run(), name="health")

    async def drain(self) -> None:
        """Report nothing as serving from now on."""
        self._overall = "the server is shutting down"
        await self._stop_looking()
        await self._servicer.enter_graceful_shutdown()
        self._measure_none()

    def faults(self, name: str) -> str:
        """Return what keeps a service from serving; empty if nothing does."""
        check = self._checks.get(name)
        return self._overall or (check() if check is not None else "")

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self._look()

    async def _look(self) -> None:
        for name in NAMES:
            fault = self.faults(name)
            if bool(fault) == self._told[name]:
                continue
            first, self._told[name] = self._told[name] is None, bool(fault)
            states = health_pb2.HealthCheckResponse
            await self._servicer.set(name, states.NOT_SERVING if fault else states.SERVING)
            self._metrics.set_serving(name, serving=not fault)
            if fault:
                # What was not there from the start is a choice of the operator's.
                log = self._log.info if first else self._log.warning
                log("does not serve", service=name or "process", cause=fault)
            elif not first:
                self._log.info("serves again", service=name or "process")

    def _measure_none(self) -> None:
        for name in NAMES:
            self._metrics.set_serving(name, serving=False)

    async def _stop_looking(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


def check_health(target: str, timeout_seconds: float) -> bool:
    """Return whether the server at a target says that it serves."""
    with grpc.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(
                health_pb2.HealthCheckRequest(), timeout=timeout_seconds, wait_for_ready=False
            )
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def check_ready(url: str, timeout_seconds: float) -> bool:
    """Return whether the operator's port at a URL says that the server is ready."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=timeout_seconds) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
