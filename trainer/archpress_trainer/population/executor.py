"""Where labels are computed: the interface, and worker processes on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Protocol

import torch

from archpress_trainer.data.dataset import TrainingData
from archpress_trainer.data.registry import DataSources
from archpress_trainer.population.label import label
from archpress_trainer.population.records import Record
from archpress_trainer.population.spec import PopulationSpec
from archpress_trainer.processes import worker_pool
from archpress_trainer.space.sampling import Sample
from archpress_trainer.training.device import Compute, best_compute


@dataclass(frozen=True)
class Task:
    """One net to label."""

    index: int
    sample: Sample


class Executor(Protocol):
    """Labels nets somewhere; yields each record once, in the order in which they are done.

    A worker that dies costs no net: its tasks are tried again, and a task whose worker dies
    `attempts` times is a record with status "crashed".
    """

    def run(self, spec: PopulationSpec, tasks: Iterable[Task]) -> Iterator[Record]:
        """Yield a record per task."""
        ...


@dataclass(frozen=True)
class LocalExecutor:
    """Worker processes on this machine, each with one thread: two of one thread beat one of two.

    With a GPU, each worker trains on it; small nets leave it idle most of the time otherwise.
    """

    sources: DataSources
    workers: int
    attempts: int = 2

    def run(self, spec: PopulationSpec, tasks: Iterable[Task]) -> Iterator[Record]:
        """Yield a record per task."""
        waiting = list(tasks)
        tries = dict.fromkeys((task.index for task in waiting), 0)
        while waiting:
            done: set[int] = set()
            crashed: set[int] = set()
            for outcome in self._run_pool(spec, waiting):
                if isinstance(outcome, Record):
                    done.add(outcome.index)
                    yield outcome
                else:
                    crashed.add(outcome)
            for index in crashed:
                tries[index] += 1
            remaining = [task for task in waiting if task.index not in done]
            waiting = []
            for task in remaining:
                if tries[task.index] < self.attempts:
                    waiting.append(task)
                else:
                    yield _crashed(task, self.attempts)

    def _run_pool(self, spec: PopulationSpec, tasks: list[Task]) -> Iterator[Record | int]:
        """Yield records, and after a crash the indices of the tasks that were running."""
        pool = worker_pool(self.workers, _start_worker, spec, self.sources)
        running: dict[Future[Record], Task] = {}
        queue = iter(tasks)
        try:
            for task in queue:
                running[pool.submit(_work, task)] = task
                if len(running) < self.workers:
                    continue
                yield from _collect(running)
            while running:
                yield from _collect(running)
        except BrokenProcessPool:
            yield from [task.index for task in running.values()]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _collect(running: dict[Future[Record], Task]) -> Iterator[Record]:
    finished, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in finished:
        record = future.result()
        del running[future]
        yield record


def _crashed(task: Task, attempts: int) -> Record:
    costs = task.sample.costs
    return Record(
        index=task.index,
        architecture=task.sample.architecture,
        params=costs.params,
        macs=costs.macs,
        status="crashed",
        accuracy=0.0,
        loss_sum=0.0,
        curve=(),
        seconds=0.0,
        message=f"the worker process died {attempts} times",
    )


@dataclass(frozen=True)
class _Worker:
    spec: PopulationSpec
    data: TrainingData
    compute: Compute


_WORKER: list[_Worker] = []
"""The state of a worker process, set once by its initializer, which is all that a pool allows."""


def _start_worker(spec: PopulationSpec, sources: DataSources) -> None:
    torch.set_num_threads(1)
    compute = best_compute()
    data = sources.load(spec.dataset).split().first(spec.fidelity.train_images)
    _WORKER.append(_Worker(spec, data.to(compute.device), compute))


def _work(task: Task) -> Record:
    worker = _WORKER[0]
    return label(task.index, task.sample, worker.spec, worker.data, worker.compute)
