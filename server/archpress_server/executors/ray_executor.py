"""`RayExecutor`: workers on a Ray cluster, each a process beside an actor that looks after it.

Nodes need `archpress-server[ray]` of one version and one version of Python, the data sets, and a
database and artifacts that all of them reach. `archpress_trainer.ray_cluster` says how a cluster
is reached and who may.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import sqlalchemy as sa

from archpress_server.config import ServerConfig
from archpress_server.executors.executor import End, ExecutorError
from archpress_server.executors.order import WorkerOrder, worker_order
from archpress_server.executors.process import WorkerProcess
from archpress_server.threads import Threads
from archpress_trainer.error_text import first_line
from archpress_trainer.ray_cluster import (
    MIN_STORE_BYTES,
    RayClusterError,
    connected,
    how_it_ended,
)

_PLACE_SECONDS = 10.0
"""How long a worker may wait for its place: meanwhile nobody renews its job's lease."""


class RayExecutor:
    """At most `config.workers` actors, each with the CPUs and GPUs of one worker.

    Ray is asked for a place only while it has one free: jobs wait in the database's queue.
    """

    def __init__(self, config: ServerConfig, command: Sequence[str] = ()) -> None:
        """Start workers with a command; see `WorkerOrder.command`."""
        self._config = config
        self._command = tuple(command)
        self._needs = {"CPU": float(config.threads_per_worker)}
        if config.ray_gpus_per_worker:
            self._needs["GPU"] = config.ray_gpus_per_worker
        self._running = 0
        self._threads = Threads("executor")
        self._connection = contextlib.ExitStack()
        self._ray: ModuleType | None = None
        self._actor: Any = None

    @property
    def slots(self) -> int:
        """How many attempts may run at one time."""
        return self._config.workers

    async def open(self) -> None:
        """Connect to the cluster, or start one on this machine."""
        await self._threads.run(self._connect)

    async def has_room(self) -> bool:
        """Return whether one more attempt could begin now."""
        if self._running >= self.slots:
            return False
        try:
            free = await self._threads.run(self._cluster.available_resources)
        except self._cluster.exceptions.RayError as error:
            raise ExecutorError(f"the Ray cluster does not answer: {first_line(error)}") from error
        return all(free.get(name, 0.0) >= needed for name, needed in self._needs.items())

    async def start(self, job: str, attempt: int) -> RayRun:
        """Ask for an actor; that there is no place for it after all shows in the run's end."""
        order = worker_order(self._config, job, attempt, self._command)
        try:
            worker = await self._threads.run(self._actor.remote)
        except self._cluster.exceptions.RayError as error:
            raise ExecutorError(f"Ray makes no actor: {first_line(error)}") from error
        self._running += 1
        gpu = "GPU" in self._needs
        return RayRun(self._cluster, self._threads, worker, order, gpu, self._release)

    async def close(self) -> None:
        """Disconnect; actors that are still there end."""
        await self._threads.run(self._connection.close)

    @property
    def _cluster(self) -> ModuleType:
        assert self._ray is not None, "the executor is not open"
        return self._ray

    def _connect(self) -> None:
        config = self._config
        cpus = self._needs["CPU"] * config.workers
        address = config.ray_address or None
        try:
            ray = self._connection.enter_context(connected(address, cpus, MIN_STORE_BYTES))
            self._check(ray)
        except RayClusterError as error:
            self._connection.close()
            raise ExecutorError(str(error)) from error
        self._ray = ray
        self._actor = ray.remote(
            num_cpus=self._needs["CPU"],
            num_gpus=self._needs.get("GPU", 0.0),
            max_restarts=0,
            max_task_retries=0,
            # It waits for its process, and is told to stop it meanwhile.
            max_concurrency=4,
        )(RayWorker)

    def _check(self, ray: ModuleType) -> None:
        there = ray.cluster_resources()
        if any(there.get(name, 0.0) < needed for name, needed in self._needs.items()):
            raise RayClusterError(
                f"the Ray cluster has {there.get('CPU', 0.0):g} CPUs and "
                f"{there.get('GPU', 0.0):g} GPUs, and one worker needs {self._needs['CPU']:g} "
                f"(threads_per_worker) and {self._needs.get('GPU', 0.0):g} (ray_gpus_per_worker)"
            )
        nodes = sum(node["Alive"] for node in ray.nodes())
        if nodes > 1 and sa.make_url(self._config.url).get_backend_name() == "sqlite":
            raise RayClusterError(
                f"the Ray cluster has {nodes} nodes, and a SQLite database is a file of one "
                "machine: set database_url to a PostgreSQL that every node reaches"
            )

    def _release(self) -> None:
        self._running -= 1


