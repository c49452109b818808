"""`LocalExecutor`: worker processes on this machine."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import wait

from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.record import Record
from archpress_trainer.population.executor import (
    Death,
    Labeller,
    Task,
    run_tasks,
    training_data,
)
from archpress_trainer.population.spec import PopulationError, PopulationSpec
from archpress_trainer.processes import Worker, WorkerDiedError, WorkerFailedError


@dataclass(frozen=True)
class LocalExecutor:
    """Worker processes on this machine, each with one thread.

    With a GPU, each worker trains on it; small nets leave it idle most of the time otherwise.
    """

    sources: DataSources
    workers: int

    def run(self, spec: PopulationSpec, tasks: Iterable[Task]) -> Generator[Record]:
        """Yield a record per task."""
        with closing(_LocalWorkers(self.workers, spec, self.sources)) as workers:
            yield from run_tasks(workers, tasks)


class _LocalWorkers:
    def __init__(self, places: int, spec: PopulationSpec, sources: DataSources) -> None:
        self.places = places
        self._spec = spec
        self._sources = sources
        self._workers: dict[int, Worker] = {}
        self._starting: set[int] = set()
        self._busy: set[int] = set()

    def start(self, place: int) -> None:
        if place in self._workers:
            self._workers.pop(place).kill()
        self._workers[place] = Worker(_labeller, self._spec, self._sources)
        self._starting.add(place)

    def give(self, place: int, task: Task) -> None:
        self._workers[place].send(task)
        self._busy.add(place)

    def wait(self) -> tuple[int, Record | Death | None]:
        places = {self._workers[p].connection: p for p in self._starting | self._busy}
        place = next(places[c] for c in wait(list(places)) if c in places)
        starting = place in self._starting
        self._starting.discard(place)
        self._busy.discard(place)
        try:
            answer = self._workers[place].answer()
        except WorkerDiedError as error:
            return place, Death(str(error))
        except WorkerFailedError as error:
            if starting:
                raise PopulationError(f"a worker cannot start: {error}") from error
            return place, Death(str(error))
        assert answer is None or isinstance(answer, Record)
        return place, answer

    def close(self) -> None:
        for worker in self._workers.values():
            worker.kill()


def _labeller(spec: PopulationSpec, sources: DataSources) -> Labeller:
    # A worker that replaces another loads anew, and its file may have changed meanwhile.
    return Labeller(spec, training_data(spec, sources))
