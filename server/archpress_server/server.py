"""`Server`: puts the parts together, starts them, and stops them in the right order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import grpc
import structlog

from archpress_proto.v1.artifact_service_pb2_grpc import add_ArtifactServiceServicer_to_server
from archpress_proto.v1.compression_service_pb2_grpc import (
    add_CompressionServiceServicer_to_server,
)
from archpress_proto.v1.info_service_pb2_grpc import add_InfoServiceServicer_to_server
from archpress_server.auth.setup import open_security
from archpress_server.auth.tls import server_credentials
from archpress_server.catalog import Catalog
from archpress_server.config import ServerConfig
from archpress_server.executors.make import make_executor
from archpress_server.jobs.uploads import Uploads
from archpress_server.logs import log_unexpected
from archpress_server.loop_lag import LoopLag
from archpress_server.metrics import Metrics
from archpress_server.planner import Planner
from archpress_server.service.artifact import ArtifactServicer
from archpress_server.service.authorize import AuthInterceptor
from archpress_server.service.compression import CompressionServicer
from archpress_server.service.gate import Gate
from archpress_server.service.health import ARTIFACTS, COMPRESSION, WORKERS, Health
from archpress_server.service.info import InfoServicer
from archpress_server.service.interceptors import CallInterceptor, CallMetrics
from archpress_server.service.messages import MessageInterceptor
from archpress_server.service.parse import RequestParser
from archpress_server.service.reflection import add_reflection
from archpress_server.service.watch import Watches
from archpress_server.state import open_leases
from archpress_server.supervisor import Supervisor
from archpress_server.threads import Threads
from archpress_server.traces import open_traces
from archpress_server.web import OperatorPort

_READY_SECONDS = 15.0
_RENEW_SECONDS = 1.0
_LOOK_SECONDS = 30.0
"""Between looks at data sets that are not on this machine."""
_FLUSH_SECONDS = 2.0
_CALLS = 10_000
"""Calls at one time, also of those who have no token or send no message."""

_STREAMS_PER_CONNECTION = 2_000
"""More than one principal may have, which is refused rather than left to wait."""


class Server:
    """One server process: the API, its workers, and the operator's port."""

    def __init__(
        self,
        config: ServerConfig,
        catalog: Catalog,
        *,
        worker_command: Sequence[str] = (),
        warm: bool = True,
    ) -> None:
        """Build the parts; the state must be prepared (`archpress_server.state`).

        With `warm` the planning process starts with the server rather than with the first plan, and
        looks at the data sets. An empty `worker_command` is that of the package.

        Raises:
            ValueError: the settings of tokens and certificates, or their files, are wrong.
            TracesError: traces are asked for without their package.
        """
        self.config = config
        self.metrics = Metrics()
        self._security = open_security(config, self.metrics.observe_reload)
        self.leases = open_leases(config, self.metrics.observe_cache)
        self.port = 0
        """The API's port, once started."""
        self.operator_port: OperatorPort | None = None
        self._threads = Threads("server")
        self._catalog = catalog
        self._warm = warm
        self._gate = Gate()
        self._planner = Planner()
        self._watches = Watches(self.leases.store, self.metrics, config.poll_seconds)
        self._executor = make_executor(config, worker_command)
        self._traces = open_traces(config.traces_url, "archpress-server")
        self._supervisor = Supervisor(
            config, self.leases, self.metrics, self._executor, self._traces
        )
        self._info = InfoServicer(config, catalog)
        checks = {
            COMPRESSION: self._jobs_fault,
            ARTIFACTS: self._jobs_fault,
            WORKERS: self._workers_fault,
        }
        self._health = Health(checks, self.metrics)
        self._calls = CallMetrics(self.metrics.registry)
        self._auth = AuthInterceptor(self._security.authenticator, self._security.limiter)
        self._renewing: asyncio.Task[None] | None = None
        self._loop_lag = LoopLag(self.metrics.registry)
        self._looking: asyncio.Task[None] | None = None
        self._log = structlog.get_logger()

    async def start(self) -> None:
        """Listen and begin to work.

        Raises:
            OSError: a port is taken.
            ExecutorError: no worker could ever be started.
        """
        store = self.leases.store
        self._server = grpc.aio.server(
            interceptors=[
                CallInterceptor(self._calls, self.metrics, self._traces),
                self._auth,
                MessageInterceptor(),
            ],
            options=self._options(),
            maximum_concurrent_rpcs=_CALLS,
        )
        parser = RequestParser(self.config, self._catalog)
        add_CompressionServiceServicer_to_server(
            CompressionServicer(
                store,
                parser,
                self._planner,
                self._watches,
                self.metrics,
                self._gate,
                self._supervisor.wake,
            ),
            self._server,
        )
        uploads = Uploads(store, self.config.max_upload_bytes_per_principal)
        add_ArtifactServiceServicer_to_server(
            ArtifactServicer(
                store, uploads, self.metrics, self._gate, self.config.max_artifact_bytes
            ),
            self._server,
        )
        add_InfoServiceServicer_to_server(self._info, self._server)
        self._health.add_to(self._server)
        if self.config.reflection:
            add_reflection(self._server)
        self.port = self._listen()
        self._loop_lag.start()
        if self.config.metrics_port:
            self.operator_port = OperatorPort(
                self.config.metrics_host,
                self.config.metrics_port,
                self.metrics.registry,
                alive=self._alive,
                ready=self._ready,
            )
        self.metrics.set_slots(0, self._executor.slots)
        await self._executor.open()
        await self._server.start()
        self._watches.start()
        self._supervisor.start()
        self._renewing = asyncio.create_task(self._renew(), name="tokens and certificates")
        if self._warm:
            self._looking = asyncio.create_task(self._look_at_datasets(), name="data sets")
        await self._health.start()
        self._log.info("serving", host=self.config.host, port=self.port)

    async def stop(self) -> None:
        """Drain (ADR 21): tell it, wait, refuse new work; give jobs back while calls end."""
        self._log.info("draining")
        await self._health.drain()
        await asyncio.sleep(self.config.drain_delay_seconds)
        self._gate.draining = True
        grace_seconds = self.config.drain_grace_seconds
        await asyncio.gather(self._supervisor.drain(grace_seconds), self._end_calls(grace_seconds))
        await self._executor.close()
        for task in (self._looking, self._renewing):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        self._planner.close()
        await self._loop_lag.close()
        if self.operator_port is not None:
            await self._threads.run(self.operator_port.close)
        self.leases.store.database.close()
        await self._threads.run(self._traces.flush, _FLUSH_SECONDS)
        self._log.info("stopped")

    async def _end_calls(self, grace_seconds: float) -> None:
        await self._watches.close()
        await self._server.stop(grace_seconds)

    def _listen(self) -> int:
        address = f"{self.config.host}:{self.config.port}"
        try:
            certificates = self._security.certificates
            if certificates is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, server_credentials(certificates))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}") from error
        if port == 0:
            raise OSError(f"cannot listen on {address}")
        return port

    def _options(self) -> list[tuple[str, int]]:
        return [
            ("grpc.max_receive_message_length", self.config.max_message_bytes),
            ("grpc.max_send_message_length", max(self.config.max_message_bytes, 2**22)),
            ("grpc.max_concurrent_streams", _STREAMS_PER_CONNECTION),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
            ("grpc.http2.max_ping_strikes", 4),
            # Without it a second server would silently share the port.
            ("grpc.so_reuseport", 0),
        ]

    def _alive(self) -> str:
        """Tell if the event loop is stuck; a failing database alone is no reason to restart."""
        silent_seconds = time.monotonic() - self._loop_lag.last_turn
        return (
            f"nothing moved for {silent_seconds:.0f} s" if silent_seconds > _READY_SECONDS else ""
        )

    def _ready(self) -> str:
        return self._health.faults(COMPRESSION)

    def _jobs_fault(self) -> str:
        silent_seconds = time.monotonic() - self._supervisor.last_success
        if silent_seconds <= _READY_SECONDS:
            return ""
        if self._supervisor.unexpected:
            cause = self._supervisor.unexpected
            return f"nobody has looked after jobs for {silent_seconds:.0f} s: {cause}"
        return f"the database has not answered for {silent_seconds:.0f} s"

    def _workers_fault(self) -> str:
        if not self._executor.slots:
            return "no workers are set up"
        return self._supervisor.fault

    async def _renew(self) -> None:
        while True:
            try:
                await self._threads.run(self._security.refresh)
                self._auth.end_revoked()
            except Exception as error:
                # Whatever it is: without this loop no token could be revoked.
                log_unexpected("tokens and certificates are as they were", error)
            if self._security.certificates is not None:
                self.metrics.certificate_end.set(self._security.certificates.value.end.timestamp())
            await asyncio.sleep(_RENEW_SECONDS)

    async def _look_at_datasets(self) -> None:
        """Look at all data sets, and again at those that are missing: a job may bring them."""
        missing = [name for name in self._catalog.datasets if not await self._looked_at(name)]
        for name in missing:
            self._log.warning("a data set is not on this machine yet", dataset=name)
        while missing:
            await asyncio.sleep(_LOOK_SECONDS)
            missing = [name for name in missing if not await self._looked_at(name)]

    async def _looked_at(self, name: str) -> bool:
        """Return whether there is nothing more to find out about a data set."""
        try:
            facts = await self._planner.dataset_facts(self._catalog.sources, name)
        except Exception as error:
            log_unexpected("a data set could not be looked at", error, dataset=name)
            return True
        if facts is not None:
            self._info.add_facts(name, facts)
        return facts is not None
