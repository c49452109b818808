"""`Replicas`: server processes on one database, to start, to kill, and to ask to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from archpress_client import Client, UnavailableError
from archpress_server.config import ServerConfig
from tests.chaos.serve import WORKER_MODULE
from tests.ports import free_port

_ROOT = Path(__file__).parents[2]
_MARK = "CHAOS_STATE"
START_SECONDS = 120.0


class Replicas:
    """Servers that share a state; each keeps its port over all its lives."""

    def __init__(self, config: ServerConfig, count: int = 1) -> None:
        self.configs = [config.model_copy(update={"port": free_port()}) for _ in range(count)]
        self.starts = self.kills = 0
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._log = config.state_dir / "servers.log"

    def __enter__(self) -> Self:
        """Start all servers."""
        indices = range(len(self.configs))
        for index in indices:
            self._launch(index)
        for index in indices:
            self._await(index)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill what is left of them and their workers."""
        for process in self._processes.values():
            process.kill()
            process.wait()
        for pid in self.workers():
            signal_process(pid, signal.SIGKILL)

    def target(self, first: int = 0) -> str:
        """Return a target that names all servers, this one first."""
        ports = [config.port for config in self.configs]
        return "ipv4:" + ",".join(f"127.0.0.1:{p}" for p in ports[first:] + ports[:first])

    def start(self, index: int) -> None:
        """Start a server and return once it answers."""
        self._launch(index)
        self._await(index)

    def _launch(self, index: int) -> None:
        config = self.configs[index]
        config.state_dir.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.serve"],
                cwd=_ROOT,
                env={**os.environ, _MARK: str(config.state_dir)},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        self._processes[index] = process
        self.starts += 1
        assert process.stdin is not None
        process.stdin.write(config.model_dump_json().encode())
        process.stdin.close()

    def _await(self, index: int) -> None:
        process, config = self._processes[index], self.configs[index]
        deadline = time.monotonic() + START_SECONDS
        with Client(f"127.0.0.1:{config.port}") as client:
            while time.monotonic() < deadline and process.poll() is None:
                try:
                    client.info()
                except UnavailableError:
                    time.sleep(0.1)
                else:
                    return
        raise RuntimeError(f"the server did not start:\n{self._log.read_text()}")

    def kill(self, index: int) -> None:
        """Kill a server with -9; its workers live on."""
        process = self._processes.pop(index)
        process.kill()
        process.wait()
        self.kills += 1

    def stop(self, index: int, timeout_seconds: float) -> tuple[int, float]:
        """Ask a server to stop; return its exit code and the seconds that it took."""
        started = time.monotonic()
        process = self._processes[index]
        process.terminate()
        code = process.wait(timeout_seconds)
        del self._processes[index]
        return code, time.monotonic() - started

    def workers(self) -> list[int]:
        """Return the worker processes that live, of killed servers too."""
        mark = f"{_MARK}={self.configs[0].state_dir}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if WORKER_MODULE.encode() not in (folder / "cmdline").read_bytes().split(b"\0"):
                    continue
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
        return sorted(found)


def signal_process(pid: int, number: signal.Signals) -> bool:
    """Send a signal and return whether the process was still there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
