"""`Supervisor`: gives waiting jobs to the workers of an executor and looks after both."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from dataclasses import dataclass, field

import structlog

from archpress_server.config import ServerConfig
from archpress_server.executors.executor import End, Executor, ExecutorError, Run
from archpress_server.jobs.errors import JobNotFoundError, StoreError
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import HELD, JobRecord
from archpress_server.metrics import Metrics
from archpress_server.traces import Attributes, Traces

_SWEEP_SECONDS = 1.0
_PURGE_SECONDS = 60.0


@dataclass
class _Worker:
    job: str
    attempt: int
    run: Run
    began: float = field(default_factory=time.monotonic)
    kill_after: float | None = None
    watch: asyncio.Task[None] | None = field(default=None, repr=False)


class Supervisor:
    """Keeps the slots of an executor busy.

    A worker's end without a final state is noticed at once; the leases notice those of servers
    that are gone.
    """

    def __init__(
        self,
        config: ServerConfig,
        leases: Leases,
        metrics: Metrics,
        executor: Executor,
        traces: Traces,
    ) -> None:
        """Give jobs to an executor, which the caller opens and closes."""
        self._traces = traces
        self._config = config
        self._leases = leases
        self._metrics = metrics
        self._executor = executor
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._workers: dict[tuple[str, int], _Worker] = {}
        self._wake = asyncio.Event()
        self._draining = False
        self._task: asyncio.Task[None] | None = None
        self._purging: asyncio.Task[None] | None = None
        self._log = structlog.get_logger()
        self.last_success = time.monotonic()
        """When the database last answered, on the monotonic clock."""
        self.last_turn = self.last_success
        """When the loop last came round, on the monotonic clock."""
        self.fault = ""
        """Why no worker can be started at the moment; empty if one can."""

    def start(self) -> None:
        """Begin to lease jobs."""
        self._task = asyncio.create_task(self._run(), name="supervisor")
        self._purging = asyncio.create_task(self._purge(), name="purge")

    def wake(self) -> None:
        """Look for a job now rather than at the next poll."""
        self._wake.set()

    async def drain(self, grace_seconds: float) -> None:
        """Stop leasing, ask the workers to give their jobs back, and kill those that do not."""
        self._draining = True
        self._wake.set()
        if self._purging is not None:
            self._purging.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._purging
        if self._task is not None:
            # To its end, not cancelled: a lease that was just taken must be given back.
            await self._task
        watches = [worker.watch for worker in self._workers.values() if worker.watch]
        for worker in self._workers.values():
            worker.run.stop()
        if watches:
            _, late = await asyncio.wait(watches, timeout=grace_seconds)
            for worker in list(self._workers.values()):
                worker.run.kill()
            if late:
                await asyncio.wait(late, timeout=5.0)

    async def _run(self) -> None:
        next_sweep = 0.0
        while not self._draining:
            try:
                now = self.last_turn = time.monotonic()
                if now >= next_sweep:
                    await self._sweep()
                    next_sweep = now + _SWEEP_SECONDS
                await self._lease()
                self.last_success = time.monotonic()
                self.fault = ""
            except StoreError as error:
                self._metrics.observe_store_failure(error)
                self._log.error("the job store fails", error=str(error))
                await asyncio.sleep(1.0)
            except (ExecutorError, OSError) as error:
                self.fault = str(error)
                self._log.error("the supervisor fails", error=str(error))
                await asyncio.sleep(1.0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._config.poll_seconds)
            self._wake.clear()

    async def _purge(self) -> None:
        """Remove what is over, beside the jobs: a store that hangs must not hold them up."""
        while True:
            try:
                await asyncio.to_thread(self._leases.purge)
            except StoreError as error:
                self._metrics.observe_store_failure(error)
                self._log.warning("jobs or files that are over stay for now", error=str(error))
            await asyncio.sleep(_PURGE_SECONDS)

    async def _lease(self) -> None:
        while await self._executor.has_room():
            record = await asyncio.to_thread(self._leases.lease_next, self._name)
            if record is None:
                return
            if self._draining:
                await asyncio.to_thread(self._leases.requeue, record.id, record.attempt)
                return
            self._metrics.observe_lease(record)
            try:
                await self._start_worker(record)
            except ExecutorError:
                await asyncio.to_thread(
                    self._leases.lose, record.id, record.attempt, "no worker could be started"
                )
                raise

    async def _start_worker(self, record: JobRecord) -> None:
        run = await self._executor.start(record.id, record.attempt)
        worker = _Worker(record.id, record.attempt, run)
        self._workers[record.id, record.attempt] = worker
        self._metrics.set_slots(len(self._workers), self._executor.slots)
        worker.watch = asyncio.create_task(self._watch(worker), name=f"worker {record.id}")
        self._log.info(
            "worker started",
            job=record.id,
            attempt=record.attempt,
            principal=record.principal,
            place=run.place,
        )

    async def _watch(self, worker: _Worker) -> None:
        end = await worker.run.wait()
        del self._workers[worker.job, worker.attempt]
        self._metrics.set_slots(len(self._workers), self._executor.slots)
        self._log.info("worker ended", job=worker.job, attempt=worker.attempt, cause=end.cause)
        try:
            record = await asyncio.to_thread(self._settle, worker, end)
        except StoreError as error:
            # The lease runs out by itself.
            self._log.error("a worker's end is not stored", job=worker.job, error=str(error))
        else:
            if record is not None:
                self._metrics.observe_end(record)
        self._wake.set()

    def _settle(self, worker: _Worker, end: End) -> JobRecord | None:
        """Take the job from a worker that left it unfinished, and return the job."""
        if self._draining or not end.began:
            taken = self._leases.requeue(worker.job, worker.attempt)
        else:
            taken = self._leases.lose(worker.job, worker.attempt, end.cause)
            if taken is not None:
                self._trace_loss(worker, end.cause)
        if taken is not None:
            return taken
        try:
            return self._leases.store.get(worker.job)
        except JobNotFoundError:
            return None

    def _trace_loss(self, worker: _Worker, cause: str) -> None:
        """Make a span of an attempt whose worker cannot tell of it any more."""
        facts: Attributes = {"archpress.job": worker.job, "archpress.attempt": worker.attempt}
        parent = self._leases.store.traceparent(worker.job)
        seconds = time.monotonic() - worker.began
        self._traces.record("attempt", parent, seconds, cause, facts)

    async def _sweep(self) -> None:
        expired = await asyncio.to_thread(self._leases.expire)
        self._metrics.lease_expired.inc(len(expired))
        ended = [
            *expired,
            *await asyncio.to_thread(self._leases.time_out),
            *await asyncio.to_thread(self._leases.cancel_abandoned),
        ]
        for record in ended:
            self._log.info("job changed by a sweep", job=record.id, state=record.state)
            # Those of this server's workers are counted when the worker is gone.
            if (record.id, record.attempt) not in self._workers:
                self._metrics.observe_end(record)
        for worker in list(self._workers.values()):
            await self._check(worker)
        self._metrics.set_counts(await asyncio.to_thread(self._leases.store.counts))
        # Here too, since a Ray cluster that is away is no failure of the database.
        self.last_success = time.monotonic()

    async def _check(self, worker: _Worker) -> None:
        """Kill a worker that does not stop although its job is cancelled or was taken away."""
        now = time.monotonic()
        try:
            record = await asyncio.to_thread(self._leases.store.get, worker.job)
        except JobNotFoundError:
            record = None
        holds = record is not None and record.state in HELD and record.attempt == worker.attempt
        if holds and record is not None and record.cancel_time is None:
            worker.kill_after = None
        elif worker.kill_after is None:
            # The worker itself ends at the end of the grace; this is for one that cannot.
            worker.kill_after = now + self._config.cancel_grace_seconds * holds + 5.0
        elif now > worker.kill_after:
            worker.run.kill()
