"""Specs, records and in-process executors for the population's tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.record import Record
from archpress_trainer.population.executor import Task
from archpress_trainer.population.spec import PopulationSpec, default_spec
from archpress_trainer.space.sampling import Sample
from archpress_trainer.training.fidelity import Fidelity


def tiny_spec(sources: DataSources, *, images: int = 128, seed: int = 0) -> PopulationSpec:
    """Return a population of the tiny data set whose labels take a moment each."""
    dataset = sources.load("tiny")
    fidelity = Fidelity(images, 1)
    return default_spec(
        "tiny",
        dataset.fingerprint,
        dataset.input_shape,
        dataset.classes,
        fidelity,
        seed=seed,
    )


def record_of(task: Task, *, accuracy: float | None = None) -> Record:
    """Return a record without any training; its accuracy follows from the net."""
    costs = task.sample.costs
    value = (costs.params % 1_000) / 1_000 if accuracy is None else accuracy
    return Record(
        index=task.index,
        architecture=task.sample.architecture,
        params=costs.params,
        macs=costs.macs,
        status="finished",
        accuracy=value,
        loss_sum=1.5,
        curve=(value,),
        seconds=0.25,
    )


class CountingExecutor:
    """Implements `Executor` without training; remembers which nets it was given."""

    def __init__(self, stop_after: int | None = None) -> None:
        """Raise `Stopped` once `stop_after` records were handed out."""
        self.given: list[int] = []
        self.done: list[int] = []
        self._stop_after = stop_after

    def run(self, spec: PopulationSpec, tasks: Iterable[Task]) -> Generator[Record]:
        """Yield a record per task."""
        waiting = list(tasks)
        self.given += [task.index for task in waiting]
        for task in waiting:
            if self._stop_after is not None and len(self.done) >= self._stop_after:
                raise Stopped
            self.done.append(task.index)
            yield record_of(task)


class Stopped(Exception):
    """What ends a `CountingExecutor` early."""


class DeadlySample(Sample):
    """A net that ends the process in which it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to unpickle it."""
        return os._exit, (3,)


def deadly(sample: Sample) -> Sample:
    """Return the same net as one that ends each worker it is given to."""
    return DeadlySample(sample.architecture, sample.costs)


class FailingSample(Sample):
    """A net that a worker gets without its costs, so that it fails in the end."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to unpickle it."""
        return Sample, (self.architecture, None)


def failing(sample: Sample) -> Sample:
    """Return the same net as one that each worker fails with."""
    return FailingSample(sample.architecture, sample.costs)


class DeadlySpec(PopulationSpec):
    """A population that ends the process in which it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to unpickle it."""
        return os._exit, (3,)


@contextmanager
def ray_cluster(cpus: int) -> Iterator[tuple[str, int]]:
    """Run a Ray cluster of one node apart from this process; yield its address and process."""
    # A short path, since sockets lie below it.
    with tempfile.TemporaryDirectory(prefix="archpress-", dir="/tmp") as folder:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        options = {
            "port": port,
            "node-ip-address": "127.0.0.1",
            "num-cpus": cpus,
            "include-dashboard": "false",
            "object-store-memory": 100_000_000,
            "temp-dir": f"{folder}/r",
        }
        program = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        program += [f"--{name}={value}" for name, value in options.items()]
        with pytest.MonkeyPatch.context() as patch:
            # Read by Ray when it is first imported, in this process too.
            patch.setenv("RAY_AUTH_MODE", "token")
            patch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)
            patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
            patch.setenv("RAY_TMPDIR", folder)
            with open(f"{folder}/log", "wb") as log:
                process = subprocess.Popen(program, stdout=log, stderr=log)
            try:
                assert wait_until(lambda: _listens(port), 60), Path(folder, "log").read_text()
                yield f"127.0.0.1:{port}", process.pid
            finally:
                pids = [process.pid, *(pid for pid, _ in descendants(process.pid))]
                for pid in pids:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.wait()
                wait_until(lambda: not any(is_alive(pid) for pid in pids), 10)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def wait_until(happens: Callable[[], bool], seconds: float) -> bool:
    """Return whether something happened in time."""
    end = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def worker_pids(parent: int) -> list[int]:
    """Return the spawned worker processes of a process."""
    return [pid for pid, of, command in _processes() if of == parent and b"spawn_main" in command]


def descendants(ancestor: int) -> list[tuple[int, bytes]]:
    """Return the processes below a process, each with its command line."""
    processes = _processes()
    below = {ancestor}
    found: dict[int, bytes] = {}
    for _ in processes:
        new = {pid: command for pid, of, command in processes if of in below and pid not in below}
        if not new:
            break
        found |= new
        below |= set(new)
    return list(found.items())


def _processes() -> list[tuple[int, int, bytes]]:
    """Return the running processes: id, parent, command line."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # The name in parentheses may hold spaces; the parent is the second field behind it.
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if stat[0] != "Z":
            found.append((int(folder.name), int(stat[1]), command))
    return found


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that only waits to be read by its parent does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
