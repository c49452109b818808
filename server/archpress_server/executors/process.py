"""`WorkerProcess`: one worker as a process of this machine, with all that it starts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

from archpress_server.executors.order import WorkerOrder
from archpress_server.executors.process_group import group_is_running, group_memory_bytes

_WORKER_COMMAND = (sys.executable, "-m", "archpress_server.worker")

_MEMORY_SECONDS = 0.5
_DEATH_SECONDS = 10.0
"""Longest wait for processes that were killed, which a busy machine takes a while to end."""


class WorkerProcess:
    """A worker that runs; safe to stop and kill from other threads than the one that waits."""

    def __init__(self, order: WorkerOrder) -> None:
        """Start it.

        Raises:
            OSError: the system refuses.
        """
        self._order = order
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._over_limit: str | None = None
        command = order.command or _WORKER_COMMAND
        self._popen = subprocess.Popen(
            [*command, "--job", order.job, "--attempt", str(order.attempt)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **order.environment},
            # Its own session: a Ctrl-C in the server's terminal is the server's to handle.
            start_new_session=True,
        )
        self.pid = self._popen.pid
        if order.nice:
            with contextlib.suppress(OSError):
                priority = os.getpriority(os.PRIO_PROCESS, 0) + order.nice
                os.setpriority(os.PRIO_PROCESS, self.pid, priority)
        assert self._popen.stdin is not None
        # That it is gone before it read its settings shows in its exit.
        with contextlib.suppress(OSError), self._popen.stdin as stdin:
            stdin.write(order.settings.encode())

    def wait(self) -> str:
        """Return the cause of its end, once it and all that it started are gone."""
        if self._order.memory_bytes:
            threading.Thread(target=self._watch_memory, name="memory", daemon=True).start()
        # Not reaped yet: until then its number can belong to no other group.
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            self._ended.set()
            self._kill_group()
        self._wait_for_group()
        code = self._popen.wait()
        if self._over_limit is not None:
            return self._over_limit
        if code < 0:
            return f"the worker was killed by signal {-code}"
        return f"the worker ended with exit code {code}"

    def stop(self) -> None:
        """Ask the worker, and not its children, to end."""
        with self._lock:
            if not self._ended.is_set():
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and all that it started."""
        with self._lock:
            if not self._ended.is_set():
                self._kill_group()

    def give_up(self) -> None:
        """End it where it cannot be waited for otherwise."""
        self.kill()
        self._popen.wait()

    def _wait_for_group(self) -> None:
        deadline = time.monotonic() + _DEATH_SECONDS
        while group_is_running(self.pid) and time.monotonic() < deadline:
            time.sleep(0.01)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _watch_memory(self) -> None:
        limit = self._order.memory_bytes
        while not self._ended.wait(_MEMORY_SECONDS):
            used = group_memory_bytes(self.pid)
            if used > limit:
                self._over_limit = (
                    f"the worker used {used} bytes of memory, more than the {limit} of "
                    "worker_memory_bytes"
                )
                self.kill()
                return
