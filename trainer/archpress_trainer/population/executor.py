"""Where labels are computed: the interface, and the work that every implementation shares."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Protocol

import torch

from archpress_trainer.data.dataset import DatasetError, TrainingData
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.record import Record
from archpress_trainer.population.label import label, unlabelled
from archpress_trainer.population.spec import PopulationError, PopulationSpec
from archpress_trainer.processes import keep_freed_memory
from archpress_trainer.space.sampling import Sample
from archpress_trainer.training.device import best_compute

MAX_STARTS = 3
"""How many times in a row a worker process may die while it starts."""

_ATTEMPTS = 2
"""A net that so many workers have died with gets no label."""


@dataclass(frozen=True)
class Task:
    """One net to label; with `repeat` 1 from other seeds than its label's."""

    index: int
    sample: Sample
    repeat: int = 0


class Executor(Protocol):
    """Labels nets somewhere; yields each record once, in the order in which they are done.

    A worker that dies or fails costs no net: its own task, and no other, is tried again by a fresh
    one, and a task with which that happens twice is a record with status "crashed". Closing the
    iterator early ends every worker at once.
    """

    def run(self, spec: PopulationSpec, tasks: Iterable[Task]) -> Generator[Record]:
        """Yield a record per task.

        Raises:
            DatasetError: the images are not those whose fingerprint the population has.
            PopulationError: workers cannot start. The net that they were meant for has no record.
        """
        ...


class Labeller:
    """What a worker process holds: the data on its device, and how to label a net with it."""

    def __init__(self, spec: PopulationSpec, data: TrainingData) -> None:
        """Prepare this process, and move the data to its device.

        Args:
            spec: the population.
            data: already cut to the fidelity's number of images.
        """
        # Two processes of one thread do more than one of two.
        torch.set_num_threads(1)
        keep_freed_memory()
        self._spec = spec
        self._compute = best_compute()
        self._data = data.to(self._compute.device)

    def __call__(self, task: Task) -> Record:
        """Return the record of one net."""
        return label(
            task.index,
            task.sample,
            self._spec,
            self._data,
            self._compute,
            repeat=task.repeat,
        )


def training_data(spec: PopulationSpec, sources: DataSources) -> TrainingData:
    """Return the images that a population's nets are trained and measured with.

    Raises:
        DatasetError: they cannot be read, or are others than the population was begun with.
    """
    dataset = sources.load(spec.dataset)
    if dataset.fingerprint != spec.dataset_fingerprint:
        raise DatasetError(
            f"{spec.dataset} has fingerprint {dataset.fingerprint[:12]} now, the population was "
            f"begun with {spec.dataset_fingerprint[:12]}: its file has changed"
        )
    return dataset.split().subset(spec.fidelity.train_images)


@dataclass(frozen=True)
class Death:
    """A worker process that ended, or has to; `reason` says how."""

    reason: str


class Workers(Protocol):
    """Worker processes at numbered places; each does one thing at a time."""

    @property
    def places(self) -> int:
        """How many there may be."""
        ...

    def start(self, place: int) -> None:
        """Begin to start a process there, instead of the one that was there."""
        ...

    def give(self, place: int, task: Task) -> None:
        """Let the process there begin a task."""
        ...

    def wait(self) -> tuple[int, Record | Death | None]:
        """Return a place and what came of what it did last; None says that it has started.

        Raises:
            PopulationError: a process ran, but cannot be prepared for the work.
        """
        ...


def run_tasks(workers: Workers, tasks: Iterable[Task]) -> Generator[Record]:
    """Yield a record per task, as `Executor.run` says; the caller ends the workers."""
    waiting = deque(tasks)
    missing = len(waiting)
    running: dict[int, Task] = {}
    idle: list[int] = []
    deaths: Counter[int] = Counter()
    starts: Counter[int] = Counter()
    for place in range(min(workers.places, missing)):
        workers.start(place)
    while missing:
        place, outcome = workers.wait()
        task = running.pop(place, None)
        record = outcome if isinstance(outcome, Record) else None
        if not isinstance(outcome, Death):
            starts[place] = 0
            idle.append(place)
        elif task is None:
            starts[place] += 1
            if starts[place] >= MAX_STARTS:
                raise PopulationError(f"a worker died while it started: {outcome.reason}")
        else:
            deaths[task.index] += 1
            if deaths[task.index] < _ATTEMPTS:
                waiting.appendleft(task)
            else:
                message = f"its worker process ended {_ATTEMPTS} times, at last: {outcome.reason}"
                record = unlabelled(task.index, task.sample, "crashed", message)
        # Before the record is handed out: what its receiver does takes time.
        while waiting and idle:
            free = idle.pop()
            running[free] = waiting.popleft()
            workers.give(free, running[free])
        if waiting and isinstance(outcome, Death):
            workers.start(place)
        if record is not None:
            missing -= 1
            yield record
