"""`Supervisor`: gives waiting jobs to the workers of an executor and looks after both."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass, field

import structlog

from archpress_server.config import ServerConfig
from archpress_server.executors.executor import End, Executor, ExecutorError, Run
from archpress_server.jobs.errors import JobNotFoundError, StoreError
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import HELD, TIMED_OUT, WORKER_LOST, JobRecord
from archpress_server.logs import log_unexpected
from archpress_server.metrics import Metrics
from archpress_server.threads import Threads
from archpress_server.traces import Attributes, Traces

_SWEEP_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
"""Between two tries to start a worker where none starts; each writes to a job's log."""
_PURGE_SECONDS = 60.0
_LAST_CHANCE_SECONDS = 5.0
"""What a worker has beyond its grace before it is killed from outside."""


@dataclass
class _Worker:
    job: str
    attempt: int
    run: Run
    began: float = field(default_factory=time.monotonic)
    kill_after: float | None = None
    counted: bool = False
    """Whether its job's end is in the metrics already."""
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
        self._threads = Threads("supervisor")
        self._workers: dict[tuple[str, int], _Worker] = {}
        self._wake = asyncio.Event()
        self._draining = False
        self._task: asyncio.Task[None] | None = None
        self._purging: asyncio.Task[None] | None = None
        self._log = structlog.get_logger()
        self.last_success = time.monotonic()
        """When the database last answered, on the monotonic clock."""
        self.unexpected = ""
        """What went wrong in the last turn other than the database; empty if nothing did."""
        self.fault = ""
        """Why no worker can be started at the moment; empty if one can."""
        self._pause_seconds = 0.0
        self._start_again = 0.0

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
        # Waited for and not awaited: whatever they raise, the workers have to stop.
        if self._purging is not None:
            self._purging.cancel()
            await asyncio.wait([self._purging])
        end = time.monotonic() + grace_seconds
        told = self._stop_workers(())
        if self._task is not None:
            # To its end, not cancelled: a lease that was just taken must be given back. But a
            # database that hangs gives nothing back.
            await asyncio.wait([self._task], timeout=grace_seconds)
        self._stop_workers(told)
        watches = [worker.watch for worker in self._workers.values() if worker.watch]
        if watches:
            left = max(0.0, end - time.monotonic())
            _, late = await asyncio.wait(watches, timeout=left)
            for worker in list(self._workers.values()):
                worker.run.kill()
            if late:
                await asyncio.wait(late, timeout=5.0)

    def _stop_workers(self, told: Collection[tuple[str, int]]) -> list[tuple[str, int]]:
        """Ask all workers but those told to give their jobs back, and return all."""
        for key, worker in self._workers.items():
            if key not in told:
                worker.run.stop()
        return list(self._workers)

    async def _run(self) -> None:
        next_sweep = 0.0
        while not self._draining:
            try:
                now = time.monotonic()
                if now >= next_sweep:
                    await self._sweep()
                    next_sweep = now + _SWEEP_SECONDS
                await self._lease()
                self.last_success, self.unexpected = time.monotonic(), ""
                if self.last_success >= self._start_again:
                    self.fault = ""
            except StoreError as error:
                self.unexpected = ""
                self._metrics.observe_store_failure(error)
                self._log.error("the job store fails", error=str(error))
                await asyncio.sleep(1.0)
            except (ExecutorError, OSError) as error:
                self.fault = str(error)
                self._log.error("the supervisor fails", error=str(error))
                await asyncio.sleep(1.0)
            except Exception as error:
                # Whatever it is: without this loop nobody looks after the workers.
                self.fault = self.unexpected = str(error) or type(error).__name__
                log_unexpected("the supervisor fails", error)
                await asyncio.sleep(1.0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._config.poll_seconds)
            self._wake.clear()

    async def _purge(self) -> None:
        """Remove what is over, in the loop's pool: a store that hangs must not hold up the jobs."""
        while True:
            try:
                await asyncio.to_thread(self._leases.purge, should_stop=lambda: self._draining)
            except StoreError as error:
                self._metrics.observe_store_failure(error)
                self._log.warning("jobs or files that are over stay for now", error=str(error))
            except Exception as error:
                log_unexpected("jobs or files that are over stay for now", error)
            await asyncio.sleep(_PURGE_SECONDS)

    async def _lease(self) -> None:
        while time.monotonic() >= self._start_again and await self._executor.has_room():
            record = await self._threads.run(self._leases.lease_next, self._name)
            if record is None:
                return
            if self._draining:
                await self._threads.run(
                    self._leases.requeue, record.id, record.attempt, began=False
                )
                return
            self._metrics.observe_lease(record)
            try:
                await self._start_worker(record)
            except Exception:
                self._pause_seconds = min(max(1.0, 2 * self._pause_seconds), _LONGEST_PAUSE_SECONDS)
                self._start_again = time.monotonic() + self._pause_seconds
                # No fault of the job's: on another machine it may run.
                cause = "no worker could be started"
                await self._threads.run(
                    self._leases.requeue, record.id, record.attempt, cause, began=False
                )
                raise
            self._pause_seconds = 0.0

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
            record = await self._threads.run(self._settle, worker, end)
        except StoreError as error:
            # The lease runs out by itself.
            self._log.error("a worker's end is not stored", job=worker.job, error=str(error))
        except Exception as error:
            log_unexpected("a worker's end is not stored", error, job=worker.job)
        else:
            if record is not None and not worker.counted:
                self._metrics.observe_end(record)
        self._wake.set()

    def _settle(self, worker: _Worker, end: End) -> JobRecord | None:
        """Take the job from a worker that left it unfinished; return it if one of the two ended it.

        What is over because of a time or a lease was ended, and counted, by a sweep.
        """
        if not end.began:
            taken = self._leases.requeue(worker.job, worker.attempt, end.cause, began=False)
        elif self._draining:
            taken = self._leases.requeue(worker.job, worker.attempt)
        else:
            taken = self._leases.lose(worker.job, worker.attempt, end.cause)
            if taken is not None:
                self._trace_loss(worker, end.cause)
        if taken is not None:
            return taken
        try:
            record = self._leases.store.get(worker.job)
        except JobNotFoundError:
            return None
        swept = record.error is not None and record.error.reason in (TIMED_OUT, WORKER_LOST)
        return record if record.attempt == worker.attempt and not swept else None

    def _trace_loss(self, worker: _Worker, cause: str) -> None:
        """Make a span of an attempt whose worker cannot tell of it any more."""
        facts: Attributes = {"archpress.job": worker.job, "archpress.attempt": worker.attempt}
        try:
            parent = self._leases.store.traceparent(worker.job)
        except StoreError as error:
            self._log.warning("a lost attempt has no span", job=worker.job, error=str(error))
            return
        seconds = time.monotonic() - worker.began
        self._traces.record("attempt", parent, seconds, cause, facts)

    async def _sweep(self) -> None:
        expired = await self._threads.run(self._leases.expire)
        self._metrics.lease_expired.inc(len(expired))
        ended = [
            *expired,
            *await self._threads.run(self._leases.time_out),
            *await self._threads.run(self._leases.cancel_abandoned),
        ]
        for record in ended:
            self._log.info("job changed by a sweep", job=record.id, state=record.state)
            self._metrics.observe_end(record)
            worker = self._workers.get((record.id, record.attempt))
            if worker is not None:
                worker.counted = record.state.final
        for worker in list(self._workers.values()):
            await self._check(worker)
        self._metrics.set_counts(await self._threads.run(self._leases.store.counts))
        # Here too, since a Ray cluster that is away is no failure of the database.
        self.last_success = time.monotonic()

    async def _check(self, worker: _Worker) -> None:
        """Kill a worker that does not stop although its job is cancelled or was taken away."""
        now = time.monotonic()
        try:
            record = await self._threads.run(self._leases.store.get, worker.job)
        except JobNotFoundError:
            record = None
        holds = record is not None and record.state in HELD and record.attempt == worker.attempt
        if holds and record is not None and record.cancel_time is None:
            worker.kill_after = None
        elif worker.kill_after is None:
            # The worker itself ends at the end of the grace; this is for one that cannot.
            worker.kill_after = now + (
                self._config.cancel_grace_seconds * holds + _LAST_CHANCE_SECONDS
            )
        elif now > worker.kill_after:
            worker.run.kill()
