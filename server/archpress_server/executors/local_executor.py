"""`LocalExecutor`: worker processes on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence

from archpress_server.config import ServerConfig
from archpress_server.executors.executor import End, ExecutorError
from archpress_server.executors.order import worker_order
from archpress_server.executors.process import WorkerProcess
from archpress_server.threads import Threads


class LocalExecutor:
    """At most `config.workers` processes, each with a GPU of `config.worker_gpus`, if any."""

    def __init__(self, config: ServerConfig, command: Sequence[str] = ()) -> None:
        """Start workers with a command; see `WorkerOrder.command`."""
        self._config = config
        self._command = tuple(command)
        self._free_gpus = deque(config.worker_gpus)
        self._running = 0
        self._threads = Threads("executor")

    @property
    def slots(self) -> int:
        """How many attempts may run at one time."""
        return self._config.workers

    async def open(self) -> None:
        """Make ready: there is nothing to do."""

    async def has_room(self) -> bool:
        """Return whether one more attempt could begin now."""
        return self._running < self.slots

    async def start(self, job: str, attempt: int) -> LocalRun:
        """Start a process."""
        order = worker_order(self._config, job, attempt, self._command)
        gpu = self._free_gpus.popleft() if self._free_gpus else None
        if gpu is not None:
            order = order.with_gpus(gpu)
        self._running += 1
        try:
            process = await self._threads.run(WorkerProcess, order)
            return LocalRun(process, on_end=lambda: self._release(gpu))
        # A RuntimeError where no thread can be started.
        except (OSError, RuntimeError) as error:
            self._release(gpu)
            raise ExecutorError(f"the system starts no process: {error}") from error

    async def close(self) -> None:
        """Let go: workers that are still there end by themselves."""

    def _release(self, gpu: str | None) -> None:
        self._running -= 1
        if gpu is not None:
            self._free_gpus.append(gpu)


class LocalRun:
    """An attempt in a process of this machine, with a thread that waits for its end."""

    def __init__(self, process: WorkerProcess, on_end: Callable[[], None]) -> None:
        """Follow a process; `on_end` is called in the event loop."""
        self._process = process
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[End] = self._loop.create_future()
        # Not of a pool, whose few threads are for what is short.
        follower = threading.Thread(target=self._follow, name=self.place, daemon=True)
        try:
            follower.start()
        except RuntimeError:
            process.give_up()
            raise

    @property
    def place(self) -> str:
        """Where it runs, for the log."""
        return f"pid {self._process.pid}"

    async def wait(self) -> End:
        """Return how the worker ended."""
        return await asyncio.shield(self._end)

    def stop(self) -> None:
        """Ask the worker to give its job back and end."""
        self._process.stop()

    def kill(self) -> None:
        """End the worker whatever it does."""
        self._process.kill()

    def _follow(self) -> None:
        try:
            cause = self._process.wait()
        except Exception as error:
            # Whatever it is: a worker whose end is told to nobody would keep its place for ever.
            self._process.give_up()
            cause = f"the worker could not be waited for: {error}"
        # A server that stops does not wait for a worker that cannot be killed.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._finish, cause)

    def _finish(self, cause: str) -> None:
        self._on_end()
        if not self._end.done():
            self._end.set_result(End(cause))
