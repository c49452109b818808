"""The contract of an `Executor`, run on each one; workers that die are killed for real."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from archpress_trainer.data.dataset import DatasetError
from archpress_trainer.data.registry import DataSources
from archpress_trainer.population.executor import Executor, Task
from archpress_trainer.population.executors import ExecutorKind, make_executor
from archpress_trainer.population.label import label
from archpress_trainer.population.local_executor import LocalExecutor
from archpress_trainer.population.spec import PopulationError, PopulationSpec
from archpress_trainer.training.device import best_compute
from tests.trainer.population.helpers import (
    DeadlySpec,
    deadly,
    descendants,
    failing,
    is_alive,
    ray_cluster,
    tiny_spec,
    wait_until,
    worker_pids,
)

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Kind:
    """An implementation: how to make one with some sources, and the processes that train."""

    make: Callable[[DataSources], Executor]
    training: Callable[[], list[int]]


@pytest.fixture(scope="module", params=["local", "ray"])
def kind(request: pytest.FixtureRequest) -> Generator[Kind]:
    if request.param == "local":
        yield Kind(lambda sources: LocalExecutor(sources, 2), lambda: worker_pids(os.getpid()))
        return
    # Found, not imported: Ray reads its settings when it is imported.
    if find_spec("ray") is None:
        pytest.skip("ray is not installed")
    from archpress_trainer.population.ray_executor import RayExecutor

    with ray_cluster(cpus=2) as (address, pid):

        def training() -> list[int]:
            return [p for p, command in descendants(pid) if b"ray::RayWorker" in command]

        yield Kind(lambda sources: RayExecutor(sources, address, 2), training)


def tasks_of(spec: PopulationSpec, count: int) -> list[Task]:
    return [Task(index, sample) for index, sample in enumerate(spec.samples(count))]


def kill_all(pids: list[int]) -> int:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return len(pids)


class TestExecutor:
    def test_each_task_gives_one_record(self, kind: Kind, tiny_sources: DataSources) -> None:
        spec = tiny_spec(tiny_sources)
        executor = kind.make(tiny_sources)
        assert list(executor.run(spec, [])) == []
        tasks = tasks_of(spec, 5)
        compute = best_compute()
        data = tiny_sources.load("tiny").split().subset(spec.fidelity.train_images)
        records = list(executor.run(spec, tasks))
        assert sorted(record.index for record in records) == list(range(5))
        for record in records:
            sample = tasks[record.index].sample
            assert record.architecture == sample.architecture
            assert (record.params, record.macs) == (sample.costs.params, sample.costs.macs)
            assert record.is_labelled
            here = label(record.index, sample, spec, data.to(compute.device), compute)
            assert record.accuracy == pytest.approx(here.accuracy, abs=0.05)
            assert record.loss_sum == pytest.approx(here.loss_sum, rel=0.01)

    def test_killed_workers_cost_no_net(self, kind: Kind, tiny_sources: DataSources) -> None:
        spec = tiny_spec(tiny_sources)
        found: Counter[int] = Counter()
        statuses = set()
        killed = 0
        for record in kind.make(tiny_sources).run(spec, tasks_of(spec, 6)):
            found[record.index] += 1
            statuses.add(record.status)
            if not killed:
                killed = kill_all(kind.training())
        assert killed >= 1
        assert found == Counter(range(6))
        assert statuses == {"finished"}

    def test_only_the_net_that_kills_its_workers_has_no_label(
        self, kind: Kind, tiny_sources: DataSources
    ) -> None:
        spec = tiny_spec(tiny_sources)
        tasks = tasks_of(spec, 4)
        tasks[2] = Task(2, deadly(tasks[2].sample))
        records = list(kind.make(tiny_sources).run(spec, tasks))
        statuses = {record.index: record.status for record in records}
        assert len(records) == 4
        assert statuses == {**dict.fromkeys(range(4), "finished"), 2: "crashed"}
        (crashed,) = [record for record in records if not record.is_labelled]
        assert crashed.message.startswith("its worker process ended 2 times, at last: ")
        assert crashed.architecture == tasks[2].sample.architecture

    def test_a_worker_that_fails_ends_and_says_why(
        self, kind: Kind, tiny_sources: DataSources
    ) -> None:
        spec = tiny_spec(tiny_sources)
        tasks = tasks_of(spec, 3)
        tasks[1] = Task(1, failing(tasks[1].sample))
        records = list(kind.make(tiny_sources).run(spec, tasks))
        statuses = {record.index: record.status for record in records}
        assert statuses == {0: "finished", 1: "crashed", 2: "finished"}
        (crashed,) = [record for record in records if not record.is_labelled]
        assert "'NoneType' object has no attribute 'params'" in crashed.message

    def test_no_net_is_trained_on_other_images(self, kind: Kind, tiny_sources: DataSources) -> None:
        spec = replace(tiny_spec(tiny_sources), dataset_fingerprint="0" * 64)
        with pytest.raises((DatasetError, PopulationError), match="begun with 000000000000: its"):
            list(kind.make(tiny_sources).run(spec, tasks_of(spec, 1)))

    def test_workers_that_cannot_start_are_an_error(
        self, kind: Kind, tiny_sources: DataSources
    ) -> None:
        spec = tiny_spec(tiny_sources)
        broken = DeadlySpec(**vars(spec))
        with pytest.raises(PopulationError, match="died while it started"):
            next(kind.make(tiny_sources).run(broken, tasks_of(spec, 1)))
        assert wait_until(lambda: not kind.training(), 10)

    def test_stopping_early_leaves_no_worker(self, kind: Kind, tiny_sources: DataSources) -> None:
        spec = tiny_spec(tiny_sources)
        spec = replace(spec, recipe=replace(spec.recipe, epochs=20))
        records = kind.make(tiny_sources).run(spec, tasks_of(spec, 6))
        next(records)
        pids = kind.training()
        assert pids
        assert isinstance(records, Generator)
        records.close()
        assert wait_until(lambda: not any(is_alive(pid) for pid in pids), 10)


def test_a_local_worker_that_cannot_start_says_why(
    tiny_sources: DataSources, tmp_path: Path
) -> None:
    spec = tiny_spec(tiny_sources)
    nowhere = replace(tiny_sources, files={"tiny": tmp_path / "gone.npz"})
    with pytest.raises(PopulationError, match=r"cannot start: .*gone\.npz: there is no such file"):
        next(LocalExecutor(nowhere, 1).run(spec, tasks_of(spec, 1)))


def test_an_address_is_for_ray(tiny_sources: DataSources) -> None:
    with pytest.raises(PopulationError, match="--executor ray"):
        make_executor(ExecutorKind.LOCAL, tiny_sources, ray_address="localhost:6379")
    assert make_executor(ExecutorKind.LOCAL, tiny_sources, workers=3) == LocalExecutor(
        tiny_sources, 3
    )