class RayRun:
    """An attempt on the cluster."""

    def __init__(
        self,
        ray: ModuleType,
        threads: Threads,
        worker: Any,
        order: WorkerOrder,
        gpu: bool,
        on_end: Callable[[], None],
    ) -> None:
        """Follow an actor that was asked for."""
        self._ray = ray
        self._threads = threads
        self._worker = worker
        self._on_end = on_end
        self._placed = False
        self._kills = 0
        self._end = asyncio.create_task(self._run(order, gpu), name=f"ray worker {order.job}")

    @property
    def place(self) -> str:
        """Where it runs, for the log."""
        return f"Ray actor {self._worker._actor_id.hex()}"

    async def wait(self) -> End:
        """Return how the worker ended."""
        return await asyncio.shield(self._end)

    def stop(self) -> None:
        """Ask the worker to give its job back and end."""
        if self._placed:
            self._worker.stop.remote()
        else:
            self._ray.kill(self._worker)

    def kill(self) -> None:
        """End the worker; the second time its actor, which takes its word for nothing."""
        self._kills += 1
        if self._placed and self._kills == 1:
            self._worker.kill.remote()
        else:
            self._ray.kill(self._worker)

    async def _run(self, order: WorkerOrder, gpu: bool) -> End:
        errors = self._ray.exceptions
        try:
            await asyncio.wait_for(_answer(self._worker.ready.remote()), _PLACE_SECONDS)
            self._placed = True
            return End(await _answer(self._worker.run.remote(order, gpu)))
        except TimeoutError:
            return End("the Ray cluster has no place for it", began=False)
        except errors.RayTaskError as error:
            return End(f"no worker could be started: {first_line(error.cause)}")
        except errors.RayError as error:
            return End(f"its Ray actor is gone: {how_it_ended(error)}", began=self._placed)
        finally:
            try:
                await self._threads.run(self._ray.kill, self._worker)
            except errors.RayError:
                # Of a cluster that is gone: the attempt's end must be told all the same.
                pass
            finally:
                self._on_end()


class RayWorker:
    """The actor: starts a worker on its node and waits for it."""

    def __init__(self) -> None:
        """Begin without a process."""
        self._lock = threading.Lock()
        self._process: WorkerProcess | None = None
        self._unwanted = False

    def ready(self) -> None:
        """Answer once the actor has its place."""

    def run(self, order: WorkerOrder, gpu: bool) -> str:
        """Start the worker and return the cause of its end."""
        with self._lock:
            if self._unwanted:
                return "the worker was stopped before it began"
            # Ray has set the GPUs of the actor, if it has any.
            self._process = WorkerProcess(order if gpu else order.with_gpus(""))
        return self._process.wait()

    def stop(self) -> None:
        """Ask the worker to give its job back and end."""
        with self._lock:
            self._unwanted = True
            if self._process is not None:
                self._process.stop()

    def kill(self) -> None:
        """End the worker and all that it started."""
        with self._lock:
            self._unwanted = True
            if self._process is not None:
                self._process.kill()


async def _answer(reference: Any) -> Any:
    return await asyncio.wrap_future(reference.future())
