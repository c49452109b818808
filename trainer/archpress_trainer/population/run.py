"""Building a population: sample, train what has no record yet, append as it goes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from archpress_trainer.embedding.record import Record
from archpress_trainer.population.executor import Executor, Task
from archpress_trainer.population.records import PopulationStore
from archpress_trainer.population.spec import PopulationSpec
from archpress_trainer.space.sampling import Rejections


@dataclass(frozen=True)
class Tally:
    """How far a population is."""

    done: int
    total: int
    failed: int
    best_accuracy: float


def collect(
    spec: PopulationSpec,
    count: int,
    store: PopulationStore,
    executor: Executor,
    *,
    on_record: Callable[[Tally], None] | None = None,
    rejections: Rejections | None = None,
) -> list[Record]:
    """Label the population's first `count` nets and return their records by index.

    With a store of repeats the labels are second ones, from other seeds.

    Killed at any point and started again, it goes on: nets that have a record are not trained
    again, and the same spec gives the same nets. The largest nets start first, so that the last
    worker to finish is not left with one of them.

    Raises:
        PopulationError: the store holds another population.
    """
    store.open(spec)
    records = {record.index: record for record in store.records() if record.index < count}
    tasks = [
        Task(index, sample, store.repeat)
        for index, sample in enumerate(spec.samples(count, rejections))
        if index not in records
    ]
    tasks.sort(key=lambda task: (-task.sample.costs.macs, task.index))
    if on_record is not None:
        on_record(_tally(records, count))
    with closing(executor.run(spec, tasks)) as labelled:
        for record in labelled:
            store.append(record)
            records[record.index] = record
            if on_record is not None:
                on_record(_tally(records, count))
    return [records[index] for index in sorted(records)]


def _tally(records: dict[int, Record], total: int) -> Tally:
    labelled = [record for record in records.values() if record.is_labelled]
    return Tally(
        done=len(records),
        total=total,
        failed=len(records) - len(labelled),
        best_accuracy=max((record.accuracy for record in labelled), default=0.0),
    )
