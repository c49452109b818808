"""`RayExecutor`: worker processes on a Ray cluster.

A cluster that exists needs `archpress-trainer[ray]` of one version, and one version of Python, on
each node. It needs no data set: the training images travel through Ray's object store, so that
every label comes from the images whose fingerprint the population has.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from archpress_trainer.data.dataset import LabelledImages, TrainingData
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.record import Record
from archpress_trainer.error_text import first_line
from archpress_trainer.population.executor import (
    Death,
    Labeller,
    Task,
    run_tasks,
    training_data,
)
from archpress_trainer.population.spec import PopulationError, PopulationSpec
from archpress_trainer.processes import usable_cores
from archpress_trainer.ray_cluster import (
    MIN_STORE_BYTES,
    RayClusterError,
    connected,
    how_it_ended,
)

_GPU_SHARE = 0.25
"""GPUs of a worker where the cluster has any, since small nets leave one idle."""

_START_SECONDS = 600.0
"""How long to wait for the first worker: a cluster may be full, or may have to grow."""


@dataclass(frozen=True)
class RayExecutor:
    """Worker processes (actors) on a Ray cluster, each with one CPU and the data in memory."""

    sources: DataSources
    address: str | None = None
    """HOST:PORT of a cluster, or "auto" on one of its nodes; None starts one on this machine."""
    workers: int | None = None
    """None is as many as the cluster has room for at the start."""

    def run(self, spec: PopulationSpec, tasks: Iterable[Task]) -> Generator[Record]:
        """Yield a record per task."""
        waiting = list(tasks)
        if not waiting:
            return
        data = _own_memory(training_data(spec, self.sources))
        cpus = float(self.workers or usable_cores())
        with (
            _connected(self.address, cpus, _store_bytes(data)) as ray,
            closing(self._workers(ray, spec, data)) as workers,
        ):
            yield from run_tasks(workers, waiting)

    def _workers(self, ray: ModuleType, spec: PopulationSpec, data: TrainingData) -> _RayWorkers:
        resources = ray.cluster_resources()
        cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
        share = _GPU_SHARE if gpus else 0.0
        room = min(int(cpus), int(gpus / share)) if share else int(cpus)
        places = self.workers or room
        if places < 1:
            raise PopulationError(
                f"the Ray cluster has {cpus:g} CPUs and {gpus:g} GPUs, "
                f"and one worker needs 1 and {share:g}"
            )
        remote = ray.remote(num_cpus=1, num_gpus=share, max_restarts=0, max_task_retries=0)
        arguments = (spec, ray.put(data), share > 0)
        return _RayWorkers(ray, remote(RayWorker), places, arguments)


class RayWorker:
    """The actor; `prepare` is not its constructor so that its errors are told from a death."""

    def prepare(self, spec: PopulationSpec, data: TrainingData, gpu: bool) -> None:
        """Load what every net needs.

        Raises:
            PopulationError: there should be a GPU, and torch sees none.
        """
        import torch

        if not gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        elif not torch.cuda.is_available():
            raise PopulationError("the cluster gave it a GPU, but its torch sees none")
        self._labeller = Labeller(spec, data)

    def label(self, task: Task) -> Record:
        """Return the record of one net."""
        return self._labeller(task)


class _RayWorkers:
    def __init__(
        self, ray: ModuleType, actor: Any, places: int, arguments: tuple[object, ...]
    ) -> None:
        self.places = places
        self._ray = ray
        self._actor = actor
        self._arguments = arguments
        self._deadline: float | None = time.monotonic() + _START_SECONDS
        self._workers: dict[int, Any] = {}
        self._pending: dict[Any, int] = {}
        self._starting: set[int] = set()

    def start(self, place: int) -> None:
        if place in self._workers:
            self._ray.kill(self._workers.pop(place))
        self._workers[place] = worker = self._actor.remote()
        self._pending[worker.prepare.remote(*self._arguments)] = place
        self._starting.add(place)

    def give(self, place: int, task: Task) -> None:
        self._pending[self._workers[place].label.remote(task)] = place

    def wait(self) -> tuple[int, Record | Death | None]:
        errors = self._ray.exceptions
        answer = self._next_answer()
        place = self._pending.pop(answer)
        starting = place in self._starting
        self._starting.discard(place)
        try:
            result = self._ray.get(answer)
        except errors.RayTaskError as error:
            reason = first_line(error.cause)
            if starting:
                raise PopulationError(f"a worker cannot start: {reason}") from error
            return place, Death(reason)
        except (errors.RayActorError, errors.OutOfMemoryError) as error:
            return place, Death(how_it_ended(error))
        self._deadline = None
        assert result is None or isinstance(result, Record)
        return place, result

    def _next_answer(self) -> Any:
        limit = None
        if self._deadline is not None:
            limit = max(0.0, self._deadline - time.monotonic())
        ready, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=limit)
        if not ready:
            raise PopulationError(
                "no worker could start in time: the Ray cluster has too few CPUs or GPUs free"
            )
        return ready[0]

    def close(self) -> None:
        for worker in self._workers.values():
            self._ray.kill(worker)


@contextmanager
def _connected(address: str | None, cpus: float, store_bytes: int) -> Iterator[ModuleType]:
    """Connect as `ray_cluster.connected` does, with the errors of a population."""
    with ExitStack() as stack:
        try:
            ray = stack.enter_context(connected(address, cpus, store_bytes))
        except RayClusterError as error:
            raise PopulationError(str(error)) from error
        yield ray


def _own_memory(data: TrainingData) -> TrainingData:
    """Return a copy: a tensor that is part of another one would travel with all of it."""
    train, validation = (
        LabelledImages(part.images.clone(), part.labels.clone())
        for part in (data.train, data.validation)
    )
    return TrainingData(train, validation, data.normalisation, data.classes)


def _store_bytes(data: TrainingData) -> int:
    parts = (data.train, data.validation)
    return max(MIN_STORE_BYTES, 2 * sum(part.images.nbytes + part.labels.nbytes for part in parts))
