"""Specs, records and in-process executors for the population's tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from archpress_trainer.data.registry import DataSources
from archpress_trainer.population.executor import Task
from archpress_trainer.population.records import Record
from archpress_trainer.population.spec import PopulationSpec, default_spec
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

    def run(self, spec: PopulationSpec, tasks: Iterable[Task]) -> Iterator[Record]:
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


def worker_pids(parent: int) -> list[int]:
    """Return the spawned worker processes of a process."""
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
        if int(stat[1]) == parent and stat[0] != "Z" and b"spawn_main" in command:
            found.append(int(folder.name))
    return found


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that only waits to be read by its parent does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
